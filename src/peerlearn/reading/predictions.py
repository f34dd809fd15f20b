"""Rows to predict, what networks say of them, and how that is written.

Shape suffixes: N rows, C classes.
"""

import csv
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from peerlearn.data.info import DataInfo
from peerlearn.engine.evaluate import Rows
from peerlearn.errors import shown
from peerlearn.files import write_atomically
from peerlearn.metrics.uncertainty import Uncertainty

COLUMNS = ("input", "row", "label", "probability")
PARTS = Uncertainty._fields
"""Columns of how unsure networks are, in nats."""
Join = Callable[[Iterable[Tensor]], Tensor]


def one_after_another(parts: Iterable[Tensor]) -> Tensor:
    """Predictions of all batches, where rows are what the batches hold."""
    return torch.cat(list(parts))


@dataclass(frozen=True)
class Inputs:
    """Rows to predict, and where each of them is from.

    Attributes:
        sources, numbers: the file of every row, and its number in that file.
        batches: gives what the networks read, in the same order, each with some targets.
        join: makes predictions of the rows of those of the batches, which it reads one by one.
    """

    sources: tuple[str, ...]
    numbers: tuple[int, ...]
    batches: Rows
    join: Join = one_after_another

    @property
    def steps(self) -> int:
        """How much the networks read, for progress."""
        return len(self.sources)


@dataclass(frozen=True)
class Prediction:
    """Probabilities of the classes for some rows, and where these are from.

    Shapes:
        probabilities: (N, C), or (N, C, H, W) for every pixel of an image, float; they sum to 1
            over the classes unless several labels can hold at once.
        uncertainty: (N,) each, float64.

    Attributes:
        uncertainty: of every row; None of pixels.
        divided: whether its parts are known: of a stochastic peer, or of several together.
    """

    rows: Inputs
    probabilities: Tensor
    uncertainty: Uncertainty | None = None
    divided: bool = False


def write_labels(
    made: Iterable[Prediction],
    info: DataInfo,
    out: Path | TextIO,
    probabilities: bool = False,
    failed: Collection[str] = (),
    uncertainty: bool = False,
) -> int:
    """Write predictions as csv: `input, row, label, probability`; gives the number of rows.

    A line without label and probability stands for an input that could not be read. Where several
    labels can hold at once, `label` joins those above ½ by `|` and `probability` is that of exactly
    these labels.

    Args:
        made: from `Predictor.predict`; all are made before anything is written.
        info: of the run.
        out: a file, written whole or not at all, or an open stream.
        probabilities: add a column a class.
        failed: inputs that could not be read, which may become more while predictions are made.
        uncertainty: add the columns `total`, `epistemic` and `aleatoric`, in nats; the latter two
            are empty where one network says one thing of every row, which cannot be divided.

    Raises RunError: the file cannot be written; the old one stays.
    """
    lines = []
    for prediction in made:
        rows, p_NC = prediction.rows, prediction.probabilities
        labels, chosen = (_several if info.multilabel else _one)(p_NC, info.class_names)
        columns = p_NC.tolist() if probabilities else [[]] * len(p_NC)
        parts = _parts(prediction) if uncertainty else [[]] * len(p_NC)
        places = zip(rows.sources, rows.numbers, labels, chosen, parts, columns, strict=True)
        for source, number, label, p, unsure, each in places:
            numbers = (f"{value:.6g}" for value in each)
            lines.append([source, str(number), label, f"{p:.6g}", *unsure, *numbers])
    header = [*COLUMNS, *(PARTS if uncertainty else ())]
    header += info.class_names if probabilities else ()
    write_table(out, header, [*lines, *failed_lines(failed, len(header))])
    return len(lines)


def _parts(prediction: Prediction) -> list[list[str]]:
    """Of every row the cells of `PARTS`."""
    assert prediction.uncertainty is not None, "rows of a table have one"
    cells = ([f"{value:.6g}" for value in part.tolist()] for part in prediction.uncertainty)
    if not prediction.divided:
        total, _, _ = cells
        return [[value, "", ""] for value in total]
    return [list(row) for row in zip(*cells, strict=True)]


def failed_lines(failed: Iterable[str], columns: int) -> list[list[str]]:
    """Lines of a table for inputs that could not be read: their name, row 0, and nothing else."""
    return [[name, "0", *[""] * (columns - 2)] for name in failed]


def _one(p_NC: Tensor, names: Sequence[str]) -> tuple[list[str], list[float]]:
    top = p_NC.max(1)
    return [names[i] for i in top.indices.tolist()], top.values.tolist()


def _several(p_NC: Tensor, names: Sequence[str]) -> tuple[list[str], list[float]]:
    holds_NC = p_NC > 0.5
    labels = ["|".join(names[i] for i in row.nonzero()[:, 0]) for row in holds_NC]
    return labels, torch.where(holds_NC, p_NC, 1 - p_NC).prod(1).tolist()


def write_table(out: Path | TextIO, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Write a table as csv to a file, whole or not at all, or to an open stream.

    Names of files that are not UTF-8 are `shown`.

    Raises RunError: the file cannot be written; the old one stays.
    """

    def write(stream: TextIO) -> None:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(map(shown, header))
        writer.writerows(map(shown, line) for line in lines)

    def write_file(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            write(file)

    if isinstance(out, Path):
        write_atomically(out, write_file)
    else:
        write(out)
