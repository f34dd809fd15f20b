"""Tables of the page on backdoors: attacks × defences, and what `purify` made of other attacks.

Comparisons are named `DATA-ATTACK.json`, one attack each, with arm `none`; `DATA-clean.json` is of
networks that nobody attacked. `DATA-ATTACK-2.5pct.json` is with another share of clean rows.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.cells import Pair, difference_cells
from peerlearn.results import sample_std
from peerlearn.systems.backdoor.attacks import ATTACKS

Results = Mapping[str, Any]
Values = Sequence[float]
"""One per seed."""

METRICS = {"acc": "ACC", "asr": "ASR", "ra": "RA", "der": "DER"}
SHOWN = ("acc", "asr", "ra")
"""Of what `purify` did; DER would be of single networks."""
OURS = ("nt-ml", "nt-ml-sel")
VICTIM = "none"
"""The arm that leaves the poisoned network as it is."""
UNTOUCHED = "clean"
"""In place of an attack."""
SHARE = "5"
"""Percent of clean rows where the name of a file says nothing else."""
NAME = re.compile(r"(?P<data>.+?)-(?P<attack>[a-z_]+)(-(?P<share>[\d.]+)pct)?")
WORKS, WORKS_CLEAN_LABEL, COSTS = 0.9, 0.7, 0.03
"""An attack is worth a defence from this ASR on, and with this loss of ACC at most."""
LEFT, LOST, LOST_CLEAN = 0.1, 0.03, 0.01
"""What `purify` may leave of ASR, and take from ACC; the last of a network without a backdoor."""


def attacks_markdown(comparisons: Mapping[str, Results]) -> str:
    """Does every attack work before it is defended against?

    Args:
        comparisons: by the names of their files; one of them may be of networks without attack.
    """
    of = {attack_of(name): results for name, results in comparisons.items()}
    untouched = of.pop(UNTOUCHED, None)
    _check_alike(of | ({UNTOUCHED: untouched} if untouched else {}), arms=False)
    clean = untouched and untouched["arms"][VICTIM]["mean_peer"]["accuracy"]["values"]
    rows = [["attack", "ACC %", "less than clean training, points", "ASR %", "RA %", "works"]]
    for attack, results in of.items():
        values = {metric: values_of(results, VICTIM, metric) for metric in METRICS}
        lost = [a - b for a, b in zip(clean, values["acc"], strict=True)] if clean else None
        least = WORKS_CLEAN_LABEL if ATTACKS[attack].clean_label else WORKS
        works = mean(values["asr"]) >= least and not (lost and mean(lost) > COSTS)
        cells = [percent(values["acc"]), percent(lost) if lost else "–", percent(values["asr"])]
        rows.append([f"`{attack}`", *cells, percent(values["ra"]), "yes" if works else "**no**"])
    said = f"ACC of clean training: {percent(clean)} %. " if clean else ""
    return (
        lines(rows)
        + f"\n\n{said}n = {_seeds(of)} seeds, ± their standard deviation. An attack works from "
        f"{WORKS:.0%} ASR on, from {WORKS_CLEAN_LABEL:.0%} where labels stay, if it costs "
        f"{100 * COSTS:.0f} points of ACC at most.\n"
    )


def defences_markdown(comparisons: Mapping[str, Results]) -> str:
    """Every arm under every attack, and its mean over the attacks.

    Raises ValueError: comparisons of other arms or seeds, which cannot be averaged over.
    """
    of = {attack_of(name): results for name, results in comparisons.items()}
    _check_alike(of)
    rows = [["arm", "%", *(f"`{attack}`" for attack in of), "mean"]]
    for arm in next(iter(of.values()))["arms"]:
        cells = [stacked({attack: results}, arm) for attack, results in of.items()]
        rows.append([f"`{arm}`", "<br>".join(METRICS.values()), *cells, stacked(of, arm)])
    return (
        lines(rows, left=2)
        + f"\n\nn = {_seeds(of)} seeds, ± their standard deviation; of the mean over "
        "attacks too. ASR + RA is at most 100: a low ASR alone is no recovery.\n"
    )


def rivals_markdown(comparisons: Mapping[str, Results]) -> str:
    """Our arms less each other arm, in the mean over attacks, paired by seed.

    Raises ValueError: comparisons of other arms or seeds.
    """
    of = {attack_of(name): results for name, results in comparisons.items()}
    _check_alike(of)
    arms = list(next(iter(of.values()))["arms"])
    asked = [
        (a, b) for a in OURS for b in arms if a in arms and b not in (a, *OURS[: OURS.index(a)])
    ]
    columns = []
    for metric in METRICS:
        pairs: list[Pair] = [(averaged(of, a, metric), averaged(of, b, metric)) for a, b in asked]
        columns.append(difference_cells(pairs, digits=1, tested=metric == "der"))
    rows = [["in points", *METRICS.values()]]
    for (a, b), *cells in zip(asked, *columns, strict=True):
        rows.append([f"`{a}` − `{b}`", *cells])
    return (
        lines(rows)
        + f"\n\nMean over {len(of)} attack{'s' if len(of) > 1 else ''}, n = {_seeds(of)} seeds; "
        "differences are paired by seed, with 95 % intervals over seeds only: neither other test "
        "rows nor other attacks. Bold where a difference in DER is shown, by Holm at 5 % over the "
        f"{len(asked)} rows, with three seeds or more; other metrics are not tested.\n"
    )


def shares_markdown(comparisons: Mapping[str, Results]) -> str:
    """Arms under each attack by the share of clean rows.

    Raises ValueError: two files of one attack and share, or shares that have other arms.
    """
    of: dict[str, dict[str, Results]] = {}
    for name, results in comparisons.items():
        by_share = of.setdefault(attack_of(name), {})
        if (share := share_of(name)) in by_share:
            raise ValueError(f"{name}: {share} % of clean rows twice")
        by_share[share] = results
    shares = sorted({share for by_share in of.values() for share in by_share}, key=float)
    rows = [["attack", "arm", "%", *(f"{share} % clean" for share in shares)]]
    for attack, by_share in of.items():
        common = [set(results["arms"]) for results in by_share.values()]
        for arm in next(iter(by_share.values()))["arms"]:
            if not all(arm in arms for arms in common):
                continue  # the main table has arms that are not swept over
            cells = [
                stacked({attack: by_share[share]}, arm) if share in by_share else "–"
                for share in shares
            ]
            rows.append([f"`{attack}`", f"`{arm}`", "<br>".join(METRICS.values()), *cells])
    counts = {len(results["seeds"]) for by_share in of.values() for results in by_share.values()}
    return (
        lines(rows, left=3)
        + f"\n\nn = {' or '.join(map(str, sorted(counts)))} seeds, ± their standard "
        "deviation; arms that every share has.\n"
    )


def purified_markdown(*found: Results) -> str:
    """Networks that ART attacked and measured, before and after `peerlearn purify`."""
    sides = [
        f"{name} {side}" for name in ("ACC %", "ASR %", "RA %") for side in ("before", "after")
    ]
    rows = [["data", "attack", "method", *sides, "bar"]]
    for results in found:
        for attack in dict.fromkeys(network["attack"] for network in results["networks"]):
            of = [each for each in results["networks"] if each["attack"] == attack]
            for method in of[0]["purified"]:
                after = [network["purified"][method] for network in of]
                before = [network["given"] for network in of]
                cells = []
                for metric in SHOWN:
                    for side in (before, after):
                        values = [each[metric] for each in side]
                        cells.append("–" if None in values else percent(values, 2))
                bar = "yes" if _meets(before, after) else "**no**"
                rows.append([results["data"], attack, f"`{method}`", *cells, bar])
    sizes = "; ".join(map(_sizes, found))
    return (
        lines(rows, left=3)
        + f"\n\n{sizes}. ART {found[0]['art']} made the attacks and measured. The bar: ASR "
        f"{100 * LEFT:.0f} % at most, {100 * LOST:.0f} points of ACC lost at most; of networks "
        f"that nobody attacked, {100 * LOST_CLEAN:.0f}.\n"
    )


def _sizes(results: Results) -> str:
    first, *_ = results["networks"]
    seeds = len({network["seed"] for network in results["networks"]})
    return (
        f"{results['data']}: {first['rows']:,} training rows, {first['clean_rows']:,} clean ones "
        f"of the defender, {first['test_rows']:,} to measure on, n = {seeds}"
    )


def _meets(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> bool:
    lost = mean(each["acc"] for each in before) - mean(each["acc"] for each in after)
    if before[0]["asr"] is None:
        return lost <= LOST_CLEAN
    return lost <= LOST and mean(each["asr"] for each in after) <= LEFT


# Of single comparisons --------------------------------------------------------------------------


def attack_of(name: str) -> str:
    """The attack that a comparison of this name is about.

    Raises ValueError: the name does not end in one, or in `clean`.
    """
    found = NAME.fullmatch(name)
    if not found or found["attack"] not in (*ATTACKS, UNTOUCHED):
        allowed = ", ".join((*ATTACKS, UNTOUCHED))
        raise ValueError(f"{name}: expected DATA-ATTACK or DATA-ATTACK-2.5pct; attacks: {allowed}")
    return found["attack"]


def share_of(name: str) -> str:
    """Percent of clean rows, as the name of a comparison tells it."""
    found = NAME.fullmatch(name)
    return (found and found["share"]) or SHARE


def values_of(results: Results, arm: str, metric: str) -> Values:
    """Of the network that an arm keeps."""
    values: Values = results["arms"][arm]["mean_peer"][metric]["values"]
    return values


def averaged(of: Mapping[str, Results], arm: str, metric: str) -> Values:
    """The mean over attacks of every seed."""
    by_attack = [values_of(results, arm, metric) for results in of.values()]
    return [mean(values) for values in zip(*by_attack, strict=True)]


def percent(values: Values, digits: int = 1) -> str:
    """Mean and standard deviation of fractions, in percent; the mean alone of one."""
    spread = f" ± {100 * sample_std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.{digits}f}{spread}"


def lines(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown whose first `left` columns are words."""
    head, *body = rows
    ruled = [head, ["---"] * left + ["---:"] * (len(head) - left), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)


def stacked(of: Mapping[str, Results], arm: str) -> str:
    """The metrics of one cell, below each other: of the mean over these comparisons."""
    return "<br>".join(percent(averaged(of, arm, metric)) for metric in METRICS)


def _seeds(of: Mapping[str, Results]) -> int:
    return len(next(iter(of.values()))["seeds"])


def _check_alike(of: Mapping[str, Results], arms: bool = True) -> None:
    """Raise ValueError where comparisons have other seeds, or other arms."""

    def differ(told: Iterable[Any]) -> bool:
        first, *others = told
        return any(each != first for each in others)

    if differ(results["seeds"] for results in of.values()):
        raise ValueError(f"comparisons of other seeds cannot be averaged over: {', '.join(of)}")
    if arms and differ(list(results["arms"]) for results in of.values()):
        raise ValueError(f"comparisons of other arms cannot be averaged over: {', '.join(of)}")
