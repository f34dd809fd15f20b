"""What reports read: run and compare folders, gathered into experiments."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from peerlearn.errors import InputError
from peerlearn.files import read_json, read_text
from peerlearn.importing import code_in
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.plain_yaml import parse_yaml
from peerlearn.provenance import together
from peerlearn.report.experiment import Epochs, Experiment
from peerlearn.report.row_tables import Rows, read_rows
from peerlearn.report.section import Pages
from peerlearn.report.statistics import contrasts, differences, is_finite
from peerlearn.report.words import holds_unprintable, printable
from peerlearn.results import Arm, account_of, check, merge
from peerlearn.results_checks import object_in
from peerlearn.systems.registry import of_file

Json = dict[str, Any]
_NOTHING: Json = {
    **{part: {} for part in ("peers", "mean_peer", "ensemble", "cost")},
    **{part: {} for part in ("reliability", "between_peers")},
    "edges": [],
}


def read_experiments(folders: Sequence[Path]) -> list[Experiment]:
    """Read the folders; runs of one recipe on the same data that differ by arm are compared.

    Raises InputError: no folder given, or a file that is missing, is not readable as what it
    should be, or lacks what the report cannot do without; names the file.
    """
    if not folders:
        raise InputError("report: no folder given; give at least one run or compare folder")
    found = [_read_experiment(Path(folder)) for folder in folders]
    return [_side_by_side(found)] if _belong_together(found) else found


def _read_experiment(folder: Path) -> Experiment:
    path = folder / "results.json"
    if not path.is_file():
        needs = "the report needs a folder written by `peerlearn run` or `peerlearn compare`"
        raise InputError(f"{path}: not found; {needs}")
    results = check(_read_json(path), path)
    name, seeds = str(results.get("recipe", "?")), tuple(results.get("seeds") or ())
    recipe = of_file(name)  # another version may have had others
    metrics = recipe.metrics if recipe else Catalogue(CLASSIFICATION)
    metrics = metrics.told(results.get("metrics"))
    arms = {name: _filled(arm) for name, arm in results["arms"].items()}
    entries = contrasts(results.get("differences") or [], metrics)
    runs = list(_run_folders(folder, tuple(arms), seeds))
    config = _read_text(folder / "config.yaml")
    env_files = [folder / "env.json", *(run / "env.json" for _, _, run in runs)]
    env_file = next((file for file in env_files if file.is_file()), None)
    epochs: dict[str, dict[int, Epochs]] = {}
    galleries: dict[str, Path] = {}
    for arm, seed, run in runs:
        if (gallery := run / "gallery.npz").is_file():
            galleries.setdefault(arm, gallery)
        if events := _read_epochs(run / "metrics.jsonl"):
            epochs.setdefault(arm, {})[seed] = events
    return Experiment(
        folders=(folder,),
        recipe=name,
        title=recipe.title if recipe else name,
        data=str(results.get("data", "?")),
        seeds=seeds,
        arms=arms,
        metrics=metrics,
        pages=recipe.task.pages if recipe else Pages(),
        differences=[entry for entry in entries if is_finite(entry.mean)],
        epochs=epochs,
        config={"config.yaml": config} if config else {},
        env=object_in(_read_json(env_file), env_file, "the file") if env_file else {},
        commands=(_command(folder, tuple(arms), seeds, config),) if config else (),
        galleries=galleries,
        made_by=results.get("made_by") or (),
        account=tuple(account_of(results)),
    )


def peer_models(experiment: Experiment) -> dict[str, str]:
    """The model of each peer as the configuration names it; without those it does not name."""
    models: dict[str, str] = {}
    for config in _configs(experiment):
        peers = config.get("peers")
        for name, peer in peers.items() if isinstance(peers, dict) else ():
            model = _named(peer, "model")
            if isinstance(model := _named(model, "name"), str):
                models.setdefault(str(name), model)
    return models


def _named(value: Any, key: str) -> Any:
    """What is given as a mapping with the key, or by itself."""
    return value.get(key) if isinstance(value, dict) else value


def _configs(experiment: Experiment) -> list[Json]:
    configs = []
    for title, text in experiment.config.items():
        alone = len(experiment.folders) == 1
        config = parse_yaml(text, str(experiment.folders[0] / title) if alone else title)
        configs += [config] if isinstance(config, dict) else []
    return configs


def _belong_together(found: Sequence[Experiment]) -> bool:
    """Whether these are the cells of one comparison.

    They are, where they share recipe and data, no arm has a seed twice, every arm has the same
    seeds, and the runs of one arm have the same configuration but for the seed.
    """
    tasks = {(one.recipe, one.data, _data_as_typed(one)) for one in found}
    if len(found) < 2 or len(tasks) > 1:
        return False
    cells = [(arm, seed) for one in found for arm in one.arms for seed in one.seeds]
    seeds_of: dict[str, set[int]] = {}
    for arm, seed in cells:
        seeds_of.setdefault(arm, set()).add(seed)
    if len(set(cells)) < len(cells) or len({frozenset(seeds) for seeds in seeds_of.values()}) > 1:
        return False
    settings: dict[tuple[str, ...], list[Json]] = {}
    for one in found:
        own = [
            {key: value for key, value in config.items() if key not in ("seed", "seeds", "out")}
            for config in _configs(one)
        ]
        if settings.setdefault(tuple(one.arms), own) != own:
            return False
    return True


def _data_as_typed(experiment: Experiment) -> str:
    """A name or a path; `experiment.data` may be the same for files of different folders."""
    names = (_named(config.get("data"), "name") for config in _configs(experiment))
    return next((name for name in names if isinstance(name, str)), experiment.data)


def _side_by_side(found: Sequence[Experiment]) -> Experiment:
    found = sorted(found, key=lambda one: one.seeds)  # pairs of seeds need one order
    blocks: dict[str, list[Arm]] = {}
    epochs: dict[str, dict[int, Epochs]] = {}
    galleries: dict[str, Path] = {}
    for one in found:
        for arm, block in one.arms.items():
            blocks.setdefault(arm, []).append(block)
            epochs.setdefault(arm, {}).update(one.epochs.get(arm, {}))
        galleries = one.galleries | galleries  # of every arm, that of its first seed
    arms = {arm: merge(runs) if len(runs) > 1 else runs[0] for arm, runs in blocks.items()}
    metrics = found[0].metrics
    entries = differences(arms, metrics=metrics, rows=_rows(found))
    return replace(
        found[0],
        folders=tuple(folder for one in found for folder in one.folders),
        seeds=tuple(sorted({seed for one in found for seed in one.seeds})),
        arms=arms,
        differences=contrasts(entries, metrics),
        epochs={arm: runs for arm, runs in epochs.items() if runs},
        config={
            f"{one.folders[0].resolve().name}/{title}": text
            for one in found
            for title, text in one.config.items()
        },
        env=next((one.env for one in found if one.env), {}),
        commands=tuple(command for one in found for command in one.commands),
        galleries=galleries,
        made_by=_makers(found),
        account=tuple(dict.fromkeys(line for one in found for line in one.account)),
    )


def _rows(found: Sequence[Experiment]) -> Rows:
    """Scores of single test rows by arm, of those arms whose runs all kept them."""
    runs: dict[str, list[Path]] = {}
    for one in found:
        for arm, _, run in _run_folders(one.folders[0], tuple(one.arms), one.seeds):
            runs.setdefault(arm, []).append(run)
    read = {arm: read_rows(folders) for arm, folders in runs.items()}
    return {arm: rows for arm, rows in read.items() if rows is not None}


def _makers(found: Sequence[Experiment]) -> Sequence[Mapping[str, Any]]:
    """What made runs that are put side by side."""
    cells = [(arm, seed, one.made_by) for one in found for arm in one.arms for seed in one.seeds]
    return together(cells)


def _filled(arm: Mapping[str, Any]) -> Arm:
    """The arm with something empty in place of what was not measured."""
    return cast(Arm, _NOTHING | {part: value for part, value in arm.items() if value})


def _run_folders(
    folder: Path, arms: tuple[str, ...], seeds: tuple[int, ...]
) -> Iterator[tuple[str, int, Path]]:
    """(arm, seed, run folder) of everything that was trained."""
    if not (folder / "cells").is_dir():
        yield arms[0], seeds[0] if seeds else 0, folder
        return
    for arm in arms:
        for seed in seeds:
            if (run := folder / "cells" / arm / f"seed-{seed}").is_dir():
                yield arm, seed, run


def _read_epochs(path: Path) -> Epochs:
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


def _read_json(path: Path) -> Any:
    value = read_json(path)
    return _printable(value) if holds_unprintable(read_text(path)) else value


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return value


def _read_text(path: Path) -> str:
    return printable(read_text(path)) if path.exists() else ""


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as the command line takes them: `0-4` for a range, `0,3,7` otherwise."""
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(str(seed) for seed in seeds)


def _command(folder: Path, arms: tuple[str, ...], seeds: tuple[int, ...], config: str) -> str:
    """What to type for the same results, in the folder in which this one's name was typed."""
    trust = " --trust" if code_in(parse_yaml(config, str(folder / "config.yaml"))) else ""
    config = shlex.quote(str(folder / "config.yaml"))
    if not (folder / "cells").is_dir():
        options = f" --seed {seeds[0]}" if len(seeds) == 1 else ""
        return f"peerlearn run {config}{options}{trust}"
    options = f" --arms {shlex.quote(','.join(arms))}"
    if seeds:
        options += f" --seeds {seeds_text(seeds)}"
    options += trust
    return f"peerlearn compare {config}{options}"
