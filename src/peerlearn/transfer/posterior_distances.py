"""How far apart Gaussian posteriors of weights are: one pure function per distance, by weight.

A posterior is found by what it can do: a module with `random_names()` and `gaussian(name)`, whose
result has `mean` and `std`, such as those of `peerlearn.models.bayesian`.

Shape suffix: W all weights of the tensors that are compared, one tensor after the other.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

DistanceName = Literal["w2", "kl", "symmetric_kl"]
#: Least σ that a KL divergence divides by.
SMALLEST_STD = 1e-12

Peers = Mapping[str, nn.Module] | nn.ModuleDict
Gaussians = Mapping[str, Any]
"""Posteriors by the names of their tensors."""


def posteriors_of(network: nn.Module) -> Gaussians:
    """The posteriors of a network, each shared tensor once.

    By the path of its mean in the network. Of a module that stands for a `network` which is no part
    of it, as a `BayesianNetwork` does, the posteriors are those of this.
    """
    while isinstance(inside := vars(network).get("network"), nn.Module):
        network = inside
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for path, module in network.named_modules():
        if not (hasattr(type(module), "random_names") and hasattr(type(module), "gaussian")):
            continue
        layer: Any = module
        for name in layer.random_names():
            gaussian = layer.gaussian(name)
            if id(gaussian.mean) not in seen:
                seen.add(id(gaussian.mean))
                found[f"{path}.{name}" if path else name] = gaussian
    return found


class Posterior(NamedTuple):
    """Means and standard deviations (W,) in fp32, and the number of weights of each tensor."""

    mean_W: Tensor
    std_W: Tensor
    sizes: list[int]

    def detach(self) -> "Posterior":
        """The same without gradient."""
        return self._replace(mean_W=self.mean_W.detach(), std_W=self.std_W.detach())


def shape_of(posteriors: Gaussians, name: str) -> tuple[int, ...]:
    """Of one of the tensors."""
    return tuple(posteriors[name].mean.shape)


def together(posteriors: Gaussians, names: Sequence[str]) -> Posterior:
    """The tensors of these names, one after the other."""
    means = [posteriors[name].mean.float().flatten() for name in names]
    stds = [posteriors[name].std.float().flatten() for name in names]
    return Posterior(torch.cat(means), torch.cat(stds), [len(mean) for mean in means])


def squared_w2(teacher: Posterior, learner: Posterior) -> Tensor:
    """Squared 2-Wasserstein distance ‖μ₁ − μ₂‖² + ‖σ₁ − σ₂‖² of diagonal Gaussians, by weight.

    The second part is the squared Bures distance of diagonal covariances.
    """
    return (learner.mean_W - teacher.mean_W).square() + (learner.std_W - teacher.std_W).square()


def kl(teacher: Posterior, learner: Posterior) -> Tensor:
    """KL(q_learner ‖ q_teacher) = log(σ'/σ) + (σ² + (μ − μ')²) / (2 σ'²) − 1/2, by weight."""
    std_W, other_W = (it.std_W.clamp_min(SMALLEST_STD) for it in (learner, teacher))
    ratio_W = (std_W / other_W).square()
    shift_W = ((learner.mean_W - teacher.mean_W) / other_W).square()
    return 0.5 * (ratio_W + shift_W - 1 - ratio_W.log())


def symmetric_kl(teacher: Posterior, learner: Posterior) -> Tensor:
    """The mean of KL both ways, by weight."""
    return 0.5 * (kl(teacher, learner) + kl(learner, teacher))


DISTANCES: Mapping[DistanceName, Callable[[Posterior, Posterior], Tensor]] = {
    "w2": squared_w2,
    "kl": kl,
    "symmetric_kl": symmetric_kl,
}


class WholePosterior(NamedTuple):
    """All of a network's posterior: the shape of each tensor by name, and the tensors together."""

    shapes: dict[str, tuple[int, ...]]
    weights: Posterior


def whole_posterior(network: nn.Module) -> WholePosterior | None:
    """That of all tensors of a network, by name; None of one without posteriors."""
    found = posteriors_of(network)
    names = sorted(found)
    shapes = {name: shape_of(found, name) for name in names}
    return WholePosterior(shapes, together(found, names)) if found else None


@torch.no_grad()
def posterior_distances(
    peers: Peers, distance: DistanceName = "w2"
) -> dict[tuple[str, str], float]:
    """By (teacher, learner): the distance of their posteriors, summed over all tensors.

    Of a cohort with edges about posteriors or without. Pairs whose posteriors have other names or
    shapes, and peers without any, are left out.
    """
    whole = {name: found for name in peers if (found := whole_posterior(peers[name]))}
    return distances_of(whole, distance)


@torch.no_grad()
def distances_of(
    whole: Mapping[str, WholePosterior], distance: DistanceName = "w2"
) -> dict[tuple[str, str], float]:
    """The same of posteriors that were gathered from elsewhere."""
    pairs = [(a, b) for a, b in permutations(whole, 2) if whole[a].shapes == whole[b].shapes]
    if not pairs:
        return {}
    each = [DISTANCES[distance](whole[a].weights, whole[b].weights).sum() for a, b in pairs]
    return dict(zip(pairs, torch.stack(each).tolist(), strict=True))
