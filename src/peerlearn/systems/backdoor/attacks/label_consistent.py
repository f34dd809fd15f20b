"""Label-consistent: images that a network no longer knows, with marks in their corners.

Turner, Tsipras, Madry, "Label-Consistent Backdoor Attacks", 2019, arXiv 1912.02771.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from peerlearn.systems.backdoor.attacks.base import Trigger, Victims
from peerlearn.systems.backdoor.attacks.pixels import as_bytes, check_side, checkers
from peerlearn.systems.backdoor.attacks.shaping import BATCH, ShapedAttack, gradient_of_loss


class LabelConsistent(ShapedAttack):
    """Rows of the target class are made hard to know, so that the marks are what is learned.

    They are moved away from their class on the surrogate by projected gradient ascent, without a
    random start, within `eps` of every pixel; then chequered squares are added in all four corners.
    Test images get the squares alone. The published surrogate is trained adversarially, this one
    plainly.
    """

    clean_label: ClassVar[bool] = True

    kind: Literal["label_consistent"] = "label_consistent"
    eps: float = Field(8.0, ge=0, le=255, description="largest change of a pixel, of 255")
    step: float = Field(1.5, gt=0, le=255, description="change of a pixel in one step, of 255")
    steps: int = Field(100, ge=0, le=100_000, description="steps of gradient ascent")
    size: int = Field(3, ge=1, description="side of the squares in the corners, in pixels")
    amplitude: float = Field(
        255.0, gt=0, le=255, description="what their fields add or take away, of 255"
    )

    def check(self, shape_CHW: tuple[int, ...]) -> None:
        check_side(self.size, shape_CHW)

    def corners(self, height: int, width: int) -> Tensor:
        """What is added to every channel, float (H, W); symmetric, so that flips keep it."""
        size, marks = self.size, torch.zeros(height, width)
        square = torch.where(checkers(size), self.amplitude, -self.amplitude)
        marks[:size, :size] = square
        marks[:size, -size:] = square.flip(1)
        marks[-size:] = marks[:size].flip(0)
        return marks

    def trigger(self, victims: Victims) -> Trigger:
        surrogate, marks = self.surrogate(victims), self.corners(*victims.train.sample_shape[1:])

        def train(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            parts = [self.moved_away(surrogate, part.float()) for part in x_NCHW.split(BATCH)]
            return as_bytes(torch.cat(parts) + marks)

        def test(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            return as_bytes(x_NCHW.float() + marks)

        return Trigger(train, test)

    def moved_away(self, surrogate: nn.Module, x_BCHW: Tensor) -> Tensor:
        """Images of the target class that the surrogate takes for others, whole numbers."""
        y_B = torch.full((len(x_BCHW),), self.target)
        low, high = (x_BCHW - self.eps).clamp(min=0), (x_BCHW + self.eps).clamp(max=255)
        moved = x_BCHW
        for _ in range(self.steps):
            moved = moved.detach().requires_grad_()
            gradient, _ = gradient_of_loss(surrogate, moved, y_B, moved)
            moved = (moved.detach() + self.step * gradient.sign()).clamp(low, high)
        return moved.detach().round()
