"""How a published system is run: one arm with one seed, in a folder that can be gone on with."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from peerlearn import results
from peerlearn.engine.description import beginning
from peerlearn.engine.growth import growth_note
from peerlearn.engine.result import TrainingResult
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.shared_stages import SharedStages
from peerlearn.engine.trainer import Observer
from peerlearn.engine.transports import agreed, leads_launch
from peerlearn.files import write_json
from peerlearn.provenance import made_by
from peerlearn.results import Results
from peerlearn.row_scores import write_row_scores
from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.contract import Task, trainer_of
from peerlearn.tasks.kept_data import DataKeeper


def run_recipe(
    recipe: Recipe,
    config: Any,
    out: Path | None = None,
    resume: bool = False,
    observe: Observer | None = None,
    shared: Path | None = None,
    kept: DataKeeper | None = None,
) -> Results:
    """Train one arm with one seed and write its run folder; the content of `results.json`.

    Args:
        recipe: the system.
        config: from `Recipe.resolve`.
        out: run folder; None writes nothing.
        resume: continue what the folder holds, or return its results if it is finished.
        observe: is told what begins, and of every step and epoch.
        shared: folder of stages that other runs may have had before; None to train all of them.
        kept: data that other runs may have read before; None to read them.

    Raises:
        InputError: the configuration, the data or the folder cannot be used, or another process
            writes the folder.
        RunError: training or writing failed.
    """
    folder = RunFolder(out) if out is not None else None
    if folder is not None and resume and folder.finished(config.dump(), config.completed):
        return results.load_run(folder.results)  # which may be in a place that cannot be written
    with folder.held() if folder is not None and leads_launch() else nullcontext():
        return _run_in(recipe, config, folder, resume, observe, shared, kept)


def _run_in(
    recipe: Recipe,
    config: Any,
    folder: RunFolder | None,
    resume: bool,
    observe: Observer | None,
    shared: Path | None,
    kept: DataKeeper | None,
) -> Results:
    # Asked first: the networks and data of what is finished need not be made again.
    if folder is not None and resume and folder.finished(config.dump(), config.completed):
        return results.load_run(folder.results)
    task = recipe.task.load(config, kept=kept)
    if folder is not None and resume:
        known = (config.dump(), task.fingerprint, config.completed)
        if agreed(lambda: folder.found_moved(*known)):
            return results.load_run(folder.results)
    return run_task(task, config, folder, resume, observe, shared)[1]


def run_task(
    task: Task[Any, Any, Any],
    config: Any,
    folder: RunFolder | None = None,
    resume: bool = False,
    observe: Observer | None = None,
    shared: Path | None = None,
) -> tuple[TrainingResult, Results]:
    """Train a task that was made by `config`, and write its folder, which this process holds.

    Raises InputError, RunError: as `run_recipe`.
    """
    trainer = trainer_of(task)
    if folder is not None:
        if leads_launch():
            grown = folder.open(config.dump(), resume, config.completed)
            folder.check_data(task.fingerprint)
            if grown and observe is not None:
                observe({"event": "note", "text": growth_note(grown)})
            write_json(folder.info, task.info.model_dump())  # a run that is cut short has it too
        trainer.folder, folder.about = folder, task.about
    if observe is not None:
        trainer.observe = observe
    if shared is not None:
        trainer.shared = SharedStages(shared, task.fingerprint)
    name, data, arm = config.recipe, config.data.short_name, config.arm or config.recipe
    trainer.observe(beginning(trainer) | {"arm": arm})
    result = trainer.run(resume)
    measured = results.of_one_seed(name, data, config.seed, arm, result.block)
    results.describe(measured, config.own_metrics)
    measured["selected"] = result.selected
    measured["made_by"] = [made_by(trainer.device)]
    if odd := results.unlike_planned(result.history):
        measured["stages"] = odd
    if said := task.account.lines():
        measured["account"] = said
    if folder is not None and trainer.transport.leads:
        if result.info is not None:
            write_json(folder.info, result.info.model_dump())
        if result.row_scores:  # first: whatever is finished has them
            write_row_scores(folder.rows, result.row_scores, task.row_set())
        results.save(folder.results, measured)
    agreed(lambda: None)  # all of a launch go on when everything is written
    return result, measured
