"""Images of any size, for runs whose networks segment them.

Shape suffixes: N images, C channels, K classes, H height, W width.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, TextIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.data.account import Account
from peerlearn.data.image_form import ImageForm, told_of
from peerlearn.data.images import ImageHeader, image_header, readable, undecodable
from peerlearn.data.loaders import evaluation_batches
from peerlearn.data.spec import sides
from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.reading.inputs import (
    GIVEN,
    as_array,
    check_reads_images,
    checked_array,
    checked_rows,
    input_files,
)
from peerlearn.reading.predictions import Join, Prediction, one_after_another
from peerlearn.reading.reader import UnreadableError
from peerlearn.reading.rows import RowReader
from peerlearn.tasks.segmentation.data.folder import ResizedFiles
from peerlearn.tasks.segmentation.data.masks import SegmentationDataset, SegmentationInfo
from peerlearn.tasks.segmentation.data.pairs import IMAGES, MASKS
from peerlearn.tasks.segmentation.data.registry import load_segmentation
from peerlearn.tasks.segmentation.data.spec import SegmentationDataSpec
from peerlearn.tasks.segmentation.mask_files import ImageInputs, Read, write_masks
from peerlearn.tasks.segmentation.metrics import SegmentationAssessment
from peerlearn.tasks.segmentation.tiling import Tiles, Tiling
from peerlearn.transfer.outputs import PeerOutput, as_peer_output


@dataclass(frozen=True)
class Image:
    """An image to segment: a file, or one of the rows of an array; see `ImageInputs`."""

    source: Path
    number: int
    name: str
    height: int
    width: int
    rows: Tensor | None = None


class MaskReader(RowReader):
    """Images are normalised by the mean and standard deviation of the training data.

    Image files are resized as those of the training data were, by `data.size`, however large they
    are; what is predicted is brought back to their own size. With `--tile` they are not resized.
    `Tiling` has `tile` and `overlap`, and leaves most images whole.
    """

    info_type = SegmentationInfo
    info: SegmentationInfo
    alike = ("channels", "dtype", "multilabel")
    options: ClassVar[Mapping[str, str]] = dict.fromkeys(("tile", "overlap"), "segment images")
    unit = "image"
    steps = "tiles and images"
    folder = "masks"

    def __init__(self, info: SegmentationInfo, config: Any, **options: int) -> None:
        super().__init__(info, config)
        self.tiling = Tiling(**options)
        _, height, width = info.sample_shape
        self.trained = (height, width)

    def load(self, spec: SegmentationDataSpec, form: ImageForm) -> SegmentationDataset:
        return load_segmentation(spec, form)

    def form(self, name: str) -> ImageForm:
        # Images of any size are read; those of a run are resized where `data.size` says so.
        return replace(super().form(name), size=self.config.data.size)

    def test_rows(self, name: str) -> Rows:
        data, places = self.other_data(name)
        batch_size = self._at_once(*data.sample_shape[1:])

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for x, y in evaluation_batches(data.test, batch_size, self.info.mean, self.info.std):
                if data.multilabel:
                    yield x, y[:, places.argsort()]
                else:  # what does not count stays so
                    yield x, torch.where(y >= 0, places[y.clamp(min=0)], y)

        return batches

    def assessment(self) -> SegmentationAssessment:
        return SegmentationAssessment(
            self.info.class_names,
            multilabel=self.info.multilabel,
            members=self.config.evaluation.members,
        )

    def ready(self, peers: Mapping[str, nn.Module]) -> Mapping[str, nn.Module]:
        return {name: AnySize(peer, name, self.info) for name, peer in peers.items()}

    def write(
        self,
        made: Iterable[Prediction],
        out: Path | TextIO,
        probabilities: bool = False,
        overlay: bool = False,
        uncertainty: bool = False,
    ) -> int:
        assert not uncertainty, "it is of rows, and refused before"
        assert isinstance(out, Path), "masks are files"
        return write_masks(made, self.info, out, overlay, probabilities, self.failed)

    def inputs(
        self, paths: Sequence[Path], peers: Mapping[str, nn.Module]
    ) -> Sequence[ImageInputs]:
        """Image files, folders of images, `.npz` and `.npy` files, with images of any size.

        Of a folder with `images/` beside `masks/`, at any depth, the masks are left out, and
        `images` is no part of names. Images of one size that follow each other are read together,
        about as many pixels at once as the evaluation of the run does.
        """
        images = [image for path in paths for image in self._listed(path)]
        _check_names(images)
        self.check_any(len(images))
        return self._grouped(images)

    def given(self, x: Any, peers: Mapping[str, nn.Module]) -> Sequence[ImageInputs]:
        rows = checked_rows(as_array(x), self.info, any_size=True)
        return self._grouped(list(_of_array(Path(GIVEN), rows)))

    def _grouped(self, images: Sequence[Image]) -> Sequence[ImageInputs]:
        made = []
        for (height, width, _), several in groupby(images, key=_kind):
            together = list(several)
            resized = self._resizes(together[0]) and self.tiling.tile is None
            tiles = None if resized else self.tiling.tiles(height, width, self.trained)
            count = 1 if tiles is not None else self._at_once(height, width)
            for first in range(0, len(together), count):
                made.append(self._group(together[first : first + count], tiles))
        return made

    def _listed(self, path: Path) -> Iterator[Image]:
        files, account = input_files(path)
        self.account += account
        headers = []
        for file in files:
            if not readable(file):
                yield from _of_array(file, checked_array(file, self.info, any_size=True))
            elif not _beside_images(file, path):
                check_reads_images(file, self.info)
                if (header := self._header(file)) is not None:
                    headers.append(header)
                    yield Image(file, 0, _name(file, path), header.height, header.width)
        self._told(headers)

    def _header(self, file: Path) -> ImageHeader | None:
        """The header of an image that can be read; else None, and it is kept in `failed`."""
        try:
            header = image_header(file)
        except InputError as error:
            self.failed[str(file)] = str(error)
            return None
        self.failed |= {str(path): why for path, why in undecodable([header], True).items()}
        return None if str(file) in self.failed else header

    def _told(self, headers: Sequence[ImageHeader]) -> None:
        """Take into the account what becomes of the colours of images, which keep their size."""
        if headers:
            kept = [replace(header, height=1, width=1) for header in headers]
            files = ResizedFiles((), 1, 1, self.info.channels == 1)
            self.account += Account(notes=told_of(kept, files))

    def _group(self, images: Sequence[Image], tiles: Tiles | None) -> ImageInputs:
        first = images[0]
        pictures = self._decoding(images, first.height, first.width)
        batches, join = (
            self._whole(images, pictures) if tiles is None else self._cut(tiles, pictures)
        )
        return ImageInputs(
            sources=tuple(str(image.source) for image in images),
            numbers=tuple(image.number for image in images),
            batches=batches,
            join=partial(_named, join, str(first.source), self.trained),
            names=tuple(image.name for image in images),
            pictures=pictures,
            steps_each=1 if tiles is None else len(tiles),
        )

    def _whole(self, images: Sequence[Image], pictures: Read) -> tuple[Rows, Join]:
        """Images read whole, resized where those of training were."""
        own = (images[0].height, images[0].width)
        resized = self._resizes(images[0]) and own != self.trained
        read = self._decoding(images, *self.trained) if resized else pictures

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            yield self._batch(read())

        return batches, partial(_resized, own) if resized else one_after_another

    def _cut(self, tiles: Tiles, pictures: Read) -> tuple[Rows, Join]:
        """One image in tiles, a few at a time."""

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            (image_CHW,) = pictures()
            numbers, count = range(len(tiles)), self._at_once(*sides(tiles.tile))
            for first in numbers[::count]:
                yield self._batch(tiles.cut(image_CHW, numbers[first : first + count]))

        def join(parts: Iterable[Tensor]) -> Tensor:
            # In fp32: for a large image, memory counts.
            return tiles.blend(part.float() for part in parts)[None]

        return batches, join

    def _resizes(self, image: Image) -> bool:
        """Whether such images were resized in training: files are, arrays are not."""
        return image.rows is None and self.config.data.size is not None

    def _decoding(self, images: Sequence[Image], height: int, width: int) -> Read:
        rows = images[0].rows
        if rows is not None:
            return lambda: rows[[image.number for image in images]]
        paths = tuple(image.source for image in images)
        files = ResizedFiles(paths, height, width, self.info.channels == 1)
        return lambda: files.decode(range(len(paths)))

    def _at_once(self, height: int, width: int) -> int:
        """Images of a size that have about as many pixels as a batch of evaluation."""
        pixels = self.config.evaluation.batch_size * self.trained[0] * self.trained[1]
        return max(1, pixels // (height * width))


class AnySize(nn.Module):
    """A network that segments, and says clearly which images it cannot read.

    Convolutions take every size; a network with layers that do not may be one of the user's own.

    Args:
        peer: gives a logit for every class and pixel of images of the size of training.
        name: of the peer, for messages.
        info: of the data that it was trained on.

    Raises UnreadableError: on `forward`, where the network fails on images of another size, or
    gives outputs of another size than theirs.
    """

    def __init__(self, peer: nn.Module, name: str, info: SegmentationInfo) -> None:
        super().__init__()
        self.peer, self.name, self.info = peer, name, info

    def forward(self, x: Tensor) -> PeerOutput:
        if tuple(x.shape[1:]) == self.info.sample_shape:
            return as_peer_output(self.peer(x), self.name)
        try:
            output = as_peer_output(self.peer(x), self.name)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise self._error(x, f"fails on them ({reason})") from error
        shape, expected = tuple(output.logits.shape), (len(x), self.info.classes, *x.shape[-2:])
        if shape != expected:
            raise self._error(x, f"gives outputs of shape {shape} for them, not {expected}")
        return output

    def _error(self, x: Tensor, what: str) -> UnreadableError:
        (tall, wide), (height, width) = x.shape[-2:], self.info.sample_shape[1:]
        return UnreadableError(
            f"images of {wide}x{tall} pixels, but peer {self.name!r}, trained on "
            f"{width}x{height}, {what}"
        )


def _of_array(file: Path, rows: Tensor) -> Iterator[Image]:
    count, _, height, width = rows.shape
    digits = max(4, len(str(count - 1)))
    for number in range(count):
        yield Image(file, number, f"{file.stem}-{number:0{digits}}", height, width, rows)


def _kind(image: Image) -> tuple[int, int, int | None]:
    return image.height, image.width, None if image.rows is None else id(image.rows)


def _resized(size: tuple[int, int], parts: Iterable[Tensor]) -> Tensor:
    return F.interpolate(torch.cat(list(parts)), size, mode="bilinear", align_corners=False)


def _named(join: Join, source: str, trained: tuple[int, int], parts: Iterable[Tensor]) -> Tensor:
    """`join`, whose errors name the file."""
    try:
        return join(parts)
    except UnreadableError as error:
        height, width = trained
        hint = f"; --tile {width} reads it in tiles of that size" if height == width else ""
        raise InputError(f"{source}: {error}{hint}") from error


def _beside_images(file: Path, folder: Path) -> bool:
    """Whether a file found below `folder` is a mask by the folders it is in."""
    if file == folder:
        return False
    inner = [parent for parent in file.parents if parent.is_relative_to(folder)][:-1]
    return any(parent.name == MASKS and (parent.parent / IMAGES).is_dir() for parent in inner)


def _name(file: Path, path: Path) -> str:
    """What to call an image of an input as typed: a file, or one in a folder."""
    if file == path:
        return file.stem
    folders = [part for part in file.relative_to(path).parent.parts if part != IMAGES]
    return "/".join([*folders, file.stem])


def _check_names(images: Sequence[Image]) -> None:
    named: dict[str, Image] = {}
    for image in images:
        other = named.setdefault(image.name, image)
        if other is not image:
            both = "is named twice" if other.source == image.source else f"and {other.source}"
            raise InputError(
                f"{image.source}: {both}: what is predicted would be called {image.name!r} for "
                "each; predict them into folders of their own"
            )
