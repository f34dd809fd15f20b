"""Images and vectors, for runs whose networks read plain rows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from peerlearn.data.augment import normalise
from peerlearn.data.info import DataInfo, RowInfo
from peerlearn.data.loaders import evaluation_batches
from peerlearn.data.registry import load_dataset
from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.reading.inputs import read_inputs
from peerlearn.reading.predictions import Inputs
from peerlearn.reading.reader import Reader


class RowReader(Reader[RowInfo]):
    """Rows are normalised by the mean and standard deviation of the training data."""

    info_type: ClassVar[type[DataInfo]] = RowInfo

    def test_rows(self, name: str) -> Rows:
        # How many rows and labels to train on says nothing of the test split of other data.
        spec = self.config.data
        size = spec.size if Path(name).is_dir() else None
        other = {"name": name, "train_size": None, "labels": None, "size": size}
        data = load_dataset(spec.model_copy(update=other))
        own = RowInfo.from_dataset(data)
        for what in ("sample_shape", "dtype", "multilabel"):
            found, expected = getattr(own, what), getattr(self.info, what)
            if found != expected:
                raise InputError(
                    f"--data {name}: {what} {found}, but the run was trained on {what} {expected}"
                )
        places, test = self.places(own, name), data.test
        if not self.info.multilabel:
            test = test.with_labels(places[test.y])
        batch_size = self.config.evaluation.batch_size
        return lambda: evaluation_batches(test, batch_size, self.info.mean, self.info.std)

    def inputs(self, paths: Sequence[Path], peers: Mapping[str, nn.Module]) -> Iterator[Inputs]:
        """Image files, folders of images, `.npz` and `.npy` files; see `read_inputs`."""
        fit, batch_size = self.config.data.size is not None, self.config.evaluation.batch_size
        for rows in read_inputs(paths, self.info, fit, batch_size):
            yield Inputs(rows.sources, rows.numbers, self._normalised(rows.x, batch_size))

    def _normalised(self, x: Tensor, batch_size: int) -> Rows:
        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for part in x.split(batch_size):
                yield normalise(part, self.info.mean, self.info.std), torch.zeros(len(part))

        return batches
