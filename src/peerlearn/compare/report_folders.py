"""What the report reads: a run or compare folder as a study."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from peerlearn.compare.report_clusters import Sheets, read_sheets
from peerlearn.compare.report_gallery import Gallery, read_gallery
from peerlearn.compare.report_words import holds_unprintable, printable
from peerlearn.errors import InputError
from peerlearn.files import read_json
from peerlearn.results import Arm, check

Json = dict[str, Any]
_NOTHING: Json = {
    **{part: {} for part in ("peers", "mean_peer", "ensemble", "cost")},
    **{part: {} for part in ("reliability", "between_peers")},
    "edges": [],
}


@dataclass(frozen=True)
class Study:
    """Arms to be looked at side by side: one compare folder, or runs that belong together.

    Attributes:
        folders: the folders it was read from, as given.
        arms: of results.json, by name.
        differences: of results.json.
        epochs: the epoch events of metrics.jsonl by arm and seed; without those that are missing.
        config: the text of config.yaml, by a title; empty where there is none.
        env: env.json of the first run; empty where there is none.
        commands: what to type to get the same results.
        galleries: of the first seed of every arm that has one.
        sheets: contact sheets of clusters, likewise.
    """

    folders: tuple[Path, ...]
    recipe: str
    data: str
    seeds: tuple[int, ...]
    arms: dict[str, Any]
    differences: list[Any] = field(default_factory=list)
    epochs: dict[str, dict[int, list[Json]]] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    env: Json = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    galleries: dict[str, Gallery] = field(default_factory=dict)
    sheets: dict[str, Sheets] = field(default_factory=dict)

    @property
    def peers(self) -> tuple[str, ...]:
        """Names of all peers, in the order in which the arms name them."""
        return tuple(dict.fromkeys(peer for arm in self.arms.values() for peer in arm["peers"]))


def read_study(folder: Path) -> Study:
    """Read one run or compare folder."""
    path = folder / "results.json"
    if not path.is_file():
        raise InputError(
            f"{path}: not found; the report needs a folder written by `peerlearn run` or "
            "`peerlearn compare`"
        )
    results = check(_read_json(path), path)
    arms = {name: _filled(arm) for name, arm in results["arms"].items()}
    seeds = tuple(results.get("seeds") or ())
    runs = _run_folders(folder, tuple(arms), seeds)
    config = _read_text(folder / "config.yaml")
    env_files = [folder / "env.json", *(run / "env.json" for _, _, run in runs)]
    env_file = next((file for file in env_files if file.is_file()), None)
    epochs: dict[str, dict[int, list[Json]]] = {}
    galleries: dict[str, Gallery] = {}
    sheets: dict[str, Sheets] = {}
    for arm, seed, run in runs:
        if arm not in galleries and (gallery := read_gallery(run / "gallery.npz")):
            galleries[arm] = gallery
        if arm not in sheets and (found := read_sheets(run / "gallery.npz")):
            sheets[arm] = found
        if events := _read_epochs(run / "metrics.jsonl"):
            epochs.setdefault(arm, {})[seed] = events
    return Study(
        folders=(folder,),
        recipe=str(results.get("recipe", "?")),
        data=str(results.get("data", "?")),
        seeds=seeds,
        arms=arms,
        differences=[e for e in results.get("differences") or [] if _is_number(e["mean"])],
        epochs=epochs,
        config={"config.yaml": config} if config else {},
        env=_read_json(env_file) if env_file else {},
        commands=(_command(folder, tuple(arms), seeds),) if config else (),
        galleries=galleries,
        sheets=sheets,
    )


def peer_models(study: Study) -> dict[str, str]:
    """The model of each peer as the configuration names it; without those it does not name."""
    models: dict[str, str] = {}
    for title, text in study.config.items():
        config = parse_config(title, text)
        peers = config.get("peers") if isinstance(config, dict) else None
        for name, peer in peers.items() if isinstance(peers, dict) else ():
            model = peer.get("model") if isinstance(peer, dict) else peer
            name_of = model.get("name") if isinstance(model, dict) else model
            if isinstance(name_of, str):
                models.setdefault(str(name), name_of)
    return models


def parse_config(title: str, text: str) -> Any:
    """The YAML of a configuration; `title` names it where it is broken."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{title}: not readable as YAML: {error}") from error


def is_value(value: Any) -> bool:
    """Whether this is a metric value: a mapping with a finite mean."""
    return isinstance(value, dict) and _is_number(value.get("mean"))


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < float("inf")
    )


def _run_folders(
    folder: Path, arms: tuple[str, ...], seeds: tuple[int, ...]
) -> list[tuple[str, int, Path]]:
    """(arm, seed, run folder) of everything that was trained."""
    if not (folder / "cells").is_dir():
        return [(arms[0], seeds[0] if seeds else 0, folder)]
    return [
        (arm, seed, run)
        for arm in arms
        for seed in seeds
        if (run := folder / "cells" / arm / f"seed-{seed}").is_dir()
    ]


def _read_epochs(path: Path) -> list[Json]:
    """The epoch events, the last of each epoch: a resumed run may have written one twice."""
    events: dict[tuple[str, str], Json] = {}
    text = _read_text(path)
    odd, lines = holds_unprintable(text), text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break  # a killed run leaves its last line unfinished
            raise InputError(f"{path}, line {number}: not readable as JSON: {error}") from error
        if isinstance(event, dict) and event.get("event") == "epoch":
            event = _printable(event) if odd else event
            key = (str(event.get("stage", "")), str(event.get("epoch", len(events))))
            events.pop(key, None)
            events[key] = event
    return list(events.values())


def _filled(arm: Mapping[str, Any]) -> Arm:
    """The arm with something empty in place of what was not measured."""
    return cast(Arm, _NOTHING | {part: value for part, value in arm.items() if value})


def _read_json(path: Path) -> Any:
    value = read_json(path)
    return _printable(value) if holds_unprintable(path.read_text(encoding="utf-8")) else value


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return value


def _read_text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return printable(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not readable as UTF-8 text: {error}") from error


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as the command line takes them: `0-4` for a range, `0,3,7` otherwise."""
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(str(seed) for seed in seeds)


def _command(folder: Path, arms: tuple[str, ...], seeds: tuple[int, ...]) -> str:
    # The last part of the path only: the page may travel to machines where the rest is not.
    config = shlex.quote(f"{folder.resolve().name}/config.yaml")
    if not (folder / "cells").is_dir():
        return f"peerlearn run {config}" + (f" --seed {seeds[0]}" if len(seeds) == 1 else "")
    options = f" --arms {shlex.quote(','.join(arms))}"
    if seeds:
        options += f" --seeds {seeds_text(seeds)}"
    return f"peerlearn compare {config}{options}"
