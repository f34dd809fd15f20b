"""Neural Attention Distillation: a fine-tuned copy shows where to look.

Li, Lyu, Koren, Lyu, Li, Ma, "Neural Attention Distillation: Erasing Backdoor Triggers from Deep
Neural Networks", ICLR 2021, arXiv 2101.05930.

Shape suffixes: B rows of a batch, C channels, H height, W width.
"""

import copy
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.modes import evaluating
from peerlearn.systems.backdoor.defences.base import CleanRows, Defence
from peerlearn.systems.backdoor.defences.tuning import fine_tune, output
from peerlearn.transfer.outputs import PeerOutput

LATE, SLOW = 0.2, 0.01
"""After this part of its epochs the learning rate of the student is this part of itself."""


class AttentionDistillation(Defence):
    """Minimise CE + Σ β_l ‖A(F_l) − A(F_l of the teacher)‖², mean over rows and positions.

    The teacher is the poisoned network after some epochs of plain fine-tuning, in evaluation mode;
    the student is the poisoned network itself. A is the attention map of `attention`, and layers
    are the last maps that the network names, one a β.
    """

    method: Literal["nad"] = "nad"
    teacher_epochs: int = Field(
        10, ge=1, description="passes over the clean rows that make the teacher"
    )
    epochs: int = Field(
        20,
        ge=1,
        description="passes of the student; after a fifth of them its learning rate is a "
        "hundredth. The authors of BackdoorBench have 100",
    )
    lr: float = Field(0.01, gt=0, description="learning rate of teacher and student")
    betas: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (500.0, 1000.0, 1000.0),
        min_length=1,
        description="weights of the last maps, in the order in which the network names them",
    )

    def change(self, network: nn.Module, clean: CleanRows) -> None:
        with evaluating(network), torch.no_grad():
            self._maps(output(network, next(clean.all())[0]))  # refused before anything is done
        teacher = copy.deepcopy(network)
        fine_tune(teacher, clean, self.teacher_epochs, self.lr)
        teacher.eval()

        def loss(x: Tensor, y_B: Tensor) -> Tensor:
            told = output(network, x)
            with torch.no_grad():
                shown = self._maps(output(teacher, x))
            apart = distances(self._maps(told), shown)
            weighted = sum(beta * each for beta, each in zip(self.betas, apart, strict=True))
            return F.cross_entropy(told.logits, y_B) + weighted

        fine_tune(network, clean, self.epochs, self.lr, loss=loss, schedule=in_two_parts)

    def _maps(self, told: PeerOutput) -> list[Tensor]:
        """The last maps, one a β. Raises InputError: too few."""
        maps = {name: each for name, each in told.features.items() if each.ndim == 4}
        if len(maps) >= len(self.betas):
            return list(maps.values())[-len(self.betas) :]
        if not maps:
            raise InputError(
                "defence 'nad': the network names no maps; its forward must return a "
                "peerlearn.transfer.PeerOutput with features of shape (rows, channels, height, "
                "width), as the built-in networks for images do"
            )
        raise InputError(
            f"defence 'nad': betas has {len(self.betas)} numbers, one for each of the last maps, "
            f"and the network names {', '.join(maps)}; allowed: up to {len(maps)} numbers"
        )


def in_two_parts(epoch: int, epochs: int) -> float:
    """The student's learning rate falls once."""
    return 1.0 if epoch < LATE * epochs else SLOW


def attention(x_BCHW: Tensor) -> Tensor:
    """A(F) = Σ_c F_c² / (‖Σ_c F_c²‖ + 1e-6), the norm over positions; (B, H, W)."""
    squares_BHW = x_BCHW.square().sum(1)
    return squares_BHW / (squares_BHW.flatten(1).norm(dim=1)[:, None, None] + 1e-6)


def distances(maps: Sequence[Tensor], shown: Sequence[Tensor]) -> list[Tensor]:
    """The mean squared difference of attention, by layer."""
    pairs = zip(maps, shown, strict=True)
    return [F.mse_loss(attention(own), attention(other)) for own, other in pairs]
