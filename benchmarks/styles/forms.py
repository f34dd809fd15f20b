"""One form of teaching against another on every data set, and on average over them."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from peerlearn.compare.statistics import paired_difference

#: What is compared: an arm, another, and what that asks.
QUESTIONS = (
    ("kdml-v4", "kdml-v1", "mixed forms, against predictions alone"),
    ("kdml-v2", "kdml-v1", "feature maps alone, against predictions alone"),
    ("kd-v3", "kd-v1", "a teacher that shows each student another form"),
    ("ml-v3", "ml-v1", "students that show each other another form"),
    ("kd-v1", "independent", "distillation"),
    ("ml-v1", "independent", "mutual learning"),
    ("kdml-v1", "independent", "distillation and mutual learning"),
    ("kdml-v4", "independent", "both, in mixed forms"),
)


def forms_markdown(*comparisons: Mapping[str, Any]) -> str:
    """A table for the ensemble of the students and one for the mean student.

    Args:
        comparisons: results of comparisons with the same arms and seeds, one for each data set.

    Raises:
        ValueError: other seeds in one than in another.
    """
    seeds = comparisons[0]["seeds"]
    if any(results["seeds"] != seeds for results in comparisons):
        raise ValueError(f"comparisons of other seeds than {seeds} cannot be averaged over")
    names = [f"{results['data']}, {_metric(results)} %" for results in comparisons]
    parts = [
        _table(comparisons, ["ensemble of the students", *names, "mean"], "ensemble"),
        _table(comparisons, ["mean student", *names, "mean"], "mean_peer"),
        f"n = {len(seeds)} seeds; differences are paired by seed, with 95 % intervals; bold where "
        "zero is outside.",
    ]
    return "\n".join(parts) + "\n"


def _table(comparisons: Sequence[Mapping[str, Any]], header: list[str], who: str) -> str:
    lines = [header, ["---"] + ["---:"] * len(comparisons) + ["---:"]]
    for arm, against, what in QUESTIONS:
        ours, theirs = (
            [results["arms"][name][who][_metric(results)]["values"] for results in comparisons]
            for name in (arm, against)
        )
        over_all = [list(map(mean, zip(*values, strict=True))) for values in (ours, theirs)]
        cells = [_cell(a, b) for a, b in zip(ours, theirs, strict=True)]
        lines.append([f"`{arm}` − `{against}`: {what}", *cells, _cell(*over_all)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(ours: Sequence[float], theirs: Sequence[float]) -> str:
    difference = paired_difference(ours, theirs)
    low, high = (100 * end for end in difference["ci95"])
    sure = "" if low <= 0 <= high else "**"
    return f"{sure}{100 * difference['mean']:+.2f}{sure} [{low:+.2f}, {high:+.2f}]"


def _metric(results: Mapping[str, Any]) -> str:
    return "iou" if results["recipe"] == "styles-segment" else "accuracy"
