"""Numbers and sentences of reports: one way to write a metric, an interval, an outcome."""

import math
import re
from collections.abc import Iterable, Sequence

from peerlearn.metrics.catalogue import Catalogue, Metric
from peerlearn.report.intervals import ALPHA, LEAST_SEEDS
from peerlearn.report.statistics import REFERENCE, TOGETHER, Contrast

NO_BREAK = "\N{NO-BREAK SPACE}"  # between a number and its unit
MORE_DECIMALS = 4
_MINUS = "−"
# Not allowed in XML or not encodable: a name from a results file may hold anything JSON may.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_ESCAPED = re.compile(r"\\u(00[01]|007f|d[89a-f]|fff[ef])", re.IGNORECASE)  # as JSON writes them


def printable(text: str) -> str:
    """The text with a mark in place of every character that no page can hold."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def holds_unprintable(text: str) -> bool:
    """Whether a text, or what JSON in it stands for, may hold a character that no page can."""
    return bool(_UNPRINTABLE.search(text) or _ESCAPED.search(text))


def plain_spaces(text: str) -> str:
    """The text for a terminal, where a line may break anywhere."""
    return text.replace(NO_BREAK, " ")


def joined(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(words)
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def sentence(text: str, end: str = "") -> str:
    """The text with a capital letter, and `end` behind it if there is any text."""
    return text[:1].upper() + text[1:] + (end if text else "")


def counted(count: int, noun: str) -> str:
    """`5 seeds`, `1 seed`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def who_label(who: str) -> str:
    """`mean_peer` → mean peer, `ensemble` as it is, any other name is a peer's."""
    return who.replace("_", " ") if who in TOGETHER else f"peer {who}"


def number(value: float, metric: Metric, signed: bool = False, decimals: int | None = None) -> str:
    """A value in the metric's own scale (percent for fractions), without the unit."""
    if value != value:
        return "–"
    scaled = 100 * value if metric.is_fraction else value
    text = f"{scaled:{'+' if signed else ''}.{metric.decimals if decimals is None else decimals}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)


def amount(value: float, metric: Metric) -> str:
    """A value with its unit: `97.6 %` or `0.214`."""
    return NO_BREAK.join(part for part in (number(value, metric), metric.unit) if part)


def decimals(difference: Contrast, usual: int) -> int:
    """As many decimals as an interval needs to be seen, and to be told from one that ends at 0.

    One more where its half width asks for it; up to four more where an end that is not 0 would be
    written as 0, so that the interval shows whether it excludes zero.
    """
    scale, ends = 100 if difference.metric.is_fraction else 1, difference.interval
    width = (ends[1] - ends[0]) / 2 if ends else abs(difference.mean)
    needed = usual + (scale * width < 10.0**-usual)
    small = [scale * abs(end) for end in ends or () if end]
    while needed < usual + MORE_DECIMALS and any(round(end, needed) == 0 for end in small):
        needed += 1
    return needed


def _decimals(difference: Contrast) -> int:
    """One more than values have where less than a point is told apart."""
    ends, metric = difference.interval, difference.metric
    fine = metric.is_fraction and ends is not None and 50 * (ends[1] - ends[0]) < 1
    return decimals(difference, metric.decimals + fine)


def difference_number(difference: Contrast) -> str:
    """A difference with its sign, in points or in the metric's scale: `+1.2`."""
    return number(difference.mean, difference.metric, True, _decimals(difference))


def interval_text(difference: Contrast) -> str:
    """The interval in the scale of the difference: `[0.4, 2.0]`; empty where there is none."""
    decimals = _decimals(difference)
    ends = [number(e, difference.metric, decimals=decimals) for e in difference.interval or ()]
    return f"[{', '.join(ends)}]" if ends else ""


def difference_text(difference: Contrast) -> str:
    """A difference with its sign and unit: `+1.2 points`."""
    unit = "points" if difference.metric.is_fraction else difference.metric.unit
    return " ".join(part for part in (difference_number(difference), unit) if part)


def _subject(difference: Contrast) -> str:
    """What was compared: `mean-peer accuracy`, `ensemble ECE`, `accuracy of peer a`."""
    label = difference.metric.label
    if difference.who in TOGETHER:
        return f"{difference.who.replace('_', '-')} {label}"
    return f"{label} of peer {difference.who}"


