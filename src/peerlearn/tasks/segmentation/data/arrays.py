"""Checks arrays of images and masks and turns them into splits; every complaint names the array.

Layout of `x`: (N, H, W) grey images; of four axes, (N, H, W, C) where the last one is 1, 3 or 4
long and (N, C, H, W) otherwise. uint8 stays uint8, any float becomes float32.

Layout of `y`: (N, H, W) of whole label values, where 255 and -1 do not count; or (N, L, H, W),
L > 1, of 0 and 1 for masks that overlap, where 255, -1 and NaN do not count. Grey masks that are
drawn in RGB, (N, H, W, 3) or (N, 3, H, W) with equal channels, are read as grey.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.account import Account, some
from peerlearn.data.arrays import (
    CHANNELS_LAST,
    Array,
    check_lengths,
    check_names,
    check_shapes,
    read_rows,
)
from peerlearn.data.classes import read_class_names
from peerlearn.data.datasets import Source
from peerlearn.data.npz import array_names, array_shape, not_read, read_arrays
from peerlearn.data.overlap import with_shared_rows
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.segmentation.data.labels import LabelTable, Tally, Values, label_table
from peerlearn.tasks.segmentation.data.mask_pixels import same_in_all_channels
from peerlearn.tasks.segmentation.data.masks import IGNORED, MaskSplit, any_labelled

PARTS = ("train", "val", "test")
NAME_KEYS = ("classes", "class_names")
KEYS = (*(f"{axis}_{part}" for part in PARTS for axis in "xy"), *NAME_KEYS, "ignore")


def masks_from_arrays(
    arrays: Mapping[str, Array],
    where: str,
    ignore: int | None = None,
    values: Values | None = None,
) -> Source[MaskSplit]:
    """Splits from arrays named as in an `.npz` file (`KEYS`); messages name it as `where`.

    Arrays are `x_train, y_train, x_test, y_test`, and optionally `x_val, y_val` (held out of train
    otherwise), the names of the label values as `classes` or `class_names`, and `ignore`, a label
    value that does not count, in place of which `ignore` may be given. `values` are those of the
    classes; see `label_table`.

    Raises InputError: the first thing that is wrong, with the array and what was found.
    """
    check_names(arrays, where, KEYS)
    arrays, notes = _in_one_channel(arrays, where)
    splits = {part: _read_split(arrays, part, where) for part in PARTS if f"x_{part}" in arrays}
    check_shapes(splits, arrays, where)
    names = _names(arrays, where)
    multilabel = splits["train"].y.ndim == 4
    if multilabel:
        said = ignore if values is None else values
        names, told = _overlapping(splits, names, said, where)
        notes += told
    else:
        given = _ignore(arrays["ignore"], where) if "ignore" in arrays else None
        given = given if ignore is None else ignore
        tally = Tally.of({part: split.y.numpy() for part, split in splits.items()})
        table = label_table(tally, names, given, f"{where}: y_train", values, _blanks(arrays))
        names, notes = table.names, notes + table.notes
        for part, split in splits.items():
            splits[part] = split.with_labels(_classes(split.y, table, f"{where}: y_{part}"))
    for part, split in splits.items():
        if not bool(any_labelled(split.y).any()):
            raise InputError(f"{where}: y_{part}: no pixel has a label.")
    held = splits.get("val"), splits["test"]
    account = Account(notes=notes)
    return Source(splits["train"], *held, len(names), names, multilabel, account)


def read_mask_npz(
    path: Path, ignore: int | None = None, values: Values | None = None
) -> Source[MaskSplit]:
    """The splits of an `.npz` file; see `masks_from_arrays`.

    Raises InputError: the file is missing, damaged or holds pickled objects, or an array is wrong.
    """
    check_names(dict.fromkeys(array_names(path)), str(path), KEYS)
    source = masks_from_arrays(read_arrays(path, KEYS), str(path), ignore, values)
    return with_shared_rows(source._replace(account=source.account + not_read(path, KEYS)))


def holds_masks(path: Path) -> bool:
    """Whether the targets of an `.npz` file are masks; only their shape is read."""
    try:
        shape = array_shape(path, "y_train")
    except InputError:
        return False
    return shape is not None and len(shape) >= 3


def _read_split(arrays: Mapping[str, Array], part: str, where: str) -> MaskSplit:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    check_lengths(x, y, part, where)
    if x.ndim not in (3, 4):
        allowed = "(N,H,W), (N,H,W,C) with C in 1, 3, 4, or (N,C,H,W)"
        raise InputError(f"{where}: x_{part} has shape {x.shape}; images are needed: {allowed}.")
    images = read_rows(x, f"{where}: x_{part}")
    masks = read_masks(y, f"{where}: y_{part}")
    if masks.shape[-2:] != images.shape[-2:]:
        raise InputError(
            f"{where}: y_{part} has shape {y.shape} but x_{part} has {x.shape}; a mask has the "
            f"height and width of its image, here {images.shape[-2]} and {images.shape[-1]}."
        )
    return MaskSplit(images, masks)


def read_masks(y: Array, where: str) -> Tensor:
    """Label values of masks in a byte a pixel: uint8 (N, H, W), or (N, L, H, W) of 0, 1, 255.

    Raises InputError: another shape, fractions, or values out of range; names the image.
    """
    if y.ndim == 4 and 1 in (y.shape[1], y.shape[3]):
        y = y[:, 0] if y.shape[1] == 1 else y[..., 0]
    if y.ndim not in (3, 4) or 0 in y.shape:
        raise InputError(
            f"{where}: shape {y.shape}; allowed: (N,H,W) of label values, or (N,L,H,W) of 0 and 1 "
            "for masks that overlap."
        )
    if y.dtype.kind not in "iufb":
        raise InputError(f"{where}: dtype {y.dtype}; allowed: whole numbers.")
    several = y.ndim == 4
    labels: NDArray[Any] = y
    if y.dtype.kind == "f":
        values = y.astype(np.float64)
        blank = np.isnan(values) & several
        whole = np.isfinite(values) & (values == np.round(values))
        _refuse(y, ~whole & ~blank, where, "is not a whole number; a mask holds label values")
        labels = np.where(blank, IGNORED, values)
    if y.dtype != np.uint8:
        labels = labels.astype(np.int64)
    low, high, blanks = (0, 1, "255, -1 or NaN") if several else (0, 254, "255 or -1")
    known = (labels >= low) & (labels <= high) | np.isin(labels, (-1, IGNORED))
    reason = f"is no label; allowed: {low} to {high}, and {blanks} for pixels that do not count"
    _refuse(y, ~known, where, reason)
    return torch.from_numpy(np.require(labels.astype(np.uint8), requirements=["C", "W"]))


def _in_one_channel(
    arrays: Mapping[str, Array], where: str
) -> tuple[Mapping[str, Array], tuple[str, ...]]:
    """Arrays whose masks, where they are grey drawn in RGB, have one channel; and what is told.

    Raises InputError: masks of true colours; masks that overlap, with the labels last.
    """
    masks = {key: y for key, y in arrays.items() if key.startswith("y_")}
    axes = {key: 3 for key, y in masks.items() if _channels_last(y, arrays[f"x_{key[2:]}"])}
    if not axes and all(y.ndim == 4 and y.shape[1] == 3 for y in masks.values()):
        if not same_in_all_channels(list(masks.values()), 1):
            return arrays, ()
        axes = dict.fromkeys(masks, 1)
    drawn = [masks[key] for key in axes]
    for key, axis in axes.items():
        if same_in_all_channels([masks[key]], axis):
            continue
        shape = masks[key].shape
        if all(set(np.unique(each).tolist()) <= {0, 1} for each in drawn):
            raise InputError(
                f"{where}: {key}: shape {shape} of 0 and 1, the labels last; masks that overlap "
                f"are (N,L,H,W): give {key}.transpose(0, 3, 1, 2)."
            )
        raise InputError(
            f"{where}: {key}: shape {shape} with channels that differ, so masks are in colours; "
            "allowed: (N,H,W) of label values, or (N,H,W,3) with equal channels."
        )
    one = {key: masks[key][:, 0] if axis == 1 else masks[key][..., 0] for key, axis in axes.items()}
    told = f"{', '.join(axes)}: masks with equal channels are read as grey"
    return dict(arrays) | one, (told,) if axes else ()


def _channels_last(y: Array, x: Array) -> bool:
    """Whether a mask has the channels of RGB or RGBA behind the height and width of its image."""
    if y.ndim != 4 or y.shape[3] not in (3, 4) or y.dtype.kind not in "iufb":
        return False
    sides = y.shape[1:3]
    at_the_end = x.ndim == 4 and x.shape[3] in CHANNELS_LAST
    return sides == (x.shape[1:3] if at_the_end or x.ndim == 3 else x.shape[2:4])


def _classes(labels: Tensor, table: LabelTable, where: str) -> Tensor:
    wrong = np.isin(labels.numpy(), table.unknown(labels.unique().tolist()))
    _refuse(labels.numpy(), wrong, where, f"is no class of train; allowed: {table.allowed}")
    return table.classes_of(labels)


def _overlapping(
    splits: Mapping[str, MaskSplit],
    names: tuple[str, ...] | None,
    said: int | Values | None,
    where: str,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the name of each label of masks that overlap, what is told of them).

    Raises InputError: names or values that do not fit, or no pixel of train with a label.
    """
    labels = splits["train"].y.shape[1]
    if said is not None:
        field = "ignore" if isinstance(said, int) else "values"
        raise InputError(
            f"data.{field}: {said}, but {where} holds {labels} masks an image that overlap; "
            "their pixels that do not count are 255, -1 or NaN."
        )
    if names is not None and len(names) != labels:
        raise InputError(
            f"{where}: {len(names)} class names; expected one for each of {labels} labels."
        )
    names = names or tuple(map(str, range(labels)))
    there = {part: (split.y == 1).flatten(2).any(2).any(0) for part, split in splits.items()}
    if not bool(there["train"].any()):
        white = bool((splits["train"].y == IGNORED).any())
        hint = "; 255 does not count: give y // 255 where it marks an object" if white else ""
        raise InputError(f"{where}: y_train: no pixel is 1, so nothing has a label{hint}.")
    told = []
    for part in [part for part in ("train", "test") if part in there]:
        if gone := [
            name for name, known in zip(names, there[part].tolist(), strict=True) if not known
        ]:
            told.append(f"{len(gone)} of {labels} labels are in no mask of {part}: {some(gone)}")
    return names, tuple(told)


