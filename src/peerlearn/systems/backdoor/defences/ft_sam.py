"""Fine-tuning with sharpness-aware minimisation.

Zhu, Wei, Shen, Fan, Wu, "Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware
Minimization", ICCV 2023, arXiv 2304.11823. The perturbation is that of ASAM: Kwon, Kim, Park, Choi,
ICML 2021, arXiv 2102.11600; without scale it is SAM: Foret et al., ICLR 2021, arXiv 2010.01412.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from peerlearn.modes import frozen_statistics
from peerlearn.systems.backdoor.defences.base import CleanRows, Defence
from peerlearn.systems.backdoor.defences.tuning import Step, cross_entropy, fine_tune

TINY = 1e-12
"""So that a gradient of 0 perturbs nothing."""


class SharpnessAwareTuning(Defence):
    """Fine-tune by the gradient at the worst weights near by, where large weights may move most."""

    method: Literal["ft-sam"] = "ft-sam"
    rho: float = Field(
        2.0, gt=0, description="ρ, radius of the neighbourhood; the authors have 8 for GTSRB"
    )
    adaptive: bool = Field(
        True,
        description="the radius is of w-scaled perturbations (ASAM); false: of plain ones (SAM), "
        "which need a rho far below 1",
    )
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="of the cross-entropy; the authors have 0 for GTSRB"
    )
    epochs: int = Field(20, ge=1, description="passes over the clean rows; the authors have 100")
    lr: float = Field(0.01, gt=0, description="learning rate at the start")

    def change(self, network: nn.Module, clean: CleanRows) -> None:
        loss = cross_entropy(network, self.label_smoothing)
        step = sharpness_aware(network, self.rho, self.adaptive)
        fine_tune(network, clean, self.epochs, self.lr, loss=loss, step=step)


def sharpness_aware(network: nn.Module, rho: float, adaptive: bool) -> Step:
    """A step from where the weights are, by the gradient where the perturbation takes them.

    The second pass leaves BatchNorm's running statistics alone: it is not the network that serves.
    """

    def step(optimiser: Optimizer, loss: Callable[[], Tensor]) -> None:
        optimiser.zero_grad()
        loss().backward()
        weights = [weight for weight in network.parameters() if weight.grad is not None]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        before = [weight.detach().clone() for weight in weights]
        changes = perturbation(before, gradients, rho, adaptive)
        with torch.no_grad():
            for weight, change in zip(weights, changes, strict=True):
                weight.add_(change)
        optimiser.zero_grad()
        with frozen_statistics(network):
            loss().backward()
        with torch.no_grad():  # copied, since w + e − e is not w in floating point
            for weight, kept in zip(weights, before, strict=True):
                weight.copy_(kept)
        optimiser.step()

    return step


def perturbation(
    weights: Sequence[Tensor], gradients: Sequence[Tensor], rho: float, adaptive: bool
) -> list[Tensor]:
    """e = ρ w² g / ‖|w| g‖, the norm over all weights together; plain: e = ρ g / ‖g‖."""
    if not adaptive:
        norm = torch.stack([g.norm() for g in gradients]).norm() + TINY
        return [rho / norm * g for g in gradients]
    scaled = [w.abs() * g for w, g in zip(weights, gradients, strict=True)]
    norm = torch.stack([each.norm() for each in scaled]).norm() + TINY
    return [rho / norm * w.abs() * each for w, each in zip(weights, scaled, strict=True)]
