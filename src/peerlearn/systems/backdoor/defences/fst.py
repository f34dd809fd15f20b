"""Feature Shift Tuning: the classifier starts anew, and is pushed away from where it was.

Min, Qin, Shen, Cheng, "Towards Stable Backdoor Purification through Feature Shift Tuning", NeurIPS
2023, arXiv 2310.01875.

Shape suffixes: C classes, d units that the classifier reads.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.defences.base import CleanRows, Defence
from peerlearn.systems.backdoor.defences.tuning import cross_entropy, fine_tune, last_linear


class FeatureShiftTuning(Defence):
    """Minimise CE + α ⟨W, W⁰⟩, with ‖W‖ of the classifier kept at ‖W⁰‖.

    W⁰ is the classifier of the poisoned network, and W begins uniform in ±1/√d. Away from W⁰ the
    features must shift too, those that the trigger fires among them.
    """

    method: Literal["fst"] = "fst"
    alpha: float = Field(
        0.1, ge=0, description="α, how hard W is pushed from W⁰; smaller with many classes"
    )
    epochs: int = Field(10, ge=1, description="passes over the clean rows")
    lr: float = Field(0.01, gt=0, description="learning rate at the start")

    def change(self, network: nn.Module, clean: CleanRows) -> None:
        layer = last_linear(network, clean, self.method)
        poisoned_Cd = layer.weight.detach().clone()
        norm = poisoned_Cd.norm()
        reinitialise(layer, keyed_generator(clean.seed, "fst"))
        ce = cross_entropy(network)

        def loss(x: Tensor, y_B: Tensor) -> Tensor:
            return ce(x, y_B) + self.alpha * (layer.weight * poisoned_Cd).sum()

        def keep_norm() -> None:
            with torch.no_grad():
                layer.weight.mul_(norm / layer.weight.norm())

        fine_tune(
            network,
            clean,
            self.epochs,
            self.lr,
            loss=loss,
            after_step=keep_norm,
            weight_decay=0.0,
        )


@torch.no_grad()
def reinitialise(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draw weights and bias uniform in ±1/√d, the same on every device."""
    bound = layer.in_features**-0.5
    for weight in layer.parameters():
        weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))
