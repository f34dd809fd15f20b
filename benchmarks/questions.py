"""What comparisons were made to ask: one arm against another on each data set, and on average."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.cells import difference_cell
from peerlearn.metrics.catalogue import Metric
from peerlearn.systems.registry import RECIPES


class Questions(NamedTuple):
    """Of one page, from `questions.py` in its folder."""

    who: Mapping[str, str]
    """Who is asked about, and what they are called here."""
    asked: Sequence[tuple[str, str, str]]
    """An arm, another, and what their difference tells."""


def questions_markdown(questions: Questions, *comparisons: Mapping[str, Any]) -> str:
    """A table for each of those who are asked about.

    Questions about arms that were not compared are left out; so is the mean of one comparison.

    Args:
        questions: who and what is asked about.
        comparisons: results of comparisons with the same arms and seeds, one for each data set.

    Raises:
        ValueError: other arms or seeds in one than in another.
    """
    seeds, arms = comparisons[0]["seeds"], comparisons[0]["arms"].keys()
    if any(results["seeds"] != seeds for results in comparisons):
        raise ValueError(f"comparisons of other seeds than {seeds} cannot be averaged over")
    if any(results["arms"].keys() != arms for results in comparisons):
        raise ValueError(f"comparisons of other arms than {list(arms)} cannot be averaged over")
    names = [f"{results['data']}, {_metric(results).label} %" for results in comparisons]
    if len(comparisons) > 1:
        names.append("mean")
    asked = [question for question in questions.asked if {*question[:2]} <= arms]
    parts = [_table(comparisons, [name, *names], who, asked) for who, name in questions.who.items()]
    parts.append(
        f"n = {len(seeds)} seeds; differences are paired by seed, with 95 % intervals; bold where "
        "zero is outside."
    )
    return "\n".join(parts) + "\n"


def _table(
    comparisons: Sequence[Mapping[str, Any]],
    header: list[str],
    who: str,
    asked: Sequence[tuple[str, str, str]],
) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for arm, against, what in asked:
        ours, theirs = (
            [results["arms"][name][who][_metric(results).name]["values"] for results in comparisons]
            for name in (arm, against)
        )
        if len(comparisons) > 1:
            for values in (ours, theirs):
                values.append(list(map(mean, zip(*values, strict=True))))
        cells = [difference_cell(a, b) for a, b in zip(ours, theirs, strict=True)]
        lines.append([f"`{arm}` − `{against}`: {what}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _metric(results: Mapping[str, Any]) -> Metric:
    metrics = RECIPES[results["recipe"]].metrics
    name = metrics.main(next(iter(results["arms"].values()))["mean_peer"])
    assert name is not None
    return metrics[name]
