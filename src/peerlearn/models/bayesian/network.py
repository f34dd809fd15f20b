"""A network that says what it says by several draws of its weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.models.bayesian.adopt import adopt
from peerlearn.models.bayesian.apart import folding, keeps_rows_apart
from peerlearn.models.bayesian.convert import with_plain_layers
from peerlearn.models.bayesian.draws import Draws, NotByRowsError, drawing
from peerlearn.models.bayesian.posterior import (
    drawing_layers,
    kl_divergence,
    mean_field_layers,
    mean_mode,
)
from peerlearn.transfer.outputs import OutputForm, PeerOutput, as_peer_output

#: All draws in one forward are faster than one after the other, on a processor, up to so many
#: positions (pixels of all rows, of all draws) and so many numbers in all draws of a layer's
#: weights; see `benchmarks/bayesian`. Beyond, each draw alone stays in the caches.
MANY_POSITIONS, MANY_WEIGHTS = 2**17, 2**21


class BayesianNetwork(nn.Module):
    """A peer with posteriors: its output is the mean probability over draws of its weights.

    Dropout that is drawn in evaluation too counts as a posterior; see `with_dropout`.

    Args:
        network: with Bayesian layers, of any kind of forward that a peer may have; layers of
            bayesian-torch are replaced in it, see `adopt`.
        train_samples: draws of a step.
        test_samples: draws in evaluation, whole weights each.
        form: `softmax`, or `sigmoid` for multi-label outputs.

    Attributes:
        network: the network, whose parameters and submodules are its own, by the same names.
        deterministic: whether weights are their means: one pass, no samples.

    Raises InputError: no Bayesian layers, or fewer than one draw.
    """

    network: nn.Module

    def __init__(
        self,
        network: nn.Module,
        train_samples: int = 1,
        test_samples: int = 20,
        form: OutputForm = "softmax",
    ) -> None:
        super().__init__()
        for name, count in (("train_samples", train_samples), ("test_samples", test_samples)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(f"bayesian.{name}: found {count!r}; allowed: a number of draws")
        network = adopt(network)
        if not is_bayesian(network):
            raise InputError("bayesian: the network has no Bayesian layers; see to_bayesian")
        taken = {"form", "train_samples", "test_samples", "deterministic"}
        if clash := sorted(taken & {*network._modules, *network._parameters, *network._buffers}):
            raise InputError(
                f"bayesian: a part of the network is called {clash[0]!r}, as an attribute of "
                "Bayesian networks is; call it something else"
            )
        # Its parts are those of the network, by the same names, so that files of weights and
        # submodules that are given by name fit both; the network itself is no part beside them.
        for parts in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[parts] = getattr(network, parts)
        self.__dict__["network"] = network
        self.form = form
        self.train_samples, self.test_samples = train_samples, test_samples
        self.deterministic = False
        self._looked = False  # whether a forward has shown that no layer is called twice

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "training" and "network" in self.__dict__:
            self.network.training = value  # which is no submodule, and follows by this alone

    def forward(self, *inputs: Any, **named: Any) -> PeerOutput:
        """Logits of the mean probability; `samples` (S, batch, C, …) unless deterministic.

        Features are means over draws.
        """
        if self.deterministic:
            with mean_mode(self.network):
                return self._one(*inputs, **named)
        if not self.training:
            return self._drawn_whole(*inputs, **named)
        outputs = (self._one(*inputs, **named) for _ in range(self.train_samples))
        return _together(outputs, self.form)

    def kl(self) -> Tensor:
        """KL(q ‖ prior), summed over all weights, in fp32."""
        return kl_divergence(self.network)

    def centre_prior(self) -> None:
        """Make the means of now those of an empirical prior."""
        for _, layer in mean_field_layers(self.network):
            layer.centre_prior()

    @property
    def said(self) -> str:
        """What it draws from, in a few words."""
        layers = [path for path, _ in mean_field_layers(self.network)]
        what = "dropout that is drawn"
        if len(layers) == 1:
            what = f"a posterior of {layers[0] or 'its layer'}"
        elif layers:
            what = f"posteriors of {len(layers)} layers"
        return f"{what}, {self.test_samples} draws"

    def rhos(self) -> Iterator[nn.Parameter]:
        """What says how wide the posteriors are."""
        for _, layer in mean_field_layers(self.network):
            for name in layer.random_names():
                yield getattr(layer, f"{name}_rho")

    def mean_network(self) -> nn.Module:
        """One network of torch's own layers, a copy, that has the means as its weights."""
        return to_deterministic(self.network)

    def _drawn_whole(self, *inputs: Any, **named: Any) -> PeerOutput:
        some = next(self.rhos(), None)
        if some is None:  # dropout, which is drawn as it comes
            outputs = (self._one(*inputs, **named) for _ in range(self.test_samples))
            return _together(outputs, self.form)
        draws = Draws(self.test_samples, some.device)
        with drawing(self.network, draws):
            if self._at_once(inputs, named):
                try:
                    return self._all(inputs[0], draws)
                except NotByRowsError:
                    draws.restart()
            return _together(self._each(draws, inputs, named), self.form)

    def _each(
        self, draws: Draws, inputs: tuple[Any, ...], named: Mapping[str, Any]
    ) -> Iterator[PeerOutput]:
        for number in range(draws.count):
            draws.at = number
            yield self._one(*inputs, **named)

    def _at_once(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
        """Whether all draws can, and should, be in one forward."""
        if named or len(inputs) != 1 or not isinstance(inputs[0], Tensor) or self.test_samples < 2:
            return False
        rows = inputs[0]
        if rows.ndim < 2 or len(rows) == 0 or not keeps_rows_apart(self.network):
            return False
        layers = [layer for _, layer in mean_field_layers(self.network)]
        if len(layers) == 1:  # all before it runs once
            return True
        positions = rows.shape[0] * rows.shape[2:].numel()
        weights = max(layer.weight.numel() for layer in layers)
        return self.test_samples * positions <= MANY_POSITIONS and (
            self.test_samples * weights <= MANY_WEIGHTS
        )

    def _all(self, rows: Tensor, draws: Draws) -> PeerOutput:
        draws.at, draws.rows = None, len(rows)
        with folding(self.network, draws):
            output = self._one(rows)
        if draws.shared(output.logits):
            raise NotByRowsError
        apart = (draws.count, len(rows))
        features = {
            name: each if draws.shared(each) else each.unflatten(0, apart).mean(0)
            for name, each in output.features.items()
        }
        return PeerOutput.of_samples(output.logits.unflatten(0, apart), features, self.form)

    def _one(self, *inputs: Any, **named: Any) -> PeerOutput:
        with nullcontext() if self._looked else _layers_called_once(self.network):
            raw = self.network(*inputs, **named)
        self._looked = True
        return as_peer_output(raw, type(self.network).__name__)


@contextmanager
def _layers_called_once(network: nn.Module) -> Iterator[None]:
    """See that no layer with a posterior is called twice, where its weights would be drawn twice.

    Raises InputError: one is; names it.
    """
    called: set[str] = set()

    def count(path: str, layer: nn.Module, inputs: Any) -> None:
        if path in called:
            raise InputError(
                f"bayesian: layer {path or 'the network'} is called twice in one forward, and each "
                "call would draw its weights anew; give each place a layer of its own, or leave "
                "that layer as it is (layers: last, where it is not the last)"
            )
        called.add(path)

    hooks = [
        layer.register_forward_pre_hook(partial(count, path))
        for path, layer in mean_field_layers(network)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Deterministic:
    """A context in which the Bayesian peers of a cohort are deterministic."""

    def __init__(self, cohort: nn.Module) -> None:
        self._peers = [each for each in cohort.modules() if isinstance(each, BayesianNetwork)]
        self._before = [peer.deterministic for peer in self._peers]

    def __enter__(self) -> None:
        for peer in self._peers:
            peer.deterministic = True

    def __exit__(self, *error: object) -> None:
        for peer, was in zip(self._peers, self._before, strict=True):
            peer.deterministic = was


def is_bayesian(network: nn.Module) -> bool:
    """Whether weights of a network have a distribution: posteriors, or dropout that is drawn."""
    return next(drawing_layers(network), None) is not None


def to_deterministic(network: nn.Module) -> nn.Module:
    """The inverse of `to_bayesian`, a copy: layers are torch's own and have the means as weights.

    Weights have the names that they had in the network that `to_bayesian` got. A `BayesianNetwork`
    anywhere in it becomes what is inside it. One network of the means is not the mean of many: it
    is surer of what it says, and a temperature that was fitted to many is left out.
    """
    if isinstance(network, BayesianNetwork):
        return with_plain_layers(network.network)
    plain = with_plain_layers(network)
    for module in list(plain.modules()):
        for name, part in module.named_children():
            if isinstance(part, BayesianNetwork):
                setattr(module, name, with_plain_layers(part.network))
    return plain


def _together(outputs: Iterator[PeerOutput], form: OutputForm) -> PeerOutput:
    """One output of those of all draws, of whose features there is never more than a sum."""
    first = next(outputs)
    samples, totals = [first.logits], dict(first.features)
    for output in outputs:
        samples.append(output.logits)
        for name, each in output.features.items():
            if len(samples) == 2 or torch.is_grad_enabled():  # the first are the network's own
                wide = torch.promote_types(each.dtype, torch.float32)
                totals[name] = totals[name].to(wide) + each
            else:
                totals[name].add_(each)
    if len(samples) == 1:  # its mean probability is its own
        return first._replace(samples=first.logits.unsqueeze(0))
    means = {
        name: (each / len(samples)).to(first.features[name].dtype) for name, each in totals.items()
    }
    return PeerOutput.of_samples(torch.stack(samples), means, form)
