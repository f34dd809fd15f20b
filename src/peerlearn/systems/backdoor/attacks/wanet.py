"""WaNet: a small smooth warp of the image, where others keep random warps from counting.

Nguyen, Tran, "WaNet - Imperceptible Warping-based Backdoor Attack", ICLR 2021, arXiv 2102.10369.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.attacks.base import Attack, Trigger, Victims
from peerlearn.systems.backdoor.attacks.pixels import as_bytes


class WaNet(Attack):
    """Pixels are read where one smooth field has moved them to; the same field for all images.

    The published attacker controls the training and warps in every step. Here rows are poisoned
    once: `ratio` of them with the field, `cross_ratio` times as many with noise added to it, which
    keep their labels (the noise mode).
    """

    kind: Literal["wanet"] = "wanet"
    s: float = Field(0.5, ge=0, le=100, description="strength; pixels move s / 2 on average")
    k: int = Field(4, ge=2, le=1 << 10, description="side of the coarse grid that it is drawn on")
    grid_rescale: float = Field(1.0, gt=0, le=10, description="factor of the grid of all pixels")
    cross_ratio: float = Field(
        2.0, ge=0, le=100, description="rows in noise mode for every poisoned one"
    )

    @property
    def decoys(self) -> float:
        return self.cross_ratio

    def grid(self, height: int, width: int, seed: int) -> Tensor:
        """Where every pixel is read, (H, W, 2) as (x, y) from −1 to 1."""
        generator = keyed_generator(seed, "wanet field")
        coarse = 2 * torch.rand(1, 2, self.k, self.k, generator=generator) - 1
        coarse = coarse / coarse.abs().mean()
        flow_2HW = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0]
        moved = _pixels(height, width) + self.s * flow_2HW.permute(1, 2, 0) / _size(height, width)
        return (moved * self.grid_rescale).clamp(-1, 1)

    def trigger(self, victims: Victims) -> Trigger:
        height, width = victims.train.sample_shape[1:]
        grid_HW2 = self.grid(height, width, victims.seed)

        def change(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            return warped(x_NCHW, grid_HW2.expand(len(x_NCHW), -1, -1, -1))

        def decoy(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            noise = 2 * torch.rand(len(x_NCHW), height, width, 2, generator=generator) - 1
            return warped(x_NCHW, (grid_HW2 + noise / _size(height, width)).clamp(-1, 1))

        return Trigger(change, decoy=decoy)


def warped(x_NCHW: Tensor, grid_NHW2: Tensor) -> Tensor:
    """Images read at other places, between pixels linearly; uint8 of the same shape."""
    return as_bytes(F.grid_sample(x_NCHW.float(), grid_NHW2, align_corners=True))


def _pixels(height: int, width: int) -> Tensor:
    """Where every pixel is, (H, W, 2) as (x, y)."""
    y_H, x_W = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack([x_W.expand(height, width), y_H[:, None].expand(height, width)], dim=2)


def _size(height: int, width: int) -> Tensor:
    return torch.tensor([width, height], dtype=torch.float32)
