"""Images and vectors, for runs whose networks read plain rows."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from peerlearn.data.augment import normalise
from peerlearn.data.datasets import Dataset
from peerlearn.data.image_folder import SUFFIXES, ImageFiles
from peerlearn.data.info import DataInfo, RowInfo
from peerlearn.data.loaders import evaluation_batches
from peerlearn.data.registry import load_dataset
from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.reading.inputs import (
    GIVEN,
    as_array,
    checked_array,
    checked_image,
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

    def load(self, spec: Any) -> Dataset:
        """The data that a `data` block asks for."""
        return load_dataset(spec)

    def other_data(self, name: str) -> tuple[Dataset, Tensor]:
        """Other data that fit the networks, and the `places` of their classes."""
        # How many rows and labels to train on says nothing of the test split of other data.
        spec = self.config.data
        size = spec.size if Path(name).is_dir() else None
        other = {"name": name, "train_size": None, "labels": None, "size": size}
        data = self.load(spec.model_copy(update=other))
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
        test = data.test if data.multilabel else data.test.with_labels(places[data.test.y])
        batch_size = self.config.evaluation.batch_size
        return lambda: evaluation_batches(test, batch_size, self.info.mean, self.info.std)

    def inputs(self, paths: Sequence[Path], peers: Mapping[str, nn.Module]) -> Iterable[Inputs]:
        """Image files, folders of images, `.npz` and `.npy` files; images a batch at a time.

        Images are scaled and cropped where those of training were; otherwise they must have the
        size of those.
        """
        batch_size = self.config.evaluation.batch_size
        files = [file for path in paths for file in input_files(path)]
        for are_images, several in groupby(files, lambda file: file.suffix.lower() in SUFFIXES):
            alike = list(several)
            if are_images:
                for first in range(0, len(alike), batch_size):
                    yield self._images(alike[first : first + batch_size])
            else:
                for file in alike:
                    x = checked_array(file, self.info)
                    batches = self._normalised(x, batch_size)
                    yield Inputs((str(file),) * len(x), tuple(range(len(x))), batches)

    def given(self, x: Any, peers: Mapping[str, nn.Module]) -> Iterable[Inputs]:
        """Rows as in an `.npz` file, a batch at a time; see `checked_array`."""
        rows = checked_rows(as_array(x), self.info)
        batches = self._normalised(rows, self.config.evaluation.batch_size)
        return [Inputs((GIVEN,) * len(rows), tuple(range(len(rows))), batches)]

    def preprocess(self) -> nn.Module:
        return Preprocess(self.info.mean, self.info.std)

    def _images(self, paths: Sequence[Path]) -> Inputs:
        headers = [checked_image(path, self.info) for path in paths]
        channels, height, width = self.info.sample_shape
        fit = self.config.data.size is not None
        for header in headers:
            if not fit and (header.height, header.width) != (height, width):
                raise InputError(
                    f"{header.path}: {header.width}x{header.height} pixels, but the run was "
                    f"trained on {width}x{height}"
                )
        x = ImageFiles(tuple(paths), height, width, channels == 1, fit).decode(range(len(paths)))
        return Inputs(tuple(map(str, paths)), (0,) * len(paths), self._normalised(x, len(x)))

    def _normalised(self, x: Tensor, batch_size: int) -> Rows:
        return lambda: map(self._batch, x.split(batch_size))

    def _batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return normalise(x, self.info.mean, self.info.std), torch.zeros(len(x))
