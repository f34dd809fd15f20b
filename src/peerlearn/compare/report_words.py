"""Numbers and sentences of the report: one way to write a metric, an interval, an outcome."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from peerlearn.compare.statistics import base_metric, better, is_of_class

Json = dict[str, Any]

# In this order the report looks for the metric that tells how good a peer is.
PRIMARY = (
    "iou",  # before the accuracy of pixels, most of which are easy
    "dice",
    "accuracy",
    "cluster_accuracy",
    "recall@20",
    "ndcg@20",
    "acc",
    "nmi",
    "ari",
)
CALIBRATION = ("ece", "nll", "brier")

_LABELS = {
    "nll": "NLL",
    "ece": "ECE",
    "adaptive_ece": "adaptive ECE",
    "top5": "top-5 accuracy",
    "brier": "Brier score",
    "hd95": "HD95",
    "dice": "Dice",
    "iou": "IoU",
    "cluster_accuracy": "cluster accuracy",
    "oracle_cluster_accuracy": "oracle, best by truth",
    "clusters": "clusters found",
    "nmi": "NMI",
    "ari": "ARI",
    "acc": "ACC",
    "asr": "ASR",
    "ra": "RA",
    "der": "DER",
    "recall@20": "Recall@20",
    "ndcg@20": "NDCG@20",
    "train_s": "training time",
    "forwards_per_step": "forwards per step",
    "peak_rss_mb": "peak memory",
}
_FRACTIONS = {"accuracy", "top5", "exact_match", "agreement", "ece", "adaptive_ece"} | {
    *("dice", "iou", "cluster_accuracy", "nmi", "ari"),
    *("oracle_cluster_accuracy", "all_accuracy", "old_accuracy", "new_accuracy"),
    *("known_accuracy", "test_cluster_accuracy", "largest_cluster"),
    *("pair_precision", "pair_recall"),
    *("acc", "asr", "ra", "der"),
}
_UNITS = {"hd95": "px"}  # of what is neither a fraction nor a bare number
_DECIMALS = {"hd95": 2, "clusters": 1}
_MINUS = "−"
NO_BREAK = "\N{NO-BREAK SPACE}"  # between a number and its unit
# Not allowed in XML or not encodable: a name from a results file may hold anything JSON may.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_ESCAPED = re.compile(r"\\u(00[01]|007f|d[89a-f]|fff[ef])", re.IGNORECASE)  # as JSON writes them


def metric_label(metric: str) -> str:
    """The metric as the field writes it: `ece` → ECE, `iou:road` → IoU of road."""
    if is_of_class(metric):
        return f"{metric_label(base_metric(metric))} of {metric.partition(':')[2]}"
    return _LABELS.get(metric, metric.replace("_", " "))


def is_fraction(metric: str) -> bool:
    """Whether the metric lies in [0, 1] and is shown in percent."""
    metric = base_metric(metric)
    return metric in _FRACTIONS or metric.startswith(("recall", "ndcg", "precision", "f1"))


def unit(metric: str) -> str:
    """What a value of the metric is given in; empty for a bare number."""
    return "%" if is_fraction(metric) else _UNITS.get(metric, "")


def titled(metric: str) -> str:
    """The metric with its unit, for columns and axes: `accuracy, %`."""
    return ", ".join(part for part in (metric_label(metric), unit(metric)) if part)


def measured_rows(recipe: str) -> str:
    """The rows that most metrics of a recipe are about."""
    return "unlabelled rows" if recipe == "discovery" else "test rows"


def measured_metrics(recipe: str) -> str:
    """What the metrics of a recipe are of, as the beginning of a sentence."""
    if recipe != "discovery":
        return "Test metrics"
    return "Metrics of unlabelled training rows after the last epoch"


def who_label(who: str) -> str:
    """`mean_peer` → mean peer, `ensemble` as it is, any other name is a peer's."""
    return {"mean_peer": "mean peer", "ensemble": "ensemble"}.get(who, f"peer {who}")


def number(value: float, metric: str, signed: bool = False, decimals: int | None = None) -> str:
    """A value in the metric's own scale (percent for fractions), without the unit."""
    if value != value:
        return "–"
    scaled = 100 * value if is_fraction(metric) else value
    if decimals is None:
        decimals = _usual_decimals(metric)
    text = f"{scaled:+.{decimals}f}" if signed else f"{scaled:.{decimals}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)


def _usual_decimals(metric: str) -> int:
    return 1 if is_fraction(metric) else _DECIMALS.get(metric, 3)


def amount(value: float, metric: str) -> str:
    """A value with its unit: `97.6 %` or `0.214`."""
    return NO_BREAK.join(part for part in (number(value, metric), unit(metric)) if part)


def interval(entry: Json) -> tuple[float, float] | None:
    """The 95 % interval of a difference; None where there is none, as with one seed."""
    ends = entry.get("ci95")
    if not isinstance(ends, (list, tuple)) or len(ends) != 2:
        return None
    if any(not isinstance(end, (int, float)) or not abs(end) < float("inf") for end in ends):
        return None
    return float(ends[0]), float(ends[1])


def verdict(entry: Json) -> str | None:
    """ "arm" or "against", whichever is shown to be better; None where neither is."""
    return better(entry) if interval(entry) else None


def _decimals(entry: Json) -> int:
    """As many decimals as the interval's half width needs to be seen, two more at most."""
    usual = _usual_decimals(entry["metric"])
    ends = interval(entry)
    width = (ends[1] - ends[0]) / 2 if ends else abs(entry["mean"])
    if is_fraction(entry["metric"]):
        width *= 100
    return usual + (width < 10.0**-usual)


