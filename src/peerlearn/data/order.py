"""Which rows make up which batch: a pure function of (seed, epoch)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import keyed_generator


@dataclass(frozen=True)
class ShuffledOrder:
    """Every row once an epoch, in a fresh permutation.

    Where the rows do not fill a whole number of batches the rest is dropped, or kept as a short
    last batch with `drop_last=False`. Fewer rows than a batch always make one short batch, and
    a rest of one row joins the batch before it: BatchNorm has no variance over one row.
    """

    rows: int
    batch_size: int
    seed: int
    drop_last: bool = True

    def __len__(self) -> int:
        return len(batch_sizes(self.rows, self.batch_size, self.drop_last))

    def epoch(self, epoch: int) -> Sequence[Tensor]:
        order = torch.randperm(self.rows, generator=keyed_generator(self.seed, "order", epoch))
        sizes = batch_sizes(self.rows, self.batch_size, self.drop_last)
        return order[: sum(sizes)].split(sizes)


@dataclass(frozen=True)
class MixedOrder:
    """Batches of `labelled_per_batch` labelled rows, then unlabelled ones.

    An epoch passes once over the unlabelled rows. The labelled ones are cycled beside them, each
    cycle in a fresh permutation, so every labelled row appears once before any appears twice.
    """

    labelled: Tensor
    unlabelled: Tensor
    batch_size: int
    labelled_per_batch: int
    seed: int
    drop_last: bool = True

    def __len__(self) -> int:
        return len(self._unlabelled_order())

    def epoch(self, epoch: int) -> Sequence[Tensor]:
        parts = self._unlabelled_order().epoch(epoch)
        key = (self.seed, "labelled", epoch)
        known = cycled(self.labelled, self.labelled_per_batch, len(parts), key)
        pairs = zip(known, parts, strict=True)
        return [torch.cat([rows, self.unlabelled[part]]) for rows, part in pairs]

    def _unlabelled_order(self) -> ShuffledOrder:
        places = self.batch_size - self.labelled_per_batch
        return ShuffledOrder(len(self.unlabelled), places, self.seed, self.drop_last)


@dataclass(frozen=True)
class OrderWithin:
    """An order over some of the rows."""

    order: ShuffledOrder | MixedOrder  # over 0 … n − 1
    rows: Tensor  # the n rows that are meant

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, epoch: int) -> Sequence[Tensor]:
        return [self.rows[part] for part in self.order.epoch(epoch)]


def batch_order(
    y: Tensor, batch_size: int, seed: int, drop_last: bool = True, labelled_per_batch: int = 0
) -> ShuffledOrder | MixedOrder:
    """The order of rows with targets `y`; `labelled_per_batch` m > 0 mixes m labelled ones in.

    Raises InputError: a size below 1, a single training row, or a mixture that the labels of `y`
    cannot supply.
    """
    check_batch_size(batch_size)
    if len(y) < 2:
        raise InputError(f"training split: {len(y)} row; at least 2 are needed to train.")
    if not labelled_per_batch:
        return ShuffledOrder(len(y), batch_size, seed, drop_last)
    if not 1 <= labelled_per_batch < batch_size:
        raise InputError(
            f"labelled_per_batch: {labelled_per_batch} of a batch of {batch_size}; "
            f"allowed: 0 (mix rows as they come) to {batch_size - 1}."
        )
    known = labelled_rows(y)
    labelled, unlabelled = known.nonzero()[:, 0], (~known).nonzero()[:, 0]
    if not len(labelled) or not len(unlabelled):
        state = "labelled" if len(labelled) else "unlabelled"
        raise InputError(
            f"labelled_per_batch: {labelled_per_batch}, but every training row is {state}; "
            "it mixes labelled with unlabelled rows (see data.labels)."
        )
    return MixedOrder(labelled, unlabelled, batch_size, labelled_per_batch, seed, drop_last)


def cycled(
    rows: Tensor, per_batch: int, batches: int, key: tuple[int, str, int]
) -> Sequence[Tensor]:
    """`per_batch` of the rows for each batch, every one of them before any comes again.

    Every cycle is a fresh permutation, keyed by `key` (seed, purpose, epoch) and its number.
    """
    needed = batches * per_batch
    streams = (keyed_generator(*key, cycle) for cycle in range(-(-needed // len(rows))))
    cycles = [torch.randperm(len(rows), generator=stream) for stream in streams]
    return rows[torch.cat(cycles)[:needed]].split(per_batch)


def batch_sizes(rows: int, batch_size: int, drop_last: bool) -> list[int]:
    """Sizes of the batches of an epoch: never none, and no last one of a single row.

    A batch size of 1 is taken as asked for.
    """
    if rows < batch_size:
        return [rows]
    sizes = [batch_size] * (rows // batch_size)
    rest = 0 if drop_last else rows % batch_size
    if rest == 1:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def check_batch_size(batch_size: int) -> None:
    """Refuse batches of nothing."""
    if batch_size < 1:
        raise InputError(f"batch_size: {batch_size}; allowed: 1 or more.")