def evidence(difference: Contrast) -> str:
    """What an interval is from: `8 seeds × 5,000 test rows`; of seeds alone, `8 seeds`."""
    seeds = counted(difference.n, "seed") if difference.n else ""
    if difference.rows is None or difference.interval is None:
        return seeds
    rows = f"{difference.rows:,} test row" + ("" if difference.rows == 1 else "s")
    if difference.rows_shared:
        return f"{seeds} × {rows}" if seeds else rows
    return f"{seeds} with rows of their own, {rows} in all"


def outcome(difference: Contrast) -> str:
    """What was shown and what was not: only what is left after all looks counts as shown."""
    arm, against = difference.arm, difference.against
    size, subject = difference_text(difference), _subject(difference)
    if difference.interval is None:
        text = f"{arm} against {against}: {size} in {subject}."
        one = difference.n in (None, 1)
        why = "One seed: no interval" if one else sentence(why_not_shown(difference))
        return f"{text} {why}, so this may be chance."
    interval = f"95 % interval {interval_text(difference)}"
    numbers = f"{size} ({', '.join(part for part in (interval, evidence(difference)) if part)})"
    match difference.winner:
        case "arm":
            return f"{arm} beats {against} on {subject}: {numbers}."
        case "against":
            return f"{arm} is worse than {against} on {subject}: {numbers}."
    if difference.excludes_zero:  # a metric of which nobody said which way is better
        return f"{arm} and {against} differ in {subject}: {numbers}."
    if not difference.tested:
        return f"{arm} against {against} in {subject}, which is not tested: {numbers}."
    nothing = f"No difference in {subject} shown between {arm} and {against}"
    return f"{nothing}: {numbers}; {why_not_shown(difference)}."


def why_not_shown(difference: Contrast) -> str:
    """What keeps a difference from being shown, as the end of a sentence."""
    n, rows, interval = difference.n, difference.differing, difference.interval
    if n is None or n < LEAST_SEEDS:
        few = f"{counted(n, 'seed') if n else 'number of seeds not known'}"
        return f"{few}: at least {LEAST_SEEDS} are needed"
    if rows == 0:
        return "the arms differ on no test row"
    if rows is not None and rows < least_rows(difference.looks):
        return f"the arms differ on {counted(rows, 'test row')}"
    if interval is None:
        return "the difference is the same in every seed, which gives no interval"
    if interval[0] <= 0 <= interval[1]:
        return "zero is inside"
    return f"zero is outside, but not after {counted(difference.looks, 'look')}"


def least_rows(looks: int) -> int:
    """On how many rows arms must differ for the first of so many looks to be marked."""
    return math.ceil(1 + math.log2(max(looks, 1) / ALPHA))


def _calibration_outcome(differences: Sequence[Contrast]) -> str | None:
    """A sentence about the calibration metrics among the differences of one pair of arms."""
    found = [entry for entry in differences if entry.metric.calibration and entry.interval]
    numbers = joined(
        f"{entry.metric.label} {difference_text(entry)} {interval_text(entry)}" for entry in found
    )
    return f"Calibration, not tested: {numbers}." if numbers else None


def main_difference(differences: Sequence[Contrast], metrics: Catalogue) -> Contrast | None:
    """The difference that answers the question of a comparison; None where nothing was compared.

    That of the arm `mutual` where there is one, against `independent` where there is one, of the
    mean peer, in the first headline of the catalogue.
    """
    headlines = metrics.headlines

    def rank(entry: Contrast) -> tuple[int, bool, bool, int]:
        name = entry.metric.name
        return (
            headlines.index(name) if name in headlines else len(headlines),
            entry.against != REFERENCE,
            entry.arm != "mutual",
            TOGETHER.index(entry.who) if entry.who in TOGETHER else len(TOGETHER),
        )

    return min(differences, key=rank, default=None)


def outcomes(differences: Sequence[Contrast], metrics: Catalogue) -> list[str]:
    """The outcome of a comparison first, then calibration, then every other pair of arms."""
    main = main_difference(differences, metrics)
    if main is None:
        return []
    sentences = [outcome(main)]
    if not main.metric.calibration:
        pair = (main.arm, main.against, main.who)
        here = [e for e in differences if (e.arm, e.against, e.who) == pair]
        if calibration := _calibration_outcome(here):
            sentences.append(calibration)
    others: dict[tuple[str, str], Contrast] = {}
    for entry in differences:
        if (entry.metric, entry.who) == (main.metric, main.who):
            others.setdefault((entry.arm, entry.against), entry)
    others.pop((main.arm, main.against))
    return sentences + [outcome(entry) for entry in others.values()]
