"""The HTML report: one file that shows what was trained and what came of it.

The page needs nothing but itself: style and figures are inside, there is no script, and its
content security policy forbids every request. The same folders give the same bytes.
"""

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peerlearn.compare.figures import drawing_style, require_report_extra
from peerlearn.compare.report_clusters import sheet_walls
from peerlearn.compare.report_figures import Draughtsman, Look, looks
from peerlearn.compare.report_folders import Study, peer_models, seeds_text
from peerlearn.compare.report_gallery import exhibition
from peerlearn.compare.report_studies import read_studies
from peerlearn.compare.report_tables import by_class, comparison, tiles
from peerlearn.compare.report_words import joined, measured_metrics, outcomes, seeds_count, titled
from peerlearn.files import write_text

if TYPE_CHECKING:
    from markupsafe import Markup

_RECIPES = {
    "dml": "Deep mutual learning",
    "renyi": "Rényi mutual learning",
    "gml-node": "Graph mutual learning, nodes",
    "gml-graph": "Graph mutual learning, graphs",
    "gml-mlp": "Graph mutual learning, GNN to MLP",
    "styles-classify": "Learning styles, classification",
    "styles-segment": "Learning styles, segmentation",
    "bayesian": "Bayesian mutual learning",
    "discovery": "Category discovery",
    "music": "Music recommendation",
    "backdoor": "Backdoor defence",
}


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write the report of run and compare folders as one self-contained HTML file.

    Runs of one recipe on the same data that differ by arm or seed are compared with each other;
    otherwise every folder gets a section of its own. Parts a folder does not have are left out.

    Args:
        folders: run or compare folders, in the order in which they are shown.
        out: the file to write; missing parent folders are made.

    Returns:
        `out`.

    Raises:
        InputError: no folder, a file in one that is missing or broken (named), or the `report`
            extra is not installed.
    """
    require_report_extra()
    studies = read_studies(folders)
    out = Path(out)
    write_text(out, _render(studies))
    return out


def _render(studies: Sequence[Study]) -> str:
    from jinja2 import Environment, StrictUndefined

    styles = looks(studies)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unbroken"] = _unbroken
    template = environment.from_string(_read("report.html.j2"))
    with drawing_style():
        sections = [
            _section(study, styles, f"s{index}") for index, study in enumerate(studies, start=1)
        ]
    return template.render(
        title=" · ".join(dict.fromkeys(section["title"] for section in sections)),
        css=_read("report.css"),
        sections=sections,
    )


def _section(study: Study, styles: dict[str, Look], key: str) -> dict[str, Any]:
    told = outcomes(study.differences)
    classes = by_class(study)
    return {
        "key": key,
        "title": f"{_RECIPES.get(study.recipe, study.recipe)} on {study.data}",
        "headline": told[0] if told else _no_comparison(study),
        "outcomes": told[1:],
        "trained": _trained(study),
        "folders": [folder.resolve().name for folder in study.folders],
        "tiles": tiles(study),
        "table": comparison(study),
        "classes": (titled(classes[0]), classes[1]) if classes else None,
        "gallery": exhibition(study.galleries, study.differences),
        "sheets": sheet_walls(study.sheets, study.differences),
        "measured": measured_metrics(study.recipe),
        "against": joined(dict.fromkeys(entry["against"] for entry in study.differences)),
        "seeds": len(study.seeds),
        "groups": Draughtsman(study, styles, key).groups(),
        "looks": {arm: styles[arm] for arm in study.arms},
        "config": study.config,
        "env": _flat(study.env),
        "commands": study.commands,
    }


def _unbroken(sentence: str) -> "Markup":
    """Escape a sentence and keep each of its intervals on one line."""
    from markupsafe import Markup, escape

    parts = re.split(r"(95 % interval \[[^\]]*\]|[+−]?\d\S*(?: points)?(?: \[[^\]]*\])?)", sentence)
    kept = [
        Markup('<span class="keep">{}</span>').format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    ]
    return Markup("").join(kept)


def _no_comparison(study: Study) -> str:
    """The headline where nothing was compared: what one arm reached, and no more."""
    reached = [
        f"{tile.title} {tile.value}" for tile in tiles(study) if tile.title != "training time"
    ]
    arm = joined(study.arms)
    text = f"{arm} reaches {joined(reached)}" if reached else f"{arm} was trained"
    if len(study.seeds) == 1:
        return f"{text} (one seed: no interval; nothing to compare with)."
    return f"{text} ({seeds_count(len(study.seeds))}; nothing to compare with)."


def _trained(study: Study) -> list[tuple[str, str]]:
    """What was trained, as names and values."""
    models = peer_models(study)
    peers = [f"{peer} ({models[peer]})" if peer in models else peer for peer in study.peers]
    seeds = f"{len(study.seeds)} ({seeds_text(study.seeds)})" if study.seeds else ""
    facts = [
        ("recipe", study.recipe),
        ("data", study.data),
        ("peers", ", ".join(peers)),
        ("seeds", seeds),
    ]
    return [(name, value) for name, value in facts if value]


def _flat(env: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """env.json as rows; nested names are joined by dots."""
    rows: list[tuple[str, str]] = []
    for name, value in env.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            rows.append((prefix + name, " ".join(str(item) for item in value)))
        else:
            rows.append((prefix + name, "–" if value is None else str(value)))
    return rows


def _read(name: str) -> str:
    return resources.files("peerlearn.compare").joinpath(name).read_text(encoding="utf-8")