def _names(arrays: Mapping[str, Array], where: str) -> tuple[str, ...] | None:
    for key in NAME_KEYS:
        if key in arrays and arrays[key].ndim == 1:
            return read_class_names(arrays[key], where)
        if key in arrays:
            found = f"{key} has shape {arrays[key].shape}"
            raise InputError(f"{where}: {found}; expected one name for each label value.")
    return None


def _blanks(arrays: Mapping[str, Array]) -> bool:
    """Whether -1, and nowhere 255, marks the pixels that do not count."""
    masks = [arrays[key] for key in arrays if key.startswith("y_") and arrays[key].ndim >= 3]
    blank = any(y.dtype.kind in "if" and bool((y == UNLABELLED).any()) for y in masks)
    return blank and not any(bool((y == IGNORED).any()) for y in masks)


def _ignore(found: Array, where: str) -> int:
    if found.size != 1 or found.dtype.kind not in "iu" or not -1 <= found.item() <= IGNORED:
        raise InputError(
            f"{where}: ignore has shape {found.shape} and dtype {found.dtype}; expected one label "
            "value from -1 to 255."
        )
    return int(found.item()) % 256


def _refuse(y: Array, wrong: NDArray[np.bool_], where: str, reason: str) -> None:
    """Raise for the pixels marked `wrong`, with how many there are and the first of them."""
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0].tolist())
        raise InputError(
            f"{where}: {int(wrong.sum())} pixels are wrong: image {first[0]} holds {y[first]} at "
            f"row {first[-2]}, column {first[-1]}, which {reason}."
        )
