"""The HTML report: one file that shows what was trained and what came of it.

The page needs nothing but itself: style and figures are inside, there is no script, and its
content security policy forbids every request. The same folders give the same bytes.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peerlearn.compare.folders import peer_models, read_experiments, seeds_text
from peerlearn.engine.continuing import flatten
from peerlearn.files import write_text
from peerlearn.provenance import maker_words, mixture_words
from peerlearn.report.agreement import agreement
from peerlearn.report.claims import claims
from peerlearn.report.confusion import confusion
from peerlearn.report.cost import cost
from peerlearn.report.curves import curves
from peerlearn.report.experiment import Experiment
from peerlearn.report.figures import arm_styles, require_report_extra
from peerlearn.report.forest import forest
from peerlearn.report.open_edges import open_edges
from peerlearn.report.posteriors import posteriors
from peerlearn.report.reliability import flatness, noise, reliability
from peerlearn.report.section import Drawer, Maker, Section
from peerlearn.report.shipping import Shipping, cell_of, shipping
from peerlearn.report.tables import by_class, comparison, tiles
from peerlearn.report.transfer_graph import class_weights, transfer
from peerlearn.report.uncertainty import corruption, selective, strange_rows
from peerlearn.report.words import counted, joined, outcomes

if TYPE_CHECKING:
    from markupsafe import Markup

SECTIONS: Mapping[str, Maker | None] = {
    "classes": None,  # a table of the page itself
    "forest": forest,
    "confusion": confusion,
    "curves": curves,
    "open": open_edges,
    "posteriors": posteriors,
    "reliability": reliability,
    "selective": selective,
    "ood": strange_rows,
    "agreement": agreement,
    "weights": class_weights,
    "flatness": flatness,
    "noise": noise,
    "corruption": corruption,
    "cost": cost,
}
"""What every experiment can have, in the order of the page."""


def write_report(folders: Sequence[Path], out: Path, brief: bool = False) -> Path:
    """Write the report of run and compare folders as one self-contained HTML file.

    Runs of one recipe on the same data that differ by arm or seed are compared with each other;
    otherwise every folder gets a section of its own, in the order given. Parts a folder does not
    have are left out. Missing parent folders of `out` are made, and `out` is returned. To draw all
    figures takes longer than to train a small network: a `brief` page has only their captions in
    place of the transfer graph of two peers and of the maps of confusion, calibration, coverage,
    agreement and cost, and says how to get them.

    Raises InputError: no folder, a file in one that is missing or broken (named), or the `report`
    extra is not installed.
    """
    require_report_extra()
    write_text(Path(out), _render(read_experiments(folders), brief))
    return Path(out)


def _render(experiments: Sequence[Experiment], brief: bool) -> str:
    from jinja2 import Environment, StrictUndefined

    references = {entry.against for one in experiments for entry in one.differences}
    styles = arm_styles((arm for one in experiments for arm in one.arms), references)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unbroken"] = _unbroken
    template = environment.from_string(_read("report.html.j2"))
    with ExitStack() as opened:
        parts = [
            _part(Drawer(one, styles, f"s{index}", opened, brief))
            for index, one in enumerate(experiments, start=1)
        ]
    title = " · ".join(dict.fromkeys(part["title"] for part in parts))
    return template.render(title=title, css=_read("report.css"), parts=parts)


def _part(draw: Drawer) -> dict[str, Any]:
    """One experiment as the template takes it."""
    experiment = draw.experiment
    table, further = comparison(experiment)
    sentences = outcomes(experiment.differences, experiment.metrics)
    said = claims(experiment.differences, experiment.arms, experiment.metrics)
    return {
        "key": draw.key,
        "title": f"{experiment.title} on {experiment.data}",
        "headline": sentences[0] if sentences else _no_comparison(experiment),
        "outcomes": sentences[1:] + [" ".join(said)] * bool(said),
        "trained": _trained(experiment),
        "folders": [str(folder) for folder in experiment.folders],
        "made_by": _made_by(experiment),
        "tiles": tiles(experiment),
        "transfer": transfer(draw),
        "table": table,
        "further": further,
        "classes": by_class(experiment),
        "measured": experiment.pages.measured,
        "against": joined(dict.fromkeys(entry.against for entry in experiment.differences)),
        "seeds": len(experiment.seeds),
        "sections": [section for section in _sections(draw) if section.filled],
        "whole_page": _whole_page(draw),
        "styles": draw.styles,
        "use": _use(experiment),
        "config": experiment.config,
        "env": _environment(experiment.env),
        "commands": experiment.commands,
    }


def _sections(draw: Drawer) -> Iterator[Section]:
    for name, maker in SECTIONS.items():
        if maker is not None:
            yield maker(draw)
        for own in draw.experiment.pages.sections.get(name, ()):
            yield own(draw)


def _whole_page(draw: Drawer) -> str:
    """What to type for the figures that were left out; empty where none were."""
    folders = map(str, draw.experiment.folders)
    return shlex.join(["peerlearn", "report", *folders]) if draw.left_out else ""


def _use(experiment: Experiment) -> Shipping | None:
    """Which network to use; folders as they were typed, so that commands can be typed there too."""
    arms, seeds, place = experiment.arms, experiment.seeds, None
    if len(experiment.folders) == 1:
        folder = experiment.folders[0]
        place = cell_of(str(folder), (folder / "cells").is_dir())
    return shipping(arms, seeds, experiment.metrics, place, experiment.pages)


def _unbroken(sentence: str) -> "Markup":
    """Escape a sentence and keep each of its intervals on one line."""
    from markupsafe import Markup, escape

    parts = re.split(r"(95 % interval \[[^\]]*\]|[+−]?\d\S*(?: points)?(?: \[[^\]]*\])?)", sentence)
    kept = [
        Markup('<span class="keep">{}</span>').format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    ]
    return Markup("").join(kept)


def _no_comparison(experiment: Experiment) -> str:
    """The headline where nothing was compared: what one arm reached, and no more."""
    found = [tile for tile in tiles(experiment) if tile.title != "training time"]
    reached = joined(f"{tile.title} {tile.value}" for tile in found)
    arm = joined(experiment.arms)
    text = f"{arm} reaches {reached}" if reached else f"{arm} was trained"
    seeds = len(experiment.seeds)
    measured = "one seed: no interval" if seeds == 1 else counted(seeds, "seed")
    return f"{text} ({measured}; nothing to compare with)."


def _trained(experiment: Experiment) -> list[tuple[str, str]]:
    """What was trained, as names and values."""
    models, seeds = peer_models(experiment), experiment.seeds
    peers = [f"{peer} ({models[peer]})" if peer in models else peer for peer in experiment.peers]
    rows = [
        ("recipe", experiment.recipe),
        ("data", experiment.data),
        ("read", "; ".join(experiment.account)),
        ("peers", ", ".join(peers)),
        ("seeds", f"{len(seeds)} ({seeds_text(seeds)})" if seeds else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _made_by(experiment: Experiment) -> str:
    """One sentence about what made the results; empty where the files do not say it."""
    entries = experiment.made_by
    if mixed := mixture_words(entries):
        return f"{mixed[0].upper()}{mixed[1:]}."
    return f"Made by {maker_words(entries[0])}." if entries else ""


def _environment(env: dict[str, Any]) -> list[tuple[str, str]]:
    """env.json as rows; nested names are joined by dots."""
    rows = [(name, "–" if value is None else value) for name, value in flatten(env).items()]
    return [(n, " ".join(map(str, v)) if isinstance(v, list) else str(v)) for n, v in rows]


def _read(name: str) -> str:
    return resources.files("peerlearn.compare").joinpath(name).read_text(encoding="utf-8")
