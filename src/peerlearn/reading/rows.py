"""Images and vectors, for runs whose networks read plain rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from peerlearn.data.account import Account
from peerlearn.data.augment import normalise
from peerlearn.data.datasets import Dataset
from peerlearn.data.image_form import ImageFiles, ImageForm, told_of
from peerlearn.data.images import ImageHeader, image_header, readable
from peerlearn.data.info import DataInfo, RowInfo
from peerlearn.data.loaders import evaluation_batches
from peerlearn.data.registry import image_form, load_dataset
from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.files import resolved
from peerlearn.reading.inputs import (
    GIVEN,
    as_array,
    check_reads_images,
    checked_array,
    checked_rows,
    input_files,
)
from peerlearn.reading.networks import Preprocess
from peerlearn.reading.predictions import Inputs
from peerlearn.reading.reader import Reader


class RowReader(Reader[RowInfo]):
    """Rows are normalised by the mean and standard deviation of the training data.

    Attributes:
        alike: what other data must have in common with those of the run, attributes of its info.
    """

    info_type: ClassVar[type[DataInfo]] = RowInfo
    alike: ClassVar[Sequence[str]] = ("sample_shape", "dtype", "multilabel")

    def load(self, spec: Any, form: ImageForm) -> Dataset:
        """The data that a `data` block asks for, images of folders in a form."""
        return load_dataset(spec, form)

    def form(self, name: str) -> ImageForm:
        """How images of a folder are read to measure on them: as those of training."""
        spec, shape = self.config.data, self.info.sample_shape
        form = replace(image_form(spec), measuring=not _same(name, spec.name))
        return form if len(shape) != 3 else replace(form, size=shape[1:], grey=shape[0] == 1)

    def other_data(self, name: str) -> tuple[Dataset, Tensor]:
        """Other data that fit the networks, and the `places` of their classes."""
        # How many rows and labels to train on says nothing of the test split of other data.
        other = {"name": name, "train_size": None, "labels": None, "size": None}
        data = self.load(self.config.data.model_copy(update=other), self.form(name))
        self.account += data.account
        own = type(self.info).from_dataset(data)
        for what in self.alike:
            found, expected = getattr(own, what), getattr(self.info, what)
            if found != expected:
                raise InputError(
                    f"--data {name}: {what} {found}, but the run was trained on {what} {expected}"
                )
        return data, self.places(own, name)

    def test_rows(self, name: str) -> Rows:
        data, places = self.other_data(name)
        y = data.test.y
        test = data.test.with_labels(y[:, places.argsort()] if data.multilabel else places[y])
        batch_size = self.config.evaluation.batch_size
        return lambda: evaluation_batches(test, batch_size, self.info.mean, self.info.std)

    def inputs(self, paths: Sequence[Path], peers: Mapping[str, nn.Module]) -> Iterable[Inputs]:
        """Image files, folders of images, `.npz` and `.npy` files; images a batch at a time.

        Images of another size than those of training are fitted by `data.fit`.
        """
        batch_size = self.config.evaluation.batch_size
        files = self.listed(paths)
        made, headers = 0, []
        for are_images, several in groupby(files, readable):
            alike = list(several)
            if are_images:
                for first in range(0, len(alike), batch_size):
                    rows, seen = self._images(alike[first : first + batch_size])
                    headers += seen
                    if seen:
                        made += len(seen)
                        yield rows
            else:
                for file in alike:
                    x = checked_array(file, self.info)
                    batches = self._normalised(x, batch_size)
                    made += len(x)
                    yield Inputs((str(file),) * len(x), tuple(range(len(x))), batches)
        self.told(headers)
        self.check_any(made)

    def given(self, x: Any, peers: Mapping[str, nn.Module]) -> Iterable[Inputs]:
        """Rows as in an `.npz` file, a batch at a time; see `checked_array`.

        Where the networks were trained on items of a Dataset, such as these make: a tensor, or
        several by name.
        """
        if self.info.dtype == "items":
            return [self._as_they_come(x)]
        rows = checked_rows(as_array(x), self.info)
        batches = self._normalised(rows, self.config.evaluation.batch_size)
        return [Inputs((GIVEN,) * len(rows), tuple(range(len(rows))), batches)]

    def _as_they_come(self, x: Any) -> Inputs:
        columns = dict(x) if isinstance(x, Mapping) else {"": x}
        rows = {name: torch.as_tensor(values) for name, values in columns.items()}
        shape, size = self.info.sample_shape, self.config.evaluation.batch_size
        for name, values in rows.items():
            if shape and tuple(values.shape[1:]) != shape:
                raise InputError(
                    f"{GIVEN}{name}: rows of shape {tuple(values.shape[1:])}, but the run was "
                    f"trained on rows of shape {shape}"
                )
        count = min(len(values) for values in rows.values())

        def batches() -> Iterator[tuple[Any, Tensor]]:
            for start in range(0, count, size):
                part = {name: values[start : start + size] for name, values in rows.items()}
                y = torch.zeros(len(next(iter(part.values()))))
                yield (part if isinstance(x, Mapping) else part[""]), y

        return Inputs((GIVEN,) * count, tuple(range(count)), batches)

    def preprocess(self) -> nn.Module:
        return Preprocess(self.info.mean, self.info.std)

    def listed(self, paths: Sequence[Path]) -> list[Path]:
        """The files of all inputs as typed. Raises InputError: as `input_files`."""
        files: list[Path] = []
        for path in paths:
            found, account = input_files(path)
            files += found
            self.account += account
        return files

    def told(self, headers: Sequence[ImageHeader]) -> None:
        """Take into the account what becomes of images that are read."""
        if headers:
            files = self.image_files([header.path for header in headers])
            self.account += Account(notes=told_of(headers, files))

    def check_any(self, made: int) -> None:
        """Raise InputError where nothing could be read, with all that is wrong."""
        if self.failed and not made:
            raise InputError("\n".join(self.failed.values()))

    def image_files(self, paths: Sequence[Path]) -> ImageFiles:
        """Image files as the networks read them."""
        channels, height, width = self.info.sample_shape
        fit = image_form(self.config.data).fit
        return ImageFiles(tuple(paths), height, width, channels == 1, fit)

    def _images(self, paths: Sequence[Path]) -> tuple[Inputs, list[ImageHeader]]:
        """Rows of those images that can be read, and their headers."""
        check_reads_images(paths[0], self.info)
        headers, rows = [], []
        for path in paths:
            try:
                header = image_header(path)
                rows.append(self.image_files([path]).decode([0]))
                headers.append(header)
            except InputError as error:
                self.failed[str(path)] = str(error)
        sources = tuple(str(header.path) for header in headers)
        batches = self._normalised(torch.cat(rows), len(rows)) if rows else tuple
        return Inputs(sources, (0,) * len(sources), batches), headers

    def _normalised(self, x: Tensor, batch_size: int) -> Rows:
        return lambda: map(self._batch, x.split(batch_size))

    def _batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return normalise(x, self.info.mean, self.info.std), torch.zeros(len(x))


def _same(name: str, own: str) -> bool:
    """Whether two names are of one folder."""
    return resolved(Path(name).expanduser()) == resolved(Path(own).expanduser())
