"""Gaussian posteriors of weights, one for each element (mean-field), and their divergence.

Blundell et al., "Weight Uncertainty in Neural Networks", ICML 2015: q(w) = N(μ, σ²) with
σ = log(1 + exp ρ). A module that has posteriors is a `MeanField`; the functions here take any
network and look for them in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import expm1, log
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.transfer.posterior_distances import posteriors_of

if TYPE_CHECKING:
    from peerlearn.models.bayesian.draws import Draws

PriorKind = Literal["fixed", "empirical", "tied"]
Method = Literal["reparameterisation", "local", "flipout"]


class Gaussian:
    """A diagonal Gaussian over one tensor of weights, and the prior it is held to.

    Attributes:
        mean, std: of the posterior, of the tensor's shape.
        prior_mean: of the prior: a tensor of that shape, or 0.
        prior_std: of the prior, a scalar.
    """

    __slots__ = ("mean", "prior_mean", "prior_std", "std")

    def __init__(
        self, mean: Tensor, std: Tensor, prior_mean: Tensor | float, prior_std: Tensor
    ) -> None:
        self.mean, self.std = mean, std
        self.prior_mean, self.prior_std = prior_mean, prior_std

    def kl(self) -> Tensor:
        """KL(q ‖ prior), summed over elements, a scalar in fp32.

        Σ log(s / σ) + (σ² + (μ − m)²) / (2 s²) − 1/2,     prior N(m, s²)
        """
        with torch.autocast(self.mean.device.type, enabled=False):
            mean, std, prior_std = self.mean.float(), self.std.float(), self.prior_std.float()
            ratio = (std / prior_std).square()
            shift = ((mean - self.prior_mean) / prior_std).square()
            # By two logarithms: the square of a small ratio is 0 in fp32.
            return (0.5 * (ratio + shift - 1) - std.log() + prior_std.log()).sum()


class MeanField(nn.Module):
    """A layer some of whose parameters are means of Gaussians; see `layers`.

    For each of these there is a `NAME_rho` beside `NAME`, and a prior in buffers, so that a state
    holds all of it. `method` says how a forward in training draws; see `layers.METHODS`.
    """

    method: Method
    prior: PriorKind
    mean_only: bool
    frozen: dict[str, Tensor] | None
    draws: "Draws | None"
    prior_std: Tensor
    weight: Any
    bias: Any

    def random_names(self) -> tuple[str, ...]:
        """Which parameters have a posterior."""
        return tuple(name for name in ("weight", "bias") if f"{name}_rho" in self._parameters)

    def std(self, name: str) -> Tensor:
        """σ of a parameter."""
        return F.softplus(getattr(self, f"{name}_rho"))

    def gaussian(self, name: str) -> Gaussian:
        """The posterior of a parameter, with gradients."""
        mean: Tensor = getattr(self, name)
        centre: Tensor | float = 0.0
        if self.prior == "tied":
            centre = mean
        elif self.prior == "empirical":
            centre = getattr(self, f"{name}_prior_mean")
        return Gaussian(mean, self.std(name), centre, self.prior_std)

    def drawn(self, name: str) -> Tensor | None:
        """One draw of a whole parameter, μ + σ ε; the mean of one that has no posterior."""
        mean: Tensor | None = getattr(self, name)
        if self.mean_only or f"{name}_rho" not in self._parameters or mean is None:
            return mean
        std = self.std(name) if self.draws is None else self.draws.std(self, name)
        return self._spread(mean, std, self.noise(name))

    def noise(self, name: str) -> Tensor:
        """ε of a parameter: drawn anew, or what `frozen_noise` keeps."""
        mean: Tensor = getattr(self, name)
        if self.draws is None:
            # The same in every memory format, and fast in all.
            return self._kept(name, lambda: mean.new_empty(mean.shape).normal_())
        if self.frozen is None:
            return self.draws.one(mean)
        assert self.draws.at is not None
        return self.noises(name)[self.draws.at]

    def all_drawn(self, name: str) -> Tensor | None:
        """All draws of a parameter (S, …), as `drawn` gives each of them."""
        mean: Tensor | None = getattr(self, name)
        assert self.draws is not None
        if mean is None:
            return None
        if f"{name}_rho" not in self._parameters:
            return mean.expand(self.draws.count, *mean.shape)
        return self._spread(mean, self.draws.std(self, name), self.noises(name))

    def noises(self, name: str) -> Tensor:
        """ε (S, …) of all draws of a parameter."""
        mean, draws = getattr(self, name), self.draws
        assert draws is not None
        return self._kept(f"{name} of {draws.count}", lambda: draws.all(mean))

    def _spread(self, mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
        """μ + σ ε, in the place of ε where nobody else reads it."""
        own = self.frozen is None and not torch.is_grad_enabled()
        return torch.addcmul(mean, std, noise, out=noise if own else None)

    def _kept(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        if self.frozen is None:
            return make()
        if key not in self.frozen:
            self.frozen[key] = make()
        return self.frozen[key]

    def centre_prior(self) -> None:
        """Make the means of now those of an empirical prior."""
        if self.prior == "empirical":
            for name in self.random_names():
                getattr(self, f"{name}_prior_mean").copy_(getattr(self, name).detach())


@dataclass(frozen=True)
class Start:
    """How posteriors begin, and what they are held to.

    Attributes:
        std: σ of every element at first. Sane is about 0.005: at 0.001 a network is as good as
            deterministic, from 0.05 on it loses accuracy.
        prior: fixed: N(0, prior_std²); empirical: around the means of before (MOPED, Krishnan et
            al. 2020); tied: around the means of now, so that only σ is held.
        prior_std: of the prior; at 0.03 and below posteriors collapse to it.
        biases: whether biases have a posterior too.
        method: how a forward in training draws.
    """

    std: float = 5e-3
    prior: PriorKind = "fixed"
    prior_std: float = 0.1
    biases: bool = True
    method: Method = "local"

    def __post_init__(self) -> None:
        for name in ("std", "prior_std"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e3:
                raise InputError(f"bayesian.{name}: found {value!r}; allowed: above 0, below 1000")
        for name, allowed in (("method", get_args(Method)), ("prior", get_args(PriorKind))):
            found = getattr(self, name)
            if found not in allowed:
                raise unknown_name(name, found, allowed, f"bayesian.{name}")

    @property
    def rho(self) -> float:
        """ρ at first."""
        return self.std + log(-expm1(-self.std))  # log(exp σ − 1), for large σ too


def give_posterior(layer: MeanField, start: Start) -> None:
    """Put ρ and prior beside the parameters of a layer."""
    layer.method, layer.prior = start.method, start.prior
    layer.mean_only, layer.frozen, layer.draws = False, None, None
    names = ["weight", *(["bias"] if start.biases and layer.bias is not None else [])]
    for name in names:
        mean: Tensor = getattr(layer, name)
        layer.register_parameter(f"{name}_rho", nn.Parameter(torch.full_like(mean, start.rho)))
        if start.prior == "empirical":
            layer.register_buffer(f"{name}_prior_mean", mean.detach().clone())
    device = layer.weight.device
    layer.register_buffer("prior_std", torch.tensor(start.prior_std, device=device))


def take_posterior(layer: MeanField) -> None:
    """Undo `give_posterior`; what is left is the means."""
    for name in layer.random_names():
        del layer._parameters[f"{name}_rho"]
        layer._buffers.pop(f"{name}_prior_mean", None)
    del layer._buffers["prior_std"]
    for name in ("method", "prior", "mean_only", "frozen", "draws"):
        delattr(layer, name)


def posterior(network: nn.Module) -> Iterator[tuple[str, Gaussian]]:
    """The Gaussian of every random tensor, by the name of its mean; each once."""
    yield from posteriors_of(network).items()


def kl_divergence(network: nn.Module) -> Tensor:
    """KL(q ‖ prior) of all weights of a network: a sum, not a mean, in fp32.

    Raises InputError: it has no Bayesian layers.
    """
    terms = [gaussian.kl() for _, gaussian in posterior(network)]
    if not terms:
        raise InputError(
            "kl_divergence: the network has no Bayesian layers; see to_bayesian, and adopt for "
            "layers of bayesian-torch"
        )
    return torch.stack(terms).sum()


def is_random(name: str) -> bool:
    """Whether a tensor of a state is a posterior's beside its mean: ρ, or of the prior."""
    return name.rpartition(".")[2].endswith(("_rho", "_prior_mean")) or name.endswith("prior_std")


