"""Which nodes or graphs train, select and test: given by the data, or a function of a seed."""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.account import Account
from peerlearn.data.arrays import Array
from peerlearn.data.datasets import Split
from peerlearn.data.splits import (
    hold_out,
    kept_labels,
    kept_rows,
    stratified_rows,
    used_to_validate,
)
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED, labelled_rows
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.graphs.data.datasets import PARTS, Part
from peerlearn.tasks.graphs.data.spec import GraphDataSpec

MASKS = tuple(f"{part}_mask" for part in PARTS)
NOWHERE = (-1, 255)
"""What marks a node or graph outside every split or fold."""

FOLDS = 10
Flags = NDArray[np.bool_]


class SplitIndex(NamedTuple):
    """Ascending positions of each split, int64."""

    train: Tensor
    val: Tensor
    test: Tensor


def given_split(
    arrays: Mapping[str, Array], y: Tensor, spec: GraphDataSpec, where: str, things: str
) -> SplitIndex | None:
    """The split that `split` or the masks describe; None where there are neither.

    Without val_mask, or a 1 in `split`, val is held out of train. Unlabelled members of val and
    test are left out.

    Shapes:
        arrays: `split` (M,) or (R, M) of 0 train, 1 val, 2 test, -1 or 255 none; or
            `train_mask, val_mask, test_mask` (M,) or (M, R); `spec` chooses one of R splits.
        y: int64 (M,), `UNLABELLED` where there is no label.

    Raises InputError: wrong shapes or values, overlapping masks, or a split without any label.
    """
    masks = [key for key in MASKS if key in arrays]
    if "split" in arrays and masks:
        raise InputError(f"{where}: holds both 'split' and {masks[0]!r}; keep one of them.")
    if "split" in arrays:
        column = _split_column(arrays["split"], len(y), spec, f"{where}: split")
        flags = {part: column == number for number, part in enumerate(PARTS)}
        if not flags["val"].any():
            del flags["val"]
        names = {part: f"split {number} ({part})" for number, part in enumerate(PARTS)}
    elif masks:
        for key in ("train_mask", "test_mask"):
            if key not in arrays:
                raise InputError(
                    f"{where}: array {key!r} is missing, but there is {masks[0]!r}; needed: "
                    "train_mask and test_mask; val_mask may be left out."
                )
        flags = {
            part: _mask(arrays[key], len(y), spec, f"{where}: {key}")
            for part, key in zip(PARTS, MASKS, strict=True)
            if key in arrays
        }
        names = {part: f"{part}_mask" for part in PARTS}
        _refuse_overlaps(flags, where, things)
    else:
        return None
    for part, flag in flags.items():
        _refuse_empty(flag, y, f"{where}: {names[part]}", things)
    index = {part: torch.from_numpy(flag.nonzero()[0]) for part, flag in flags.items()}
    if "val" not in index:
        index["train"], index["val"] = _held_out(index["train"], y, spec)
    known = labelled_rows(y)
    return SplitIndex(index["train"], *(index[part][known[index[part]]] for part in PARTS[1:]))


def held_out_nodes(y: Tensor, spec: GraphDataSpec) -> SplitIndex:
    """`val_size` of the labelled nodes for test, as much for val, classes in their proportions."""
    known = labelled_rows(y).nonzero()[:, 0]
    train, test = hold_out(Split(known, y[known]), spec.val_size, spec.split_seed, "test")
    train, val = hold_out(train, spec.val_size, spec.split_seed, "val")
    return SplitIndex(train.x, val.x, test.x)


def random_nodes(y: Tensor, spec: GraphDataSpec, where: str) -> SplitIndex:
    """`val_per_class` and `labels_per_class` nodes of each class, and all others for test.

    The protocol of CPF (Yang et al., 2021) and GLNN (Zhang et al., 2022). Val does not depend on
    `labels_per_class`, and fewer training labels are part of more of them.
    """
    known = labelled_rows(y)
    wanted = spec.labels_per_class + spec.val_per_class
    classes, counts = y[known].unique(return_counts=True)
    smallest = int(counts.min())
    if smallest < wanted or int(counts.sum()) <= wanted * len(classes):
        name, limit = int(classes[counts.argmin()]), int(counts.min())
        raise InputError(
            f"data.labels_per_class: {spec.labels_per_class} + data.val_per_class: "
            f"{spec.val_per_class} nodes of each class leave none for test in {where}, where "
            f"class {name} has {limit}; allowed: up to {limit - (len(set(counts.tolist())) == 1)} "
            "together."
        )
    chosen: dict[str, Tensor] = {}
    for part, count in (("val", spec.val_per_class), ("train", spec.labels_per_class)):
        chosen[part] = stratified_rows(y, count, spec.split_seed, part, torch.full_like)
        y = y.index_fill(0, chosen[part], UNLABELLED)
    return SplitIndex(**chosen, test=labelled_rows(y).nonzero()[:, 0])


