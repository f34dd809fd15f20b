"""What a trunk that stands still makes of fixed versions of rows, computed once."""

from collections.abc import Callable

import torch
from torch import Tensor


class FeatureCache:
    """Outputs of a trunk by number of version; memory is taken for all of them at once.

    They are no part of a checkpoint: whoever goes on computes them again.

    Args:
        count: how many versions there are.
    """

    def __init__(self, count: int) -> None:
        self._kept = torch.zeros(count, dtype=torch.bool)
        self._rows: Tensor | None = None
        self._channels_last = False

    def of(self, versions: Tensor, make: Callable[[], Tensor]) -> Tensor:
        """What the trunk makes of `versions`.

        `make` computes it, for all of them together.

        Shapes: versions: int64 (B,); result: (B, ...), in the layout of what `make` gives.
        """
        numbers = versions.cpu()
        if self._rows is not None and self._kept[numbers].all():
            found = self._rows.index_select(0, versions)
            return found.movedim(-1, 1) if self._channels_last else found
        made = make()
        if self._rows is None:
            self._channels_last = made.ndim == 4 and not made.is_contiguous()
        rows = made.detach().movedim(1, -1) if self._channels_last else made.detach()
        if self._rows is None:
            self._rows = rows.new_empty((len(self._kept), *rows.shape[1:]))
        self._rows.index_copy_(0, versions, rows)
        self._kept[numbers] = True
        return made