def mean_field_layers(network: nn.Module) -> Iterator[tuple[str, MeanField]]:
    """The layers that have posteriors, by path."""
    for path, layer in _parts(network):
        if isinstance(layer, MeanField):
            yield path, layer


def drawing_layers(network: nn.Module) -> Iterator[nn.Module]:
    """The layers that draw in evaluation too: those, and what drops units; see `dropout`."""
    return (layer for _, layer in _parts(network) if hasattr(layer, "mean_only"))


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, module in network.named_modules():
        # A peer that is one layer and no more has the layer's parameters, and it beside them.
        yield path, module.__dict__.get("network", module)


@contextmanager
def mean_mode(network: nn.Module) -> Iterator[None]:
    """Within it weights are their means: the network is deterministic."""
    layers: list[Any] = list(drawing_layers(network))
    before = [layer.mean_only for layer in layers]
    for layer in layers:
        layer.mean_only = True
    try:
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.mean_only = was


@contextmanager
def frozen_noise(network: nn.Module) -> Iterator[None]:
    """Within it every forward sees the same weights: one draw, made when it is first needed."""
    layers = [layer for _, layer in mean_field_layers(network)]
    before = [layer.frozen for layer in layers]
    for layer in layers:
        layer.frozen = {}
    try:
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.frozen = was
