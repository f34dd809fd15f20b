"""Folders gathered into studies: runs that are cells of one comparison are compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peerlearn.compare.report_clusters import Sheets
from peerlearn.compare.report_folders import Json, Study, parse_config, read_study
from peerlearn.compare.report_gallery import Gallery
from peerlearn.compare.statistics import differences
from peerlearn.errors import InputError
from peerlearn.results import Arm, merge


def read_studies(folders: Sequence[Path]) -> list[Study]:
    """Read the folders; runs of one recipe on the same data that differ by arm become one study.

    Raises:
        InputError: no folder given, or a file that is missing, is not readable as what it
            should be, or lacks what the report cannot do without; names the file.
    """
    if not folders:
        raise InputError("report: no folder given; give at least one run or compare folder")
    studies = [read_study(Path(folder)) for folder in folders]
    return [_side_by_side(studies)] if _belong_together(studies) else studies


def _belong_together(studies: Sequence[Study]) -> bool:
    """Whether these are the cells of one comparison.

    They are, where they share recipe and data, no arm has a seed twice, every arm has the same
    seeds, and the runs of one arm have the same configuration but for the seed.
    """
    tasks = {(study.recipe, study.data, _data_as_typed(study)) for study in studies}
    if len(studies) < 2 or len(tasks) > 1:
        return False
    cells = [(arm, seed) for study in studies for arm in study.arms for seed in study.seeds]
    seeds_of = [
        {seed for name, seed in cells if name == arm}
        for arm in dict.fromkeys(arm for arm, _ in cells)
    ]
    if len(set(cells)) < len(cells) or any(seeds != seeds_of[0] for seeds in seeds_of):
        return False
    settings: dict[tuple[str, ...], list[Any]] = {}
    for study in studies:
        settings.setdefault(tuple(study.arms), []).append(_settings(study))
    return all(found == runs[0] for runs in settings.values() for found in runs)


def _settings(study: Study) -> Any:
    return [
        {key: value for key, value in config.items() if key not in ("seed", "seeds", "out")}
        for config in _configs(study)
    ]


def _data_as_typed(study: Study) -> str:
    """A name or a path; `study.data` may be the same for files of different folders."""
    for config in _configs(study):
        data = config.get("data")
        name = data.get("name") if isinstance(data, dict) else data
        if isinstance(name, str):
            return name
    return study.data


def _configs(study: Study) -> list[Json]:
    configs = [parse_config(title, text) for title, text in study.config.items()]
    return [config for config in configs if isinstance(config, dict)]


def _side_by_side(studies: Sequence[Study]) -> Study:
    studies = sorted(studies, key=lambda study: study.seeds)  # pairs of seeds need one order
    first = studies[0]
    blocks: dict[str, list[Arm]] = {}
    epochs: dict[str, dict[int, list[Json]]] = {}
    galleries: dict[str, Gallery] = {}
    sheets: dict[str, Sheets] = {}
    for study in studies:
        for arm, block in study.arms.items():
            blocks.setdefault(arm, []).append(block)
            epochs.setdefault(arm, {}).update(study.epochs.get(arm, {}))
        galleries = study.galleries | galleries  # of every arm, that of its first seed
        sheets = study.sheets | sheets
    arms = {arm: merge(runs) if len(runs) > 1 else runs[0] for arm, runs in blocks.items()}
    return Study(
        folders=tuple(folder for study in studies for folder in study.folders),
        recipe=first.recipe,
        data=first.data,
        seeds=tuple(sorted({seed for study in studies for seed in study.seeds})),
        arms=arms,
        differences=differences(arms),
        epochs={arm: runs for arm, runs in epochs.items() if runs},
        config={
            f"{study.folders[0].resolve().name}/{title}": text
            for study in studies
            for title, text in study.config.items()
        },
        env=next((study.env for study in studies if study.env), {}),
        commands=tuple(command for study in studies for command in study.commands),
        galleries=galleries,
        sheets=sheets,
    )
