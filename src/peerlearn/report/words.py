"""Numbers and sentences of reports: one way to write a metric, an interval, an outcome."""

import re
from collections.abc import Iterable, Sequence

from peerlearn.metrics.catalogue import Catalogue, Metric
from peerlearn.report.statistics import REFERENCE, Contrast

TOGETHER = ("mean_peer", "ensemble")
"""Those of whom something is measured beside the peers."""
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
    return decimals(difference, difference.metric.decimals)


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


def outcome(difference: Contrast) -> str:
    """What was shown and what was not: only intervals on one side of zero count as shown."""
    arm, against, n = difference.arm, difference.against, difference.n
    size, subject = difference_text(difference), _subject(difference)
    if difference.interval is None:
        why = sentence("one seed" if n in (None, 1) else counted(n or 0, "seed"))
        chance = f"{why}: no interval, so this may be chance."
        return f"{arm} against {against}: {size} in {subject}. {chance}"
    evidence = f"95 % interval {interval_text(difference)}"
    seeds = f", {counted(n, 'seed')}" if n else ""
    match difference.winner:
        case "arm":
            return f"{arm} beats {against} on {subject}: {size} ({evidence}{seeds})."
        case "against":
            return f"{arm} is worse than {against} on {subject}: {size} ({evidence}{seeds})."
    if difference.excludes_zero:  # a metric of which nobody said which way is better
        return f"{arm} and {against} differ in {subject}: {size} ({evidence}{seeds})."
    nothing = f"No difference in {subject} shown between {arm} and {against}"
    return f"{nothing}: {size} ({evidence} includes zero{seeds})."


def _calibration_outcome(differences: Sequence[Contrast]) -> str | None:
    """A sentence about the calibration metrics among the differences of one pair of arms."""
    found = [entry for entry in differences if entry.metric.calibration]
    parts = []
    for side in ("better", "worse"):
        numbers = "; ".join(
            f"{entry.metric.label} {difference_text(entry)} {interval_text(entry)}"
            for entry in found
            if entry.side == side
        )
        parts += [f"Calibration is {side}: {numbers}."] if numbers else []
    if parts:
        return " ".join(parts)
    if found and all(entry.interval for entry in found):
        labels = joined(entry.metric.label for entry in found)
        return f"No difference in calibration shown ({labels})."
    return None


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
