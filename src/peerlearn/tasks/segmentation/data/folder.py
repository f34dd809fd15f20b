"""Reads a folder of `images/` and `masks/`, of its own or in each of `train/`, `val/`, `test/`.

A mask is a PNG of one channel (or what else `pairs.EXACT` has) with the name of its image,
`masks/a.png` for `images/a.jpg`: grey or palette, whose values are label values, or grey drawn in
RGB (`mask_pixels`). Every mask is looked through at the start, so that no wrong label comes up in
the middle of training; images are decoded when they are asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.account import Account, some
from peerlearn.data.datasets import Source
from peerlearn.data.folders import Scan
from peerlearn.data.image_folder import ALL_MEASURED, LazySplit, measured_parts
from peerlearn.data.image_form import ANY_FORM, ImageFiles, ImageForm, sound_headers, told_of
from peerlearn.data.images import over_files, require_pillow
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.segmentation.data.labels import LabelTable, Tally, Values, label_table
from peerlearn.tasks.segmentation.data.mask_pixels import (
    LookedAt,
    check_palettes,
    looked_at,
    read_labels,
    told_of_channels,
)
from peerlearn.tasks.segmentation.data.masks import IGNORED, MaskSplit
from peerlearn.tasks.segmentation.data.pairs import NAMES, Pair, check_pairs, listed_pairs

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage


def read_mask_folder(
    folder: Path,
    form: ImageForm = ANY_FORM,
    ignore: int | None = None,
    values: Values | None = None,
) -> Source[MaskSplit]:
    """Lazy splits of a folder of images and masks; missing splits are left to be held out.

    Args:
        folder: holds `train/images/` and `train/masks/`, and the same in `val/` and `test/`
            where they are given; or `images/` and `masks/`. A file `classes.txt` may name the
            label values from 0 on, one a line.
        form: `size` is what images (bilinear) and masks (nearest) are resized to; an image whose
            mask is damaged is left out with it.
        ignore: label value that does not count; see `label_table`.
        values: of the classes; see `label_table`.

    Raises InputError: Pillow is missing, an image or a mask has no partner or another size than it,
    a file is damaged, in colours or too deep, or a label has no class.
    """
    require_pillow()
    scan = Scan(folder)
    pairs, files, seen, account = _sound(scan, form)
    if values is None:
        check_palettes(seen)
    looked = {part: [seen[pair.mask] for pair in found] for part, found in pairs.items()}
    where = str(pairs["train"][0].mask.parent)
    tally = Tally({part: np.stack([each.counts for each in of]) for part, of in looked.items()})
    table = label_table(tally, _names(folder), ignore, where, values)

    def split(part: str) -> MaskSplit | None:
        if part not in pairs:
            return None
        images, masks = zip(*pairs[part], strict=True)
        occurring = [each.values for each in looked[part]]
        for mask, found in zip(masks, occurring, strict=True):
            if unknown := table.unknown(found):
                raise InputError(
                    f"{mask}: label {unknown[0]} is no class of train; allowed: {table.allowed}."
                )
        known = torch.tensor([any(table.table[found] != IGNORED) for found in occurring])
        if not bool(known.any()):
            raise InputError(f"{masks[0].parent}: no pixel has a label.")
        mask_files = MaskFiles(masks, files.height, files.width, table)
        return LazyMaskSplit(replace(files, paths=images), mask_files, known)

    train = split("train")
    assert train is not None
    names, account = table.names, account + Account(notes=table.notes)
    return Source(train, split("val"), split("test"), table.classes, names, account=account)


def _sound(
    scan: Scan, form: ImageForm
) -> tuple[Mapping[str, list[Pair]], "ResizedFiles", Mapping[Path, LookedAt], Account]:
    """The pairs of every part that can be read, how their images are, what is in their masks, and
    an account of it all."""
    listed = listed_pairs(scan, form.measuring)
    every = [pair for pairs in listed.values() for pair in pairs]
    headers, damage = sound_headers([path for pair in every for path in pair], form, scan.root)
    by_path = {header.path: header for header in headers}
    listed = {
        part: [pair for pair in pairs if by_path.keys() >= set(pair)]
        for part, pairs in listed.items()
    }
    for part, pairs in listed.items():
        if not pairs:
            raise InputError(f"{scan.root}: no image of {part} can be read.")
    sound = [pair for pairs in listed.values() for pair in pairs]
    masks = [pair.mask for pair in sound]
    seen = dict(zip(masks, over_files(looked_at, masks), strict=True))
    check_pairs(sound, by_path, seen)
    images = [by_path[pair.image] for pair in sound]
    if several := [by_path[mask].path.name for mask in masks if by_path[mask].several]:
        scan.notes.append(f"only the first picture (frame, page) is read of masks {some(several)}")
    files = ResizedFiles.of(images, replace(form, fit="resize"))
    if form.measuring and "test" not in listed:
        scan.notes.append(ALL_MEASURED)
    notes = told_of(images, files, scan.root) + told_of_channels(seen)
    counts = {part: len(pairs) for part, pairs in listed.items()}
    account = Account(counts) + scan.account + damage + Account(notes=notes)
    return measured_parts(listed, form.measuring), files, seen, account


def _names(folder: Path) -> tuple[str, ...] | None:
    path = folder / NAMES
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}).") from error
    names = tuple(line.strip() for line in lines)
    if not names:
        raise InputError(f"{path}: is empty; expected a class name a line, or no such file.")
    for number, name in enumerate(names, 1):
        if not name or name in names[: number - 1]:
            what = "is empty" if not name else f"repeats {name!r}"
            raise InputError(f"{path}: line {number} {what}; expected a class name a line.")
    return names


class ResizedFiles(ImageFiles):
    """Image files that are resized where they have to fit; nothing is cut off."""

    def _fitted(self, pixels: "PillowImage") -> "PillowImage":
        from PIL.Image import Resampling

        return pixels.resize((self.width, self.height), Resampling.BILINEAR)


@dataclass(frozen=True)
class MaskFiles:
    """Mask files, one a row, that decode to classes, resized to one shape by nearest neighbour."""

    paths: tuple[Path, ...]
    height: int
    width: int
    table: LabelTable

    def decode(self, index: Sequence[int]) -> Tensor:
        """uint8 (B, H, W) of the masks at `index`."""
        size = (self.width, self.height)
        labels = torch.empty(len(index), self.height, self.width, dtype=torch.uint8)
        for row, position in enumerate(index):
            labels[row] = torch.from_numpy(read_labels(self.paths[position], size))
        return self.table.classes_of(labels)

    def select(self, index: Sequence[int]) -> "MaskFiles":
        return replace(self, paths=tuple(self.paths[position] for position in index))


class LazyMaskSplit(LazySplit, MaskSplit):
    """A split whose images and masks are decoded when they are asked for.

    `known`, bool (N,), says which masks have a label; the others are not read.
    """

    mask_files: MaskFiles
    known: Tensor

    def __init__(self, files: ImageFiles, mask_files: MaskFiles, known: Tensor) -> None:
        # The parent is frozen, and its `x` and `y` are computed here.
        self.__dict__.update(files=files, mask_files=mask_files, known=known)

    def __len__(self) -> int:
        return len(self.known)

    @property
    def y(self) -> Tensor:
        """All masks, decoded anew at every access; `masks` decodes some."""
        return self.masks(torch.arange(len(self)))

    @property
    def strata(self) -> Tensor:
        return self.known.long() + UNLABELLED

    @property
    def nbytes(self) -> int:
        images, channels, height, width = self.files.shape
        return images * (channels + 1) * height * width

    def paths(self) -> Sequence[Path]:
        return (*self.files.paths, *self.mask_files.paths)

    def masks(self, index: Tensor) -> Tensor:
        masks = torch.full((len(index), *self.files.shape[2:]), IGNORED, dtype=torch.uint8)
        known = self.known[index]
        masks[known] = self.mask_files.decode(index[known].tolist())
        return masks

    def select(self, index: Tensor) -> Self:
        rows = index.tolist()
        return type(self)(self.files.select(rows), self.mask_files.select(rows), self.known[index])

    def labelled_only(self, index: Tensor) -> Self:
        kept = torch.zeros_like(self.known)
        kept[index] = self.known[index]
        return type(self)(self.files, self.mask_files, kept)

    def decoded(self) -> MaskSplit:
        return MaskSplit(self.x, self.y)
