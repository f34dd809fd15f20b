"""What may be said of a whole comparison: how many looks, what intervals cover, what is next."""

from collections.abc import Mapping, Sequence

from peerlearn.metrics.catalogue import Catalogue, is_of_class
from peerlearn.report.experiment import is_value
from peerlearn.report.intervals import ALPHA, LEAST_SEEDS
from peerlearn.report.statistics import Contrast
from peerlearn.report.words import (
    counted,
    joined,
    least_rows,
    main_difference,
    number,
    sentence,
    who_label,
)
from peerlearn.results import Arm

CEILING = 0.995
"""Peers of which a fraction is this high on average are at its ceiling; see `ceiling`."""


def claims(
    entries: Sequence[Contrast], arms: Mapping[str, Arm], metrics: Catalogue, planned: bool = True
) -> list[str]:
    """Sentences that belong to every comparison of arms; none where nothing was compared.

    Args:
        entries: see `contrasts`.
        arms: as in `results.json`.
        metrics: of the recipe.
        planned: whether to say what more rows and seeds would give.
    """
    if not entries:
        return []
    said = [looks(entries), coverage(entries)]
    main = main_difference(entries, metrics)
    if planned and main is not None:
        said += [twice(main), ceiling(main, arms)]
    return [each for each in said if each]


def looks(entries: Sequence[Contrast]) -> str:
    """`6 comparisons looked at (accuracy of mean peer and ensemble, 3 arms), Holm at 5 %.`"""
    tested = [entry for entry in entries if entry.tested]
    if not tested:
        return "No metric is tested: nothing is called better."
    seeds = [entry.n for entry in tested if entry.n is not None]
    if not seeds or max(seeds) < LEAST_SEEDS:
        few = counted(max(seeds, default=0), "seed")
        return f"{few}: at least {LEAST_SEEDS} are needed to call anything better."
    who = joined(dict.fromkeys(who_label(entry.who) for entry in tested))
    arms = counted(len({entry.arm for entry in tested}), "arm")
    count = counted(len(tested), "comparison")
    what = f"{tested[0].metric.label} of {who}, {arms}"
    others = "other metrics and single peers are not tested"
    return f"{count} looked at ({what}), Holm at {100 * ALPHA:g} %; {others}."


def coverage(entries: Sequence[Contrast]) -> str:
    """Which new draws intervals hold for."""
    drawn = [e for e in entries if e.metric.compared and not is_of_class(e.metric.name)]
    shown = [entry for entry in drawn if entry.interval]
    both = dict.fromkeys(entry.metric.label for entry in shown if entry.rows is not None)
    seeds = dict.fromkeys(entry.metric.label for entry in shown if entry.rows is None)
    alone = "over seeds only: not other test rows, nor other training rows"
    if not shown:
        return ""
    if not both:
        return f"Intervals are {alone}."
    text = "Intervals cover other seeds and other test rows, not other training rows"
    return f"{text}; those of {joined(seeds)} are {alone}." if seeds else f"{text}."


def twice(difference: Contrast) -> str:
    """What more test rows or seeds would give: `Twice the test rows would give about ±0.16, …`."""
    if difference.twice is None:
        return ""
    metric = difference.metric
    places = metric.decimals + 1
    rows, seeds = (f"±{number(half, metric, decimals=places)}" for half in difference.twice)
    return f"Twice the test rows would give about {rows}, twice the seeds {seeds}."


def ceiling(difference: Contrast, arms: Mapping[str, Arm]) -> str:
    """A warning where the arm that others are compared with leaves nothing to gain.

    So it is where its mean peer reaches 99.5 %, or gets fewer rows wrong than arms must differ on
    to be told apart: 1 + log2(1 / α), 6 at 5 %.
    """
    metric, block = difference.metric, arms.get(difference.against)
    value = (block or {}).get("mean_peer", {}).get(metric.name)
    if not (metric.is_fraction and metric.better == "higher" and value and is_value(value)):
        return ""
    left = 1.0 - value["mean"]
    rows = difference.rows
    if value["mean"] < CEILING and (rows is None or left * rows >= least_rows(1)):
        return ""
    wrong = f", {left * rows:.0f} of {rows:,} test rows wrong" if rows else ""
    who = sentence(f"{difference.against} peers")
    reached = f"{metric.label} {number(value['mean'], metric)} %{wrong}"
    advice = "Expect no gain; fewer labels or a harder task show more"
    return f"{who} are at their ceiling here: {reached}. {advice}."
