"""Which of the trained networks to use, by what was measured, and what to type next.

A peer is chosen by validation alone; what is said of it on other rows chooses nothing. No more is
said than the results hold.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, cast

from peerlearn.metrics.catalogue import Catalogue, Metric, is_of_class
from peerlearn.report.calibrated import told_calibration
from peerlearn.report.epochs import told_epochs
from peerlearn.report.experiment import is_value
from peerlearn.report.section import Pages
from peerlearn.report.words import NO_BREAK, amount, counted, joined, number
from peerlearn.results import Arm, Measured, Results, summary

TITLE = "Which network to use"
ABOUT = ("epoch", "of", "since", "from", "value")
"""What `selected` says of a peer beside its metric."""
WIDTH = 79
PAGES = Pages()
Place = Callable[[str, int], str]
"""The folder of the run of an arm and a seed."""


@dataclass(frozen=True)
class Choice:
    """The peer that did best on validation.

    Attributes:
        place: of its seed among those of the arm.
        value: on validation, of `metric`.
        among: how many there were to choose from, and how many of them are as good.
    """

    arm: str
    place: int
    peer: str
    metric: Metric
    value: float
    among: int
    equal: int


@dataclass(frozen=True)
class Shipping:
    """Which network to use: sentences, and commands to type next."""

    sentences: tuple[str, ...]
    commands: tuple[str, ...]

    def lines(self) -> list[str]:
        """For a terminal."""
        said = [
            line
            for sentence in self.sentences
            for line in wrap(
                sentence.replace(NO_BREAK, " "),
                WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
            )
        ]
        return [f"{TITLE}:", *said, *(f"    {command}" for command in self.commands)]


def shipping(
    arms: Mapping[str, Arm],
    seeds: Sequence[int],
    metrics: Catalogue,
    place: Place | None,
    pages: Pages = PAGES,
) -> Shipping | None:
    """What to say of the arms of a run, a comparison or an evaluation; None where nothing is known.

    Args:
        arms: as in `results.json`.
        seeds: in the order of the values there.
        metrics: of the recipe.
        place: the folder of a run, for the commands; None where it is not known.
        pages: says what arms were measured on, and how a network is asked. Where there is something
            that validation cannot see it chooses among the peers of the first arm alone.
    """
    rows, unseen = pages.rows, pages.unseen
    if unseen:
        arms = dict(list(arms.items())[:1])
    if not any(arm.get("peers") for arm in arms.values()):
        return None
    chosen = choice(arms, metrics)
    if chosen is None:
        return _nothing_chosen(arms, seeds, place, pages.ask)
    block, several = arms[chosen.arm], len(arms) > 1 or len(seeds) > 1 or bool(unseen)
    seed = seeds[chosen.place] if chosen.place < len(seeds) else 0
    who = f"peer {chosen.peer}"
    if several:
        who += f" of arm {chosen.arm}, seed {seed}"
    sentences = [_why(who, chosen), _reported(block, chosen, metrics, rows, len(seeds))]
    sentences += [size] if (size := _size(block, chosen.peer)) else []
    sentences += [gain] if (gain := _ensemble(block, chosen, metrics, rows, len(seeds))) else []
    sentences += [unseen] if unseen else []
    if left := [name for name, arm in arms.items() if not arm.get("validation")]:
        verb = "was" if len(left) == 1 else "were"
        who_left = f"Arm {left[0]}" if len(left) == 1 else f"Arms {joined(left)}"
        sentences.append(f"{who_left} {verb} not validated, and so not chosen from.")
    sentences += told_epochs(arms, metrics) + told_calibration(arms, metrics, rows)
    folder = place(chosen.arm, seed) if place is not None else "RUN"
    is_program = "latency_ms" in block.get("sizes", {}).get(chosen.peer, {})
    return Shipping(tuple(sentences), _commands(pages.ask, folder, chosen.peer, is_program))


def shipping_of(
    results: Results, metrics: Catalogue, folder: str, pages: Pages = PAGES
) -> Shipping | None:
    """`shipping` of the content of a `results.json` in `folder`."""
    arms, seeds = results["arms"], results["seeds"]
    if len(arms) == 1 and len(seeds) == 1 and (selected := results.get("selected")):
        ((name, arm),) = arms.items()
        arms = {name: cast(Arm, {"validation": _validated(selected)} | dict(arm))}
    place = cell_of(folder, len(results["arms"]) > 1 or len(seeds) > 1)
    return shipping(arms, seeds, metrics, place, pages)


def _validated(selected: Mapping[str, Mapping[str, Any]]) -> dict[str, Measured]:
    """`validation` of a run that an older version wrote, which says what it selected."""
    return {
        peer: {name: summary([value]) for name, value in known.items() if name not in ABOUT}
        for peer, known in selected.items()
    }


def cell_of(folder: str, comparison: bool) -> Place:
    """Where the runs of a folder are: in itself, or in its cells."""
    if not comparison:
        return lambda arm, seed: folder
    return lambda arm, seed: f"{folder}/cells/{arm}/seed-{seed}"


def choice(arms: Mapping[str, Arm], metrics: Catalogue) -> Choice | None:
    """The best on validation among all peers that are in an ensemble, the first of equals.

    None where nothing was validated, or arms were by different metrics.
    """
    found = [
        (name, value, arm, place, peer)
        for arm, block in arms.items()
        for peer, measured in block.get("validation", {}).items()
        if peer in block.get("members", [peer])
        for name, summary in measured.items()
        for place, value in enumerate(_values(summary))
        if value is not None
    ]
    if not found or len({name for name, *_ in found}) > 1:
        return None
    metric = metrics[found[0][0]]
    values = {str(number): value for number, (_, value, *_) in enumerate(found)}
    _, value, arm, place, peer = found[int(metric.best(values))]
    equal = sum(other == value for other in values.values())
    return Choice(arm, place, peer, metric, value, len(found), equal)


def _why(who: str, chosen: Choice) -> str:
    score = f"{chosen.metric.label} {amount(chosen.value, chosen.metric)}"
    if chosen.among == 1:
        return f"{who}, the only one: {score} on validation."
    tied = f", {counted(chosen.equal - 1, 'other')} as good" if chosen.equal > 1 else ""
    alike = " Its rows do not tell them apart." if 2 * chosen.equal > chosen.among else ""
    return f"{who}: best of {chosen.among} on validation ({score}{tied}).{alike}"


def _reported(block: Arm, chosen: Choice, metrics: Catalogue, rows: str, seeds: int) -> str:
    measured = block["peers"].get(chosen.peer, {})
    name = _told(measured, chosen, metrics)
    if name is None:
        return f"Nothing was measured of it on {rows}."
    metric, summary = metrics[name], measured[name]
    text = f"On {rows}: {metric.label} {_at(summary, chosen.place, metric)}"
    if seeds > 1:
        text += f"; mean of peer {chosen.peer} over {seeds} seeds {amount(summary['mean'], metric)}"
    return text + "."


def _told(measured: Mapping[str, Any], chosen: Choice, metrics: Catalogue) -> str | None:
    """The metric to tell on reported rows: that of the choice if a headline, else the main."""
    there = [name for name, each in measured.items() if is_value(each) and not is_of_class(name)]
    if chosen.metric.headline and chosen.metric.name in there:
        return chosen.metric.name
    return metrics.main(there)


def _at(summary: Mapping[str, Any], place: int, metric: Metric) -> str:
    value = _value(summary, place)
    return "–" if value is None else amount(value, metric)


def _value(summary: Mapping[str, Any], place: int) -> float | None:
    values = _values(summary)
    return values[place] if place < len(values) else None


def _values(summary: Mapping[str, Any]) -> list[float | None]:
    """Of every seed; the mean where a file has no more."""
    return list(summary.get("values") or [summary.get("mean")])


def _size(block: Arm, peer: str) -> str:
    sizes = block.get("sizes", {}).get(peer)
    if not sizes or not is_value(sizes.get("parameters")):
        return ""
    text = f"It has {sizes['parameters']['mean']:,.0f} parameters"
    if is_value(draws := sizes.get("draws")):
        text += f" and answers by {counted(round(draws['mean']), 'draw')} of them"
    if is_value(latency := sizes.get("latency_ms")):
        text += f"; where it was trained, one row alone took {_milliseconds(latency['mean'])}"
    return text + "."


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.2g} ms"


def _ensemble(block: Arm, chosen: Choice, metrics: Catalogue, rows: str, seeds: int) -> str:
    """What the ensemble adds, and at what cost."""
    members = block.get("members") or list(block["peers"])
    name = _told(block["peers"].get(chosen.peer, {}), chosen, metrics)
    if len(members) < 2 or name is None or not is_value(block.get("ensemble", {}).get(name)):
        return ""
    metric = metrics[name]
    own, together = block["peers"][chosen.peer][name], block["ensemble"][name]
    alone, all_of_them = (_value(each, chosen.place) for each in (own, together))
    if alone is None or all_of_them is None:
        return ""
    gain = number(all_of_them - alone, metric, signed=True, decimals=metric.decimals + 1)
    unit = " points" if metric.is_fraction else ""
    drawn = [block.get("sizes", {}).get(who, {}).get("draws") for who in members]
    cost = f"{sum(each['mean'] if is_value(each) else 1 for each in drawn):.0f} forwards"
    known = {who: found.get("parameters") for who, found in block.get("sizes", {}).items()}
    sizes = {who: found["mean"] for who, found in known.items() if is_value(found)}
    if sizes.get(chosen.peer) and sizes.keys() >= set(members):
        times = sum(sizes[who] for who in members) / sizes[chosen.peer]
        cost += f" and {times:.1f} × the parameters"
    chance = "; one run, so this may be chance" if seeds == 1 else "; in that run"
    what = f"{gain}{unit} {metric.label} on {rows}{chance}"
    return f"The ensemble of {joined(members)}: {what}. It costs {cost}."


def _nothing_chosen(
    arms: Mapping[str, Arm], seeds: Sequence[int], place: Place | None, ask: str
) -> Shipping | None:
    if len(arms) != 1:
        return None
    ((arm, block),) = arms.items()
    if "members" not in block:
        return None  # of an older version, which did not say
    peers = joined(block["peers"])
    why = "Nothing was validated on rows other than those reported on: no peer is called best."
    folder = place(arm, seeds[0] if seeds else 0) if place is not None else "RUN"
    return Shipping(
        (why, f"Name one: {peers}, or the ensemble."), _commands(ask, folder, "ensemble", False)
    )


def _commands(ask: str, folder: str, peer: str, is_program: bool) -> tuple[str, ...]:
    """What to type next; a program is exported only of a network that was seen to read tensors."""
    folder, ending = shlex.quote(folder), "pt2" if is_program else "safetensors"
    return (
        f"peerlearn {ask.format(run=folder)} --peer {peer}",
        f"peerlearn export {folder} --peer {peer} --out {peer}.{ending}",
        f"peerlearn report {folder}",
    )