def difference_number(entry: Json) -> str:
    """A difference with its sign, in points or in the metric's scale: `+1.2`."""
    return number(entry["mean"], entry["metric"], signed=True, decimals=_decimals(entry))


def interval_text(entry: Json) -> str:
    """The interval in the scale of the difference: `[0.4, 2.0]`; empty where there is none."""
    ends = interval(entry)
    if ends is None:
        return ""
    low, high = (number(end, entry["metric"], decimals=_decimals(entry)) for end in ends)
    return f"[{low}, {high}]"


def difference_text(entry: Json) -> str:
    """A difference with its sign and unit: `+1.2 points`."""
    size = "points" if is_fraction(entry["metric"]) else unit(entry["metric"])
    return " ".join(part for part in (difference_number(entry), size) if part)


def seeds_count(count: int) -> str:
    """`5 seeds`, `1 seed`."""
    return f"{count} seed" + ("" if count == 1 else "s")


def printable(text: str) -> str:
    """The text with a mark in place of every character that no page can hold."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def holds_unprintable(text: str) -> bool:
    """Whether a text, or what JSON in it stands for, may hold a character that no page can."""
    return bool(_UNPRINTABLE.search(text) or _ESCAPED.search(text))


def joined(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(words)
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def subject(entry: Json) -> str:
    """What was compared: `mean-peer accuracy`, `ensemble ECE`, `accuracy of peer a`."""
    metric = metric_label(entry["metric"])
    if entry["who"] in ("mean_peer", "ensemble"):
        return f"{entry['who'].replace('_', '-')} {metric}"
    return f"{metric} of peer {entry['who']}"


def outcome(entry: Json) -> str:
    """One sentence that says what was shown and what was not.

    A difference counts as shown where its 95 % interval lies on one side of zero.
    """
    arm, against = entry["arm"], entry["against"]
    size = difference_text(entry)
    if interval(entry) is None:
        count = entry.get("n")
        why = "one seed" if count in (None, 1) else seeds_count(count)
        return (
            f"{arm} against {against}: {size} in {subject(entry)}. "
            f"{why[:1].upper()}{why[1:]}: no interval, so this may be chance."
        )
    low, high = interval(entry) or (0.0, 0.0)
    evidence = f"95 % interval {interval_text(entry)}"
    count = f", {seeds_count(entry['n'])}" if entry.get("n") else ""
    match verdict(entry):
        case "arm":
            return f"{arm} beats {against} on {subject(entry)}: {size} ({evidence}{count})."
        case "against":
            return f"{arm} is worse than {against} on {subject(entry)}: {size} ({evidence}{count})."
        case _ if low > 0 or high < 0:  # a metric of which nobody said which way is better
            return f"{arm} and {against} differ in {subject(entry)}: {size} ({evidence}{count})."
        case _:
            return (
                f"No difference in {subject(entry)} shown between {arm} and {against}: "
                f"{size} ({evidence} includes zero{count})."
            )


def calibration_outcome(entries: Sequence[Json]) -> str | None:
    """A sentence about the calibration metrics among the differences of one pair of arms."""
    entries = [entry for entry in entries if entry["metric"] in CALIBRATION]
    parts = []
    for side, word in (("arm", "better"), ("against", "worse")):
        shown = [entry for entry in entries if verdict(entry) == side]
        if shown:
            numbers = "; ".join(
                f"{metric_label(entry['metric'])} {difference_text(entry)} {interval_text(entry)}"
                for entry in shown
            )
            parts.append(f"Calibration is {word}: {numbers}.")
    if parts:
        return " ".join(parts)
    if entries and all(interval(entry) for entry in entries):
        names = joined(metric_label(entry["metric"]) for entry in entries)
        return f"No difference in calibration shown ({names})."
    return None


def main_entry(differences: Sequence[Json]) -> Json | None:
    """The difference that answers the question of the study.

    That of the arm `mutual` where there is one, against `independent` where there is one, of the
    mean peer, in the first metric of `PRIMARY`.
    """
    metrics = list(PRIMARY)
    who = ["mean_peer", "ensemble"]

    def rank(item: tuple[int, Json]) -> tuple[int, int, int, int, int]:
        index, entry = item
        return (
            metrics.index(entry["metric"]) if entry["metric"] in metrics else len(metrics),
            entry["against"] != "independent",
            entry["arm"] != "mutual",
            who.index(entry["who"]) if entry["who"] in who else len(who),
            index,
        )

    return min(enumerate(differences), key=rank)[1] if differences else None


def outcomes(differences: Sequence[Json]) -> list[str]:
    """The outcome of the study first, then calibration, then every other pair of arms."""
    main = main_entry(differences)
    if main is None:
        return []
    sentences = [outcome(main)]
    pairs = dict.fromkeys((entry["arm"], entry["against"]) for entry in differences)
    pair = (main["arm"], main["against"])
    for arm, against in [pair, *(other for other in pairs if other != pair)]:
        here = [e for e in differences if (e["arm"], e["against"]) == (arm, against)]
        if (arm, against) != pair:
            entry = next(
                (e for e in here if (e["metric"], e["who"]) == (main["metric"], main["who"])), None
            )
            if entry is not None:
                sentences.append(outcome(entry))
            continue
        if main["metric"] not in CALIBRATION:
            same_who = [e for e in here if e["who"] == main["who"]]
            if sentence := calibration_outcome(same_who):
                sentences.append(sentence)
    return sentences


def choose_metric(available: Iterable[str]) -> str | None:
    """The metric that tells most: the first of `PRIMARY`, else the first that is there."""
    available = list(available)
    return next((metric for metric in PRIMARY if metric in available), next(iter(available), None))
