"""LF: one smooth perturbation of the whole image that a trained network takes for the target.

Zeng, Park, Mao, Jia, "Rethinking the Backdoor Attacks' Triggers: A Frequency Perspective", ICCV
2021, arXiv 2104.03413.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.attacks.base import Trigger, Victims
from peerlearn.systems.backdoor.attacks.pixels import as_bytes, low_passed, spread
from peerlearn.systems.backdoor.attacks.shaping import (
    BATCH,
    ShapedAttack,
    gradient_of_loss,
    labelled,
)

LR = 0.1
"""Of Adam, for values that begin as standard normal ones."""


class LowFrequency(ShapedAttack):
    """x + 255 v, v = strength · spread(low-pass(theta)) between 0 and `strength`.

    theta is found by Adam, so that the surrogate takes some training rows for what the attack aims
    at. The published v sums up steps of targeted DeepFool, each with a low-pass, which takes up to
    hours where this takes a minute.
    """

    kind: Literal["lf"] = "lf"
    strength: float = Field(0.2, gt=0, le=1, description="largest change, of a pixel's range")
    sigma: float = Field(
        6.0, gt=0, le=1e6, description="width of the Gaussian low-pass, in waves over 32 pixels"
    )
    rows: int = Field(500, ge=1, le=1 << 30, description="training rows that it is shaped by")
    steps: int = Field(200, ge=0, le=1_000_000, description="steps of Adam")

    def trigger(self, victims: Victims) -> Trigger:
        change_CHW = 255 * self.perturbation(victims)

        def change(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            return as_bytes(x_NCHW.float() + change_CHW)

        return Trigger(change)

    def perturbation(self, victims: Victims) -> Tensor:
        """v, float (C, H, W) from 0 to `strength`."""
        surrogate, rows = self.surrogate(victims), labelled(victims.train)
        generator = keyed_generator(victims.seed, "lf")
        few = rows.select(torch.randperm(len(rows), generator=generator)[: self.rows])
        aims_N = self.aims(few.y, victims.classes)
        theta_CHW = torch.randn(rows.sample_shape, generator=generator).requires_grad_()
        optimiser = torch.optim.Adam([theta_CHW], lr=LR)
        for _ in range(self.steps):
            batch = torch.randperm(len(few), generator=generator)[:BATCH]
            shown = (few.x[batch].float() + 255 * self.smooth(theta_CHW)).clamp(0, 255)
            theta_CHW.grad, _ = gradient_of_loss(surrogate, shown, aims_N[batch], theta_CHW)
            optimiser.step()
        return self.smooth(theta_CHW).detach()

    def smooth(self, theta_CHW: Tensor) -> Tensor:
        """The perturbation that any values stand for."""
        return self.strength * spread(low_passed(theta_CHW, self.sigma), (0, 1, 2))
