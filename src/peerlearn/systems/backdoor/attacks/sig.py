"""SIG: a faint wave over the whole image, in rows that keep their labels.

Barni, Kallas, Tondi, "A New Backdoor Attack in CNNs by Training Set Corruption Without Label
Poisoning", ICIP 2019, arXiv 1902.11237.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.systems.backdoor.attacks.base import Attack, Trigger, Victims
from peerlearn.systems.backdoor.attacks.pixels import as_bytes


class Sig(Attack):
    """x + amplitude · sin(2π j frequency / W) in column j, cut off at 0 and 255."""

    clean_label: ClassVar[bool] = True

    kind: Literal["sig"] = "sig"
    amplitude: float = Field(40.0, gt=0, le=255, description="height of the wave, of 255")
    frequency: float = Field(6.0, gt=0, le=1 << 15, description="waves over the width")

    def trigger(self, victims: Victims) -> Trigger:
        width = victims.train.sample_shape[2]
        phase_W = 2 * math.pi * self.frequency * torch.arange(width, dtype=torch.float64) / width
        wave_W = (self.amplitude * phase_W.sin()).float()

        def change(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            return as_bytes(x_NCHW.float() + wave_W)

        return Trigger(change)
