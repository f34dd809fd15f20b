"""BadNets: a few pixels in a corner.

Gu, Dolan-Gavitt, Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply
Chain", 2017, arXiv 1708.06733.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.systems.backdoor.attacks.base import Attack, Trigger, Victims
from peerlearn.systems.backdoor.attacks.pixels import check_side, checkers


class BadNets(Attack):
    """A square in the lower right corner, white or a chequered one."""

    kind: Literal["badnets"] = "badnets"
    size: int = Field(3, ge=1, description="side of the square in pixels")
    pattern: Literal["white", "chequered"] = Field("white", description="what it shows")

    def check(self, shape_CHW: tuple[int, ...]) -> None:
        check_side(self.size, shape_CHW)

    def trigger(self, victims: Victims) -> Trigger:
        size = self.size
        square = torch.full((size, size), 255, dtype=torch.uint8)
        if self.pattern == "chequered":
            square[~checkers(size)] = 0

        def change(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            changed = x_NCHW.clone()
            changed[..., -size:, -size:] = square
            return changed

        return Trigger(change)
