"""Earlier rows, kept to compare new ones with.

Shape suffixes: R rows, M slots, C units.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RowMemory(nn.Module):
    """A queue of unit vectors, first in, first out; it begins with random ones.

    New rows take the places of the oldest. Memories of one size that take the same rows in the same
    order hold the same row in the same slot, whatever their widths.

    Args:
        size: M.
        width: C.

    Shapes:
        rows: (M, C) in fp32; position: (), the slot of the next row.
    """

    rows: Tensor
    position: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def push(self, rows_RC: Tensor) -> None:
        """Take rows, without their gradient; of more rows than slots the last remain.

        The buffer is replaced rather than written to: a loss that was computed from it can still
        go backward.
        """
        size, taken = len(self.rows), len(rows_RC)
        kept_RC = rows_RC.detach()[-size:].to(self.rows.dtype)
        first = self.position + taken - len(kept_RC)
        slots_R = (first + torch.arange(len(kept_RC), device=first.device)) % size
        self.rows = self.rows.index_copy(0, slots_R, kept_RC)
        self.position = (self.position + taken) % size
