"""Labels of rows, as csv.

Shape suffixes: N rows, C classes.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from peerlearn.data.info import DataInfo
from peerlearn.reading.predictions import Prediction
from peerlearn.reading.table import write_table

COLUMNS = ("input", "row", "label", "probability")


def write_labels(
    predictions: Iterable[Prediction],
    info: DataInfo,
    out: Path | TextIO,
    probabilities: bool = False,
) -> int:
    """Write predictions as csv: `input, row, label, probability`, then one column a class.

    Where several labels can hold at once, `label` joins those above ½ by `|` and `probability` is
    that of exactly these labels.

    Args:
        predictions: from `Predictor.predict`; all are made before anything is written.
        info: of the run.
        out: a file, written whole or not at all, or an open stream.
        probabilities: add the columns of the classes.

    Returns:
        Number of rows.

    Raises:
        RunError: the file cannot be written; the old one stays.
    """
    made = list(predictions)
    lines = [line for prediction in made for line in _lines(prediction, info, probabilities)]
    write_table(out, [*COLUMNS, *(info.class_names if probabilities else ())], lines)
    return len(lines)


def _lines(prediction: Prediction, info: DataInfo, probabilities: bool) -> Iterator[list[str]]:
    rows, p_NC = prediction.rows, prediction.probabilities
    labels, chosen = _several(p_NC, info) if info.multilabel else _one(p_NC, info)
    columns = p_NC.tolist() if probabilities else [[]] * len(p_NC)
    for source, number, label, p, each in zip(
        rows.sources, rows.numbers, labels, chosen, columns, strict=True
    ):
        yield [source, str(number), label, *(f"{value:.6g}" for value in (p, *each))]


def _one(p_NC: Tensor, info: DataInfo) -> tuple[list[str], list[float]]:
    top = p_NC.max(1)
    return [info.class_names[i] for i in top.indices.tolist()], top.values.tolist()


def _several(p_NC: Tensor, info: DataInfo) -> tuple[list[str], list[float]]:
    holds_NC = p_NC > 0.5
    labels = [
        "|".join(name for name, holds in zip(info.class_names, row, strict=True) if holds)
        for row in holds_NC.tolist()
    ]
    return labels, torch.where(holds_NC, p_NC, 1 - p_NC).prod(1).tolist()
