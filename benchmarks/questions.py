"""What comparisons were made to ask: one arm against another on each data set, and on average."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.cells import difference_cell
from peerlearn.compare.report_words import choose_metric, metric_label


class Questions(NamedTuple):
    """Of one system."""

    who: Mapping[str, str]
    """Who is asked about, and what they are called here."""
    asked: Sequence[tuple[str, str, str]]
    """An arm, another, and what their difference tells."""


STYLES = Questions(
    {"ensemble": "ensemble of the students", "mean_peer": "mean student"},
    (
        ("kdml-v4", "kdml-v1", "mixed forms, against predictions alone"),
        ("kdml-v2", "kdml-v1", "feature maps alone, against predictions alone"),
        ("kd-v3", "kd-v1", "a teacher that shows each student another form"),
        ("ml-v3", "ml-v1", "students that show each other another form"),
        ("kd-v1", "independent", "distillation"),
        ("ml-v1", "independent", "mutual learning"),
        ("kdml-v1", "independent", "distillation and mutual learning"),
        ("kdml-v4", "independent", "both, in mixed forms"),
    ),
)
DISCOVERY = Questions(
    {"mean_peer": "mean branch"},
    (
        ("dual", "kmeans", "the whole system, against clusters of the same features"),
        ("dual", "ranking", "two branches that teach each other, against one"),
        ("dual", "independent", "mutual distillation"),
        ("one-way", "independent", "distillation to the global branch alone"),
        ("independent", "ranking", "a second branch, of parts"),
        ("ranking", "kmeans", "ranking statistics, against clusters of the same features"),
        ("ranking", "own-views", "marking pairs, against no two images marked"),
        ("ranking-new", "ranking", "`unlabelled_are_new` in ranking statistics"),
        ("dual-new", "kmeans", "the whole system with `unlabelled_are_new`, against k-means"),
        ("dual-new", "dual", "`unlabelled_are_new` in the whole system"),
        ("dual-new", "ranking", "the whole system with it, against ranking statistics without"),
        ("dual-new", "ranking-new", "two branches that teach each other, against one, with it"),
        ("dual-new", "independent-new", "mutual distillation, with it"),
        ("ranking-new", "own-views-new", "marking pairs, against no two images marked, with it"),
        ("dual-predictions-new", "kmeans", "sharpened predictions in it too, against k-means"),
        ("dual-predictions-new", "ranking", "that, against ranking statistics as published"),
        ("dual-predictions-new", "ranking-new", "that, against ranking statistics on equal terms"),
        ("dual-predictions-new", "ranking-self-new", "that, against one branch and its own ones"),
        ("dual-predictions-new", "predictions-new", "similarities beside sharpened predictions"),
        ("predictions-new", "ranking-self-new", "those of another branch, against its own"),
        ("ranking-self-new", "ranking-new", "a branch's own sharpened predictions"),
        ("uno", "kmeans", "UNO, against clusters of the same features"),
        ("uno", "dual", "UNO, against the whole system"),
        ("uno", "dual-new", "UNO, against the whole system with `unlabelled_are_new`"),
        ("uno-mutual", "uno", "mutual distillation between heads of UNO"),
        ("uno-mutual", "kmeans", "that, against clusters of the same features"),
    ),
)
BY_RECIPE = {"styles-classify": STYLES, "styles-segment": STYLES, "discovery": DISCOVERY}


def questions_markdown(*comparisons: Mapping[str, Any]) -> str:
    """A table for each of those who are asked about.

    Questions about arms that were not compared are left out; so is the mean of one comparison.

    Args:
        comparisons: results of comparisons with the same arms and seeds, one for each data set.

    Raises:
        ValueError: other arms or seeds in one than in another.
    """
    seeds, arms = comparisons[0]["seeds"], comparisons[0]["arms"].keys()
    if any(results["seeds"] != seeds for results in comparisons):
        raise ValueError(f"comparisons of other seeds than {seeds} cannot be averaged over")
    if any(results["arms"].keys() != arms for results in comparisons):
        raise ValueError(f"comparisons of other arms than {list(arms)} cannot be averaged over")
    questions = BY_RECIPE[comparisons[0]["recipe"]]
    names = [f"{results['data']}, {metric_label(_metric(results))} %" for results in comparisons]
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
            [results["arms"][name][who][_metric(results)]["values"] for results in comparisons]
            for name in (arm, against)
        )
        if len(comparisons) > 1:
            for values in (ours, theirs):
                values.append(list(map(mean, zip(*values, strict=True))))
        cells = [difference_cell(a, b) for a, b in zip(ours, theirs, strict=True)]
        lines.append([f"`{arm}` − `{against}`: {what}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _metric(results: Mapping[str, Any]) -> str:
    metric = choose_metric(next(iter(results["arms"].values()))["mean_peer"])
    assert metric is not None
    return metric
