"""What comparisons were made to ask: one arm against another on each data set, and on average."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.cells import Pair, difference_cells
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
    columns = [
        difference_cells(pairs)
        for pairs in zip(*_pairs(questions, asked, comparisons), strict=True)
    ]
    lines = iter(zip(*columns, strict=True))
    parts = []
    for name in questions.who.values():
        table = [[name, *names], ["---"] + ["---:"] * len(names)]
        table += [[f"`{a}` − `{b}`: {what}", *next(lines)] for a, b, what in asked]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in table) + "\n")
    looks = len(asked) * len(questions.who)
    parts.append(
        f"n = {len(seeds)} seeds; differences are paired by seed, with 95 % intervals over seeds "
        f"only: not other test rows, nor other training rows. {looks} comparisons looked at in "
        "each column, Holm at 5 %: bold where a difference is shown."
    )
    return "\n".join(parts) + "\n"


def _pairs(
    questions: Questions,
    asked: Sequence[tuple[str, str, str]],
    comparisons: Sequence[Mapping[str, Any]],
) -> Iterator[list[Pair]]:
    """Of everyone and every question: the pairs of each comparison and, if several, their mean."""
    for who in questions.who:
        for arm, against, _ in asked:
            ours, theirs = (
                [
                    results["arms"][name][who][_metric(results).name]["values"]
                    for results in comparisons
                ]
                for name in (arm, against)
            )
            if len(comparisons) > 1:
                for values in (ours, theirs):
                    values.append(list(map(mean, zip(*values, strict=True))))
            yield list(zip(ours, theirs, strict=True))


def _metric(results: Mapping[str, Any]) -> Metric:
    metrics = RECIPES[results["recipe"]].metrics
    name = metrics.main(next(iter(results["arms"].values()))["mean_peer"])
    assert name is not None
    return metrics[name]