def folds(y: Tensor, fold: Array | None, spec: GraphDataSpec, where: str) -> SplitIndex:
    """Fold `fold_index` for test, and val held out of the other graphs.

    Shapes:
        fold: (G,) the fold in which a graph is tested, -1 or 255 for graphs that always train;
            None to draw ten stratified folds with `split_seed`.

    Raises InputError: wrong shape or values, no such fold, or a fold without any label.
    """
    drawn = fold is None
    if fold is None:
        fold = _drawn_folds(y, spec.split_seed)
    if fold.dtype.kind not in "iu" or fold.shape != (len(y),):
        raise InputError(
            f"{where}: fold: {fold.dtype} of shape {fold.shape}; allowed: whole numbers of "
            f"shape ({len(y)},), the fold in which each graph is tested."
        )
    found = np.unique(fold[~np.isin(fold, NOWHERE)])
    if len(found) < 2:
        raise InputError(f"{where}: fold: {len(found)} folds; at least two are needed.")
    if spec.fold_index not in found:
        kind = "drawn folds" if drawn else "folds of the file"
        raise InputError(
            f"data.fold_index: {spec.fold_index} is none of the {kind}; "
            f"allowed: {', '.join(map(str, found.tolist()))}."
        )
    tested = fold == spec.fold_index
    for flag, name in ((tested, f"fold {spec.fold_index}"), (~tested, "the other folds")):
        _refuse_empty(flag, y, f"{where}: {name}", "graphs")
    train, val = _held_out(torch.from_numpy((~tested).nonzero()[0]), y, spec)
    test = torch.from_numpy(tested.nonzero()[0])
    return SplitIndex(train, val, test[labelled_rows(y)[test]])


def keep(split: SplitIndex, y: Tensor, spec: GraphDataSpec) -> tuple[SplitIndex, Tensor, Account]:
    """(split, y, account) after `data.train_size` and `data.labels` have taken their part.

    Train changes, and val where there are no more labels for it (`data.val_labels`). Labels of
    train that are not kept become `UNLABELLED`: a function of the split seed; see
    `peerlearn.data.splits`.

    Raises InputError: more than there is, or less than one of each class.
    """
    train, known = split.train, y
    if spec.train_size is not None:
        train = train[kept_rows(y[train], spec.train_size, spec.split_seed)]
    if spec.labels is not None:
        known = y.clone()
        known[train] = kept_labels(y[train], spec.labels, spec.split_seed)
    val = split.val
    used, account = used_to_validate(y[val], spec)
    return split._replace(train=train, val=val if used is None else val[used]), known, account


def _drawn_folds(y: Tensor, seed: int) -> NDArray[np.int64]:
    """Ten folds of nearly equal size in which classes keep their proportions."""
    parts = [
        rows[torch.randperm(len(rows), generator=keyed_generator(seed, "fold", label))]
        for label in y.unique().tolist()
        for rows in [(y == label).nonzero()[:, 0]]
    ]
    fold = np.empty(len(y), np.int64)
    fold[torch.cat(parts).numpy()] = np.arange(len(y)) % FOLDS
    return fold


def _held_out(index: Tensor, y: Tensor, spec: GraphDataSpec) -> tuple[Tensor, Tensor]:
    """(train, val) of the positions in `index`, as `peerlearn.data.splits.hold_out` divides."""
    train, val = hold_out(Split(index, y[index]), spec.val_size, spec.split_seed, "val")
    return train.x, val.x


def _split_column(split: Array, count: int, spec: GraphDataSpec, where: str) -> Array:
    if split.dtype.kind not in "iu" or split.ndim not in (1, 2) or split.shape[-1] != count:
        raise InputError(
            f"{where}: {split.dtype} of shape {split.shape}; allowed: whole numbers of shape "
            f"({count},), or (R,{count}) for R splits."
        )
    wrong = ~np.isin(split, (0, 1, 2, *NOWHERE))
    if wrong.any():
        raise InputError(
            f"{where}: {int(wrong.sum())} values are wrong, the first is {split[wrong][0]}; "
            "allowed: 0 train, 1 val, 2 test, -1 or 255 none of them."
        )
    return _chosen(split if split.ndim == 2 else split[None], spec, where)


def _mask(mask: Array, count: int, spec: GraphDataSpec, where: str) -> Flags:
    if mask.ndim not in (1, 2) or mask.shape[0] != count:
        raise InputError(
            f"{where}: shape {mask.shape}; allowed: ({count},), or ({count},R) for R splits."
        )
    if mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1)).all():
        raise InputError(f"{where}: {mask.dtype} values; allowed: true and false, or 0 and 1.")
    return _chosen(mask.T if mask.ndim == 2 else mask[None], spec, where).astype(bool)


def _chosen(rows: Array, spec: GraphDataSpec, where: str) -> Array:
    if spec.split_index >= len(rows):
        raise InputError(
            f"data.split_index: {spec.split_index}, but {where} holds {len(rows)}; "
            f"allowed: 0 to {len(rows) - 1}."
        )
    chosen: Array = rows[spec.split_index]
    return chosen


def _refuse_overlaps(flags: Mapping[Part, Flags], where: str, things: str) -> None:
    for first, second in combinations(flags, 2):
        both = (flags[first] & flags[second]).nonzero()[0]
        if len(both):
            raise InputError(
                f"{where}: {first}_mask and {second}_mask share {len(both)} {things}, the first "
                f"is {both[0]}; allowed: each in one of them at most."
            )


def _refuse_empty(flag: Flags, y: Tensor, where: str, things: str) -> None:
    if not flag.any():
        raise InputError(f"{where}: marks no {things}; at least one is needed.")
    if not labelled_rows(y)[torch.from_numpy(flag)].any():
        raise InputError(f"{where}: none of its {int(flag.sum())} {things} has a label.")
