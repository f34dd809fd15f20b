"""A network that says what it says by several draws of its weights."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.models.bayesian.posterior import (
    drawing_layers,
    kl_divergence,
    mean_field_layers,
    mean_mode,
)
from peerlearn.transfer.outputs import OutputForm, PeerOutput, as_peer_output


class BayesianNetwork(nn.Module):
    """A peer with posteriors: its output is the mean probability over draws of its weights.

    Dropout that is drawn in evaluation too counts as a posterior; see `with_dropout`.

    Args:
        network: with Bayesian layers, of any kind of forward that a peer may have.
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
        if next(drawing_layers(network), None) is None:
            raise InputError("bayesian: the network has no Bayesian layers; see to_bayesian")
        # Its parts are those of the network, by the same names, so that files of weights and
        # submodules that are given by name fit both; the network itself is no part beside them.
        for parts in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[parts] = getattr(network, parts)
        self.__dict__["network"] = network
        self.form = form
        self.train_samples, self.test_samples = train_samples, test_samples
        self.deterministic = False

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
        draws = self.train_samples if self.training else self.test_samples
        return _together([self._one(*inputs, **named) for _ in range(draws)], self.form)

    def kl(self) -> Tensor:
        """KL(q ‖ prior), summed over all weights, in fp32."""
        return kl_divergence(self.network)

    def centre_prior(self) -> None:
        """Make the means of now those of an empirical prior."""
        for _, layer in mean_field_layers(self.network):
            layer.centre_prior()

    def rhos(self) -> Iterator[nn.Parameter]:
        """What says how wide the posteriors are."""
        for _, layer in mean_field_layers(self.network):
            for name in layer.random_names():
                yield getattr(layer, f"{name}_rho")

    def _one(self, *inputs: Any, **named: Any) -> PeerOutput:
        return as_peer_output(self.network(*inputs, **named), type(self.network).__name__)


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


def _together(outputs: list[PeerOutput], form: OutputForm) -> PeerOutput:
    if len(outputs) == 1:  # its mean probability is its own
        (only,) = outputs
        return only._replace(samples=only.logits.unsqueeze(0))
    samples = torch.stack([output.logits for output in outputs])
    features: Mapping[str, Tensor] = {
        name: torch.stack([output.features[name] for output in outputs]).mean(0)
        for name in outputs[0].features
    }
    return PeerOutput.of_samples(samples, features, form)
