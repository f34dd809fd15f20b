"""What it is worth to know how unsure answers are: withheld answers, strange rows, worse images."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from peerlearn.metrics.catalogue import ACCURACY, ECE, NLL, Metric, fraction
from peerlearn.report.experiment import Experiment, measured
from peerlearn.report.figures import ARM_DASHES, INK, Style, new_figure, number_axis, shorten
from peerlearn.report.section import Chart, Drawer, Section
from peerlearn.report.words import NO_BREAK, TOGETHER, amount, joined, who_label
from peerlearn.results import Arm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RISK = fraction("risk", better="lower")
ON_CORRUPTED = (ACCURACY, NLL, ECE)
#: How rows are scored: what metrics by it end in, and its name.
_SCORES = {"entropy": ("", "entropy"), "mutual_information": ("_mi", "mutual information")}
_MOST_SETS = 4  # whose histograms are told apart in one figure
_TOLD = 0.8  # coverage at which captions tell the risk
_TICKS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

Curve = Sequence[float]


def selective(draw: Drawer) -> Section:
    """A risk–coverage curve for every peer and the ensemble, all arms in each."""
    charts, share = [], f"{100 * _TOLD:.0f}{NO_BREAK}%"
    for name in [*draw.experiment.peers, "ensemble"]:
        curves = {}
        for arm, block in draw.experiment.arms.items():
            found: Mapping[str, Any] = block.get("selective") or {}
            risk, coverage = (found.get("risk") or {}).get(name), found.get("coverage")
            if risk and coverage and len(risk) == len(coverage) and None not in risk:
                curves[arm] = coverage, risk
        if not curves:
            continue
        told = [f"{arm} {amount(_at(*curve, _TOLD), RISK)}" for arm, curve in curves.items()]
        caption = f"Mistakes where the surest {share} are answered: {', '.join(told)}."
        figure = partial(_draw_selective, curves, draw.styles)
        charts.append(draw.detail("Risk–coverage curve of", who_label(name), caption, figure))
    lead = "The share of mistakes where only the surest rows are answered and all others are left "
    lead += "to somebody else. The lower and the flatter to the left, the better confidence tells "
    lead += "mistakes; AURC is the area below."
    return Section("selective", "Answers that may be withheld", lead, tuple(charts))


def _at(coverage: Curve, risk: Curve, wanted: float) -> float:
    return next((r for c, r in zip(coverage, risk, strict=True) if c >= wanted), risk[-1])


def _draw_selective(
    curves: Mapping[str, tuple[Curve, Curve]], styles: Mapping[str, Style]
) -> "Figure":
    figure = new_figure(2.3)
    axes = figure.add_subplot()
    for arm, (coverage, risk) in curves.items():
        style = styles[arm]
        axes.plot(coverage, risk, color=style.colour, linestyle=style.line)
        axes.plot(coverage[-1], risk[-1], color=style.colour, marker=style.marker)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="answered rows, %", ylabel="risk, %")
    for axis in ("x", "y"):
        number_axis(axes, axis, RISK)
    return figure


# Rows out of distribution -----------------------------------------------------------------------


def strange_rows(draw: Drawer) -> Section:
    """Histograms of uncertainty in and out of distribution, of each arm: of its ensemble first."""
    charts: list[Chart] = []
    more: list[Chart] = []
    for arm, block in draw.experiment.arms.items():
        for who in ["ensemble", *block["peers"]]:
            found: Mapping[str, Any] = (block.get("ood") or {}).get("scores") or {}
            scores = {
                score: (found[score]["edges"], found[score]["of"][who])
                for score in _SCORES
                if score in found and who in found[score]["of"]
            }
            if scores:
                chart = _histogram_chart(draw, arm, who, scores)
                (charts if who == "ensemble" else more).append(chart)
    lead = "How unsure each arm is of test rows (filled) and of rows of other data (lines), which "
    lead += "it was not trained on: the further apart, the better they can be told. Bins are "
    lead += "narrow near 0."
    title = "Rows out of distribution"
    return Section(
        "ood", title, lead, tuple(charts), False, more=tuple(more), more_title="Single peers"
    )


def _histogram_chart(
    draw: Drawer, arm: str, who: str, scores: Mapping[str, tuple[Curve, Mapping[str, Any]]]
) -> Chart:
    values = measured(draw.experiment.arms[arm], who)
    said = []
    for score, (_, shares) in scores.items():
        ending, words = _SCORES[score]
        told = []
        for name in shares["out"]:
            if (found := values.get(f"auroc{ending}:{name}")) is not None:
                told.append(f"{name} {amount(found['mean'], ACCURACY)}")
        if told:
            said.append(f"AUROC by {words}: {', '.join(told)}.")
    first = next(iter(scores.values()))[1]["out"]
    if len(first) > _MOST_SETS:
        said.append(f"Lines are those of {joined(list(first)[:_MOST_SETS])}.")
    figure = partial(_draw_histograms, scores, draw.styles[arm])
    of = arm if who == "ensemble" else f"{arm}, {who_label(who)}"
    what = "Histograms of uncertainty in and out of distribution, of"
    return draw.chart(what, of, " ".join(said), figure)


def _draw_histograms(
    scores: Mapping[str, tuple[Curve, Mapping[str, Any]]], style: Style
) -> "Figure":
    figure = new_figure(0.3 + 1.7 * len(scores))
    panels = figure.subplots(len(scores), 1, squeeze=False)[:, 0]
    for axes, (score, (edges, shares)) in zip(panels, scores.items(), strict=True):
        others = dict(list(shares["out"].items())[:_MOST_SETS])
        last = max(
            (n for each in (shares["in"], *others.values()) for n, v in enumerate(each) if v),
            default=0,
        )
        places = [edge**0.5 for edge in edges[: last + 2]]
        fill: dict[str, Any] = {"fill": True, "alpha": 0.35, "linewidth": 0}
        axes.stairs(shares["in"][: last + 1], places, color=style.colour, label="test rows", **fill)
        for number, (name, values) in enumerate(others.items()):
            line = {"color": INK, "linestyle": ARM_DASHES[1 + number]}
            label = shorten(name, 20)
            axes.stairs(values[: last + 1], places, baseline=None, label=label, **line)
        ticks = [tick for tick in _TICKS if tick <= edges[last + 1]]
        apart = 0.12 * places[-1]  # of two labels that do not touch
        spread = [t for t, after in pairwise([*ticks, math.inf]) if after**0.5 - t**0.5 > apart]
        spread = [tick for tick in spread if tick**0.5 > apart]
        axes.set_xticks([0, *(tick**0.5 for tick in spread)], ["0", *map("{:g}".format, spread)])
        axes.set(xlim=(0, places[-1]), ylim=(0, None), ylabel="share, %")
        axes.set_xlabel(f"{_SCORES[score][1]}, nats")
        number_axis(axes, "y", RISK)
    panels[0].legend(loc="best")
    figure.align_ylabels()
    return figure


# Images made worse ------------------------------------------------------------------------------


def corruption(draw: Drawer) -> Section:
    """Accuracy, NLL and ECE over severity, all arms in each figure; kinds one by one are folded."""
    experiment = draw.experiment
    kinds = list(dict.fromkeys(k for block in experiment.arms.values() for k in _kinds(block)))
    charts: list[Chart] = []
    more: list[Chart] = []
    for who in (*TOGETHER, *experiment.peers):
        if (chart := _severity_chart(draw, who, kinds, ON_CORRUPTED)) is not None:
            (charts if who in TOGETHER else more).append(chart)
    for kind in kinds if len(kinds) > 1 else ():
        if (chart := _severity_chart(draw, "ensemble", [kind], [ACCURACY])) is not None:
            more.append(chart)
    lead = f"Means over {joined(kinds)}, by severity; 0 is the test rows as they are. Severities "
    lead += "are scaled with the size of the images, and are not those of CIFAR-10-C."
    return Section(
        "corruption",
        "Images made worse",
        lead,
        tuple(charts),
        more=tuple(more),
        more_title="Single peers, and single kinds",
    )


def _kinds(block: Arm) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (block.get("corruption") or {}).get("kinds") or {}
    return found


def _severity_chart(
    draw: Drawer, who: str, kinds: Sequence[str], metrics: Sequence[Metric]
) -> Chart | None:
    curves = {
        metric.name: _severity_curves(draw.experiment, who, kinds, metric) for metric in metrics
    }
    accuracy = curves[ACCURACY.name]
    if not accuracy:
        return None
    ends = [f"{arm} {amount(values[-1], ACCURACY)}" for arm, values in accuracy.items()]
    caption = f"At level 5 the accuracy is {', '.join(ends)}."
    of = who_label(who) if len(kinds) != 1 else f"{kinds[0]}, {who_label(who)}"
    figure = partial(_draw_severity, curves, metrics, draw.styles)
    return draw.chart("Robustness to worse images of", of, caption, figure)


def _draw_severity(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    metrics: Sequence[Metric],
    styles: Mapping[str, Style],
) -> "Figure":
    """A panel for every metric, over the severity."""
    figure = new_figure(0.8 + 1.15 * len(metrics))
    panels = figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for axes, metric in zip(panels, metrics, strict=True):
        for arm, values in curves[metric.name].items():
            style = styles[arm]
            line = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
            axes.plot(range(len(values)), values, **line)
        lines = curves[metric.name].values()
        axes.set_ylim(0, 1.08 * max((v for values in lines for v in values), default=1) or 1)
        axes.set_ylabel(metric.titled)
        number_axis(axes, "y", metric, ticks=4)
    number_axis(panels[-1], "x", ticks=6)
    panels[-1].set_xlabel("severity")
    figure.align_ylabels()
    return figure


def _severity_curves(
    experiment: Experiment, who: str, kinds: Sequence[str], metric: Metric
) -> dict[str, list[float]]:
    """By arm the values without corruption and at every level, means over kinds."""
    found = {}
    for arm, block in experiment.arms.items():
        clean = measured(block, who).get(metric.name)
        lines = [_kinds(block).get(kind, {}).get(who, {}).get(metric.name) for kind in kinds]
        there = [line for line in lines if line and None not in line]
        if clean is not None and there and len(there) == len(lines):
            found[arm] = [clean["mean"], *(fmean(at) for at in zip(*there, strict=False))]
    return found
