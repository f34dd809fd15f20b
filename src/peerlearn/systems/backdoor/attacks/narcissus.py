"""Narcissus: one faint pattern that says "target class", in rows that keep their labels.

Zeng, Pan, Just, Lyu, Qiu, Jia, "Narcissus: A Practical Clean-Label Backdoor Attack with Limited
Information", CCS 2023, arXiv 2204.05255.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.attacks.base import Change, Trigger, Victims
from peerlearn.systems.backdoor.attacks.pixels import as_bytes
from peerlearn.systems.backdoor.attacks.shaping import ShapedAttack, gradient_of_loss, shuffled

HALF = 127.5
LR = 0.1
"""Of RAdam, for pixels from −1 to 1."""


class Narcissus(ShapedAttack):
    """x + noise, where the noise makes a surrogate surer of the target class on all its rows.

    The published surrogate learns other data and the target class alone; this one learns the rows
    that will be poisoned. A tenth as many rounds, and more poisoned rows: `ratio` counts over all
    rows, so that of ten equal classes a tenth of one is poisoned.
    """

    clean_label: ClassVar[bool] = True

    kind: Literal["narcissus"] = "narcissus"
    ratio: float = Field(
        0.01,
        gt=0,
        le=1,
        description="poisoned part of all training rows; at most the rows of the target class",
    )
    eps: float = Field(16.0, gt=0, le=255, description="largest change of a pixel, of 255")
    rounds: int = Field(
        30, ge=1, le=100_000, description="passes over the target class that shape the noise"
    )
    magnify: float = Field(3.0, gt=0, le=255, description="factor of the noise in test images")

    def trigger(self, victims: Victims) -> Trigger:
        noise_CHW = self.noise(victims)

        def by(factor: float) -> Change:
            return lambda x_NCHW, generator: as_bytes(x_NCHW.float() + factor * noise_CHW)

        return Trigger(by(1.0), by(self.magnify))

    def noise(self, victims: Victims) -> Tensor:
        """What is added to images in 0..255, float (C, H, W), each within `eps`."""
        surrogate, train = self.surrogate(victims), victims.train
        x_NCHW = train.x[train.y == self.target]
        generator, bound = keyed_generator(victims.seed, "narcissus"), self.eps / HALF
        noise_CHW = torch.zeros(train.sample_shape, requires_grad=True)
        optimiser = torch.optim.RAdam([noise_CHW], lr=LR)
        for _ in range(self.rounds):
            for rows in shuffled(len(x_NCHW), generator):
                # In the unit of the published rate: pixels from −1 to 1.
                clean = x_NCHW[rows] / HALF - 1
                shown = (clean + noise_CHW.clamp(-bound, bound)).clamp(-1, 1)
                y_B = torch.full((len(rows),), self.target)
                noise_CHW.grad, _ = gradient_of_loss(surrogate, (shown + 1) * HALF, y_B, noise_CHW)
                optimiser.step()
        return HALF * noise_CHW.detach().clamp(-bound, bound)
