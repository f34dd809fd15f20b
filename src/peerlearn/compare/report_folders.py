"""What the report reads: a run or compare folder as a study."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from peerlearn.compare.report_clusters import Sheets, read_sheets
from peerlearn.compare.report_gallery import Gallery, read_gallery
from peerlearn.compare.report_words import printable
from peerlearn.errors import InputError, unknown_name
from peerlearn.files import read_json

Json = dict[str, Any]


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
    arms: dict[str, Json]
    differences: list[Json] = field(default_factory=list)
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
    results = _object(_printable(read_json(path)), path, "the file")
    arms = _object(results.get("arms"), path, "arms")
    if not arms:
        raise InputError(f"{path}: arms is empty; expected at least one arm")
    arms = {name: _read_arm(arm, path, name) for name, arm in arms.items()}
    seeds = _read_seeds(results, path)
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
        differences=_read_differences(results, path, arms),
        epochs=epochs,
        config={"config.yaml": config} if config else {},
        env=_object(_printable(read_json(env_file)), env_file, "the file") if env_file else {},
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


def _read_arm(arm: Any, path: Path, name: str) -> Json:
    arm = dict(_object(arm, path, f"arms.{name}"))
    for part in ("peers", "mean_peer", "ensemble", "cost", "reliability", "between_peers"):
        arm[part] = _object(arm.get(part) or {}, path, f"arms.{name}.{part}")
    for part in ("sizes", "class_weights"):
        for peer, values in _object(arm.get(part) or {}, path, f"arms.{name}.{part}").items():
            _object(values, path, f"arms.{name}.{part}.{peer}")
    for part in arm["between_peers"]:
        _object(arm["between_peers"][part], path, f"arms.{name}.between_peers.{part}")
    for part in ("flatness", "noise"):
        if part in arm:
            _object(arm[part], path, f"arms.{name}.{part}")
    for peer, metrics in arm["peers"].items():
        _object(metrics, path, f"arms.{name}.peers.{peer}")
    edges = arm.get("edges") or []
    if not isinstance(edges, list) or not all(
        isinstance(edge, dict) and {"from", "to"} <= edge.keys() for edge in edges
    ):
        raise InputError(f"{path}: arms.{name}.edges must be a list of objects with from and to")
    arm["edges"] = edges
    return arm


def _read_differences(results: Json, path: Path, arms: Json) -> list[Json]:
    entries = results.get("differences") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: differences must be a list of objects")
    for index, entry in enumerate(entries):
        if missing := {"arm", "against", "who", "metric", "mean"} - entry.keys():
            raise InputError(f"{path}: differences[{index}] lacks {', '.join(sorted(missing))}")
        if entry["arm"] not in arms:
            raise unknown_name("arm", str(entry["arm"]), arms, f"{path}: differences[{index}].arm")
    return [entry for entry in entries if _is_number(entry["mean"])]


def _read_seeds(results: Json, path: Path) -> tuple[int, ...]:
    seeds = results.get("seeds") or []
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds):
        raise InputError(f"{path}: seeds must be a list of integers, found {seeds!r}")
    return tuple(seeds)


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
    lines = _read_text(path).split("\n")
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
            event = _printable(event)
            key = (str(event.get("stage", "")), str(event.get("epoch", len(events))))
            events.pop(key, None)
            events[key] = event
    return list(events.values())


def _read_text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return _printable(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not readable as UTF-8 text: {error}") from error


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return value


def _object(value: Any, path: Path, name: str) -> Json:
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise InputError(f"{path}: {name} must be a JSON object, found {found}")
    return value


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
