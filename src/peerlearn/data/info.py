"""What a trained network must know of its data, so that it works without them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict

from peerlearn.data.datasets import Dataset, MeasuredOnTrain
from peerlearn.errors import InputError
from peerlearn.files import read_json
from peerlearn.validation import validated


class DataInfo(BaseModel, ABC):
    """What holds for every kind of data; `data.json` of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # of the data set
    classes: int  # number of outputs
    class_names: tuple[str, ...]  # one name a class
    named: bool | None = None  # whether these are names, or numbers made up; None in older runs
    multilabel: bool = False  # several labels a row
    rows: dict[str, int]  # that are classified, in each split

    @property
    @abstractmethod
    def content(self) -> str:
        """What is classified, in a few words."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `data.json`.

        Raises InputError: no such file, or not what a run writes.
        """
        if not path.exists():
            raise InputError(f"{path}: no such file; a finished run has one")
        return validated(cls, read_json(path), str(path))


class RowInfo(DataInfo):
    """The shape, the classes and the normalisation, as in `Dataset`, of images or vectors."""

    sample_shape: tuple[int, ...]  # of one row, (C, H, W) or (F,); () of rows by name
    # Of raw rows: uint8 is scaled to [0, 1], float is not, int64 are ids; items are those of a
    # Dataset in Python, of whose making nothing is known.
    dtype: Literal["uint8", "float32", "int64", "items"]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_dataset(cls, data: Dataset) -> Self:
        """What a run keeps of `data`."""
        rows = {part: len(getattr(data, part)) for part in ("train", "val", "test")}
        same = {
            name: getattr(data, name) for name in ("classes", "class_names", "named", "multilabel")
        }
        return cls(**measured(data), **same, rows=rows)

    @property
    def content(self) -> str:
        return f"rows of {'×'.join(map(str, self.sample_shape))}"


def measured(data: MeasuredOnTrain) -> dict[str, Any]:
    """The fields of `RowInfo` that say what rows are like."""
    if data.train.drawn_anew:
        dtype = "items"
    else:
        raw = data.train.rows(torch.zeros(1, dtype=torch.int64))
        dtype = str(raw.dtype).removeprefix("torch.")
    same = {name: getattr(data, name) for name in ("name", "sample_shape", "mean", "std")}
    return {"dtype": dtype, **same}
