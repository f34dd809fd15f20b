"""Scores of single test rows as differences of arms are made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peerlearn.results import Arm
from peerlearn.row_scores import FILE, read_row_scores, read_row_set

Array = NDArray[np.float64]


class SeedRows(NamedTuple):
    """What one run scored: by who and name of the score, (rows,) each, and which rows those are.

    NaN stands where a row is not one that a score is of; `row_set` is empty where nobody knows.
    """

    row_set: str
    scores: Mapping[str, Mapping[str, NDArray[Any]]]


Rows = Mapping[str, Sequence[SeedRows]]
"""By arm, in the order of the values in `results.json`."""


class Differences(NamedTuple):
    """Of one metric between two arms."""

    by_seed: list[Array]  # (rows,) each
    shared: bool  # whether every seed has the same rows
    binary: bool  # whether they are of scores that are 0 or 1

    @property
    def differing(self) -> int:
        """On how many rows the arms differ, with one seed at least."""
        differ = [column != 0 for column in self.by_seed]
        if self.shared:
            return int(np.any(differ, axis=0).sum())
        return sum(int(each.sum()) for each in differ)


def read_rows(folders: Sequence[Path]) -> list[SeedRows] | None:
    """Of the runs of one arm; None where one of them, of an earlier version, kept no scores.

    Raises InputError: a file that cannot be read.
    """
    files = [folder / FILE for folder in folders]
    if not files or not all(file.is_file() for file in files):
        return None
    return [SeedRows(read_row_set(file), read_row_scores(file)) for file in files]


def row_differences(
    rows: Sequence[Sequence[SeedRows]], blocks: Sequence[Arm], who: str, metric: str
) -> Differences | None:
    """Row by row, the scores of one arm minus those of another.

    None where there are none of this metric, where the arms were not tested on the same rows, or
    where scores do not average to what was measured, so that they are of something else. Rows that
    a metric is not of are left out; None where these differ between arms or peers.

    Args:
        rows: of both arms, seed by seed.
        blocks: both arms, as in `results.json`.
    """
    columns, binary = [], True
    for place, seeds in enumerate(zip(*rows, strict=True)):
        if not seeds[0].row_set or seeds[0].row_set != seeds[1].row_set:
            return None
        lines = []
        for seed, block in zip(seeds, blocks, strict=True):
            found = _scores(seed, block, who, metric)
            if found is None or not _averages_to(found, _value(block, who, metric, place)):
                return None
            lines.append(found)
        if lines[0].shape[1] != lines[1].shape[1]:
            return None
        both = np.concatenate(lines)
        missing = np.isnan(both).any(0)
        if (np.isnan(both) != missing).any():
            return None
        binary &= bool(np.isin(both[:, ~missing], (0, 1)).all())
        columns.append(lines[0].mean(0) - lines[1].mean(0))
    shared = len({seed.row_set for arm in rows for seed in arm}) == 1
    missing_by_seed = {np.isnan(column).tobytes() for column in columns}
    if shared and len(missing_by_seed) > 1:
        return None
    columns = [column[~np.isnan(column)] for column in columns]
    return Differences(columns, shared, binary) if min(map(len, columns)) > 1 else None


def _scores(seed: SeedRows, block: Arm, who: str, metric: str) -> Array | None:
    """(members, rows): one line, but for the mean peer, of which every peer has one."""
    everyone = block.get("members") or [*block.get("peers", {})]
    lines = [
        _line(seed.scores.get(name, {}), metric)
        for name in (everyone if who == "mean_peer" else [who])
    ]
    found = [line for line in lines if line is not None]
    if not found or len(found) < len(lines) or len({line.shape for line in found}) > 1:
        return None
    return np.stack(found).astype(np.float64)


def _line(scores: Mapping[str, NDArray[Any]], metric: str) -> NDArray[Any] | None:
    if metric in scores:
        return scores[metric]
    if metric in ("ece", "adaptive_ece") and {"confidence", "accuracy"} <= scores.keys():
        return calibration_scores(scores["confidence"], scores["accuracy"], metric)
    return None


def calibration_scores(
    confidence: NDArray[Any], right: NDArray[Any], metric: str = "ece"
) -> NDArray[Any]:
    """Row scores whose mean is the calibration error: ±(confidence − right).

    The sign is that of confidence − accuracy in the bin of the row, as |·| has it in
    `metrics.calibration`.

    Shapes: confidence, right: (N,). Returns (N,).
    """
    import torch

    from peerlearn.metrics.calibration import bin_sums, equal_mass, equal_width

    stated, came_true = (torch.from_numpy(np.asarray(each)) for each in (confidence, right))
    index = (equal_width if metric == "ece" else equal_mass)(stated)
    confident, correct, _ = bin_sums(stated, came_true, index)
    return np.asarray((confident - correct).sign()[index] * (stated - came_true).double())


def _value(block: Arm, who: str, metric: str, place: int) -> float:
    if who in ("mean_peer", "ensemble"):
        measured = block["mean_peer"] if who == "mean_peer" else block["ensemble"]
    else:
        measured = block["peers"][who]
    return measured[metric]["values"][place]


def _averages_to(scores: Array, value: float) -> bool:
    # Scores are kept in single precision, and a confidence on the edge of a bin may change sides.
    measured = ~np.isnan(scores).all(0)
    mean = float(np.nanmean(scores[:, measured])) if measured.any() else np.nan
    return bool(np.isclose(mean, value, rtol=1e-3, atol=1e-4))
