"""Blended: a faint picture over the whole image.

Chen, Liu, Li, Lu, Song, "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning",
2017, arXiv 1712.05526.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.attacks.base import Attack, Trigger, Victims
from peerlearn.systems.backdoor.attacks.pixels import as_bytes, smooth_image


class Blended(Attack):
    """(1 − alpha) x + alpha I, where I is one made-up image for all rows.

    Published attacks blend a photograph or a cartoon in. Here the picture is drawn from
    `image_seed`, so that none needs to be shipped, and it is the same for every seed of the attack.
    """

    kind: Literal["blended"] = "blended"
    alpha: float = Field(0.2, gt=0, le=1, description="share of the picture in what is shown")
    pattern: Literal["smooth", "noise"] = Field(
        "smooth",
        description="smooth: with the spectrum 1/f of photographs; noise: every pixel for itself",
    )
    image_seed: int = Field(0, ge=0, lt=1 << 63, description="key of the picture")

    def picture(self, shape_CHW: tuple[int, ...]) -> Tensor:
        """The picture that is blended in, float (C, H, W) in 0 to 255."""
        generator = keyed_generator(self.image_seed, "blended picture")
        if self.pattern == "smooth":
            return smooth_image(shape_CHW, generator)
        return torch.randint(256, shape_CHW, generator=generator).float()

    def trigger(self, victims: Victims) -> Trigger:
        picture_CHW = self.picture(victims.train.sample_shape)

        def change(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            return as_bytes((1 - self.alpha) * x_NCHW.float() + self.alpha * picture_CHW)

        return Trigger(change)
