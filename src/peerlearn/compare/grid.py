"""A grid of cells, trained in this process or beside others, and its arms side by side."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from peerlearn import results
from peerlearn.compare.cells import Cell, Observe, all_in_good_hands, try_cell
from peerlearn.compare.jobs import Jobs
from peerlearn.compare.on_ray import RayCells
from peerlearn.compare.opening import open_grid
from peerlearn.compare.ray_cluster import Cluster
from peerlearn.compare.room import jobs_that_fit, jobs_wanted
from peerlearn.data.fingerprint import Fingerprint
from peerlearn.engine.description import Facts, described
from peerlearn.engine.needs import Needs, needed
from peerlearn.engine.transports import agreed, leads_launch
from peerlearn.errors import InputError
from peerlearn.locks import Watch
from peerlearn.memory import own_memory
from peerlearn.provenance import together
from peerlearn.report.row_tables import read_rows
from peerlearn.report.statistics import differences
from peerlearn.results import Arm, Results, merge
from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.kept_data import DataKeeper, KeptData

LOOK_AGAIN = 0.5
"""Seconds between looks at cells that other processes train."""


def run_grid(
    recipe: Recipe,
    given: Mapping[str, Any],
    cells: Sequence[Cell],
    out: Path,
    resume: bool = False,
    observe: Observe = lambda event: None,
    jobs: int | Literal["auto"] = 1,
    cluster: Cluster | None = None,
) -> Results:
    """Run every cell that is not finished, then put the arms side by side in `results.json`.

    Several processes may work on one folder: a cell that another one holds is left to it. Those
    that `torchrun` started together train each cell together. What the cells were planned from is
    `given`, kept as the folder's `config.yaml`; with `resume` a comparison may be there already.
    `observe` is told what begins (`facts` by arm), and of every
    step, epoch and finished cell, with the cell in it.

    With several `jobs` so many cells are trained at once, each in a process of its own; `auto`:
    one a core, as many as memory allows. With a `cluster` its nodes train the cells.

    Raises InputError: the folder cannot be used, or there is no memory for so many jobs, or the
    cluster cannot be used; RunError: a cell failed.
    """
    if cluster is not None:
        _train_on(cluster, recipe, given, cells, out, resume, observe)
        return finish(recipe, cells, out)
    _train(recipe, given, cells, cells, out, resume, observe, jobs, patient=True)
    return finish(recipe, cells, out)


def work(
    recipe: Recipe,
    given: Mapping[str, Any],
    cells: Sequence[Cell],
    out: Path,
    observe: Observe = lambda event: None,
    only: Sequence[Cell] | None = None,
    jobs: int | Literal["auto"] = 1,
) -> Results | None:
    """Help with a comparison, or begin it: train cells that are free until none is.

    Cells that other processes train are left to them, so the last process that works at it finds
    all of them finished: it writes `results.json`. A cell whose process is dead is free.

    Args:
        recipe, given, cells, out, observe, jobs: as of `run_grid`; `resume` is meant.
        only: those of the cells to train here; None for all.

    Returns:
        The results; None where other processes have cells to finish.

    Raises InputError, RunError: as `run_grid`.
    """
    own = cells if only is None else only
    _train(recipe, given, cells, own, out, True, observe, jobs, patient=False)
    return finish(recipe, cells, out) if all(cell.finished(out) for cell in cells) else None


def _train(
    recipe: Recipe,
    given: Mapping[str, Any],
    cells: Sequence[Cell],
    own: Sequence[Cell],
    out: Path,
    resume: bool,
    observe: Observe,
    jobs: int | Literal["auto"],
    patient: bool,
) -> None:
    """Train `own`, of the cells of a comparison."""
    left = _unfinished(cells, out, resume)
    wanted = jobs_wanted(jobs, len({cell.name for cell in own} & {cell.name for cell in left}))
    if wanted == 1:
        kept = KeptData()
        begin(Survey.of(recipe, left, kept), given, cells, out, resume, observe, patient)
        in_turn(recipe, own, out, kept, observe, patient)
        return
    base = own_memory()
    with Jobs(recipe, out, wanted, observe).ready() as team:
        survey = Survey.of(recipe, left, team.data)
        team.reduce(jobs_that_fit(jobs, wanted, survey.needs, base))
        begin(survey, given, cells, out, resume, observe, patient)
        team.train(own, patient)


def _train_on(
    cluster: Cluster,
    recipe: Recipe,
    given: Mapping[str, Any],
    cells: Sequence[Cell],
    out: Path,
    resume: bool,
    observe: Observe,
) -> None:
    """Train all cells on the nodes of a cluster."""
    with RayCells.ready(recipe, out, cluster, observe) as team:
        team.check(cells)
        # This machine builds every arm, to check it, and need not have a device of theirs.
        left = _unfinished(cells, out, resume)
        survey = Survey.of(recipe, [cell.on("cpu") for cell in left], team.data)
        facts = {arm: team.told(arm, known) for arm, known in survey.facts.items()}
        begin(replace(survey, facts=facts), given, cells, out, resume, observe)
        team.train(cells)


def _unfinished(cells: Sequence[Cell], out: Path, resume: bool) -> list[Cell]:
    """Cells of which something is left to do; what is wrong with a folder is said later."""

    def finished(cell: Cell) -> bool:
        try:
            return cell.finished(out)
        except InputError:
            return False

    return [cell for cell in cells if not (resume and finished(cell))]


@dataclass(frozen=True)
class Survey:
    """What is known of the arms of a grid before the first cell is trained.

    Attributes:
        facts: of each arm that has cells to train, to be told.
        rows: a cell of each arm, and what its data are.
        needs: the memory that each arm takes.
    """

    facts: Mapping[str, Facts]
    rows: Mapping[str, tuple[Cell, Fingerprint]]
    needs: Sequence[Needs]

    @classmethod
    def of(cls, recipe: Recipe, cells: Sequence[Cell], kept: DataKeeper) -> Self:
        """Build every arm of the cells once. Raises InputError: whatever is wrong with one."""
        first = {cell.arm: cell for cell in reversed(cells)}
        facts, rows, needs = {}, {}, []
        for arm in reversed(first):
            trainer = recipe.build(first[arm].config, kept)
            facts[arm] = described(trainer)
            rows[arm] = first[arm], getattr(trainer.task, "fingerprint", {})
            needs.append(needed(trainer))
            del trainer  # its networks and rows, of which there is room for one arm at a time
        return cls(facts, rows, needs)


def begin(
    survey: Survey,
    given: Mapping[str, Any],
    cells: Sequence[Cell],
    out: Path,
    resume: bool,
    observe: Observe,
    longer: bool = True,
) -> None:
    """Start the folder, or join who works there; for more epochs, if it may be `longer`.

    Raises InputError: it cannot be used.
    """
    if leads_launch():
        open_grid(out, given, resume, cells, survey.rows, longer)
    if survey.facts:
        observe({"event": "compare", "facts": survey.facts})


def in_turn(
    recipe: Recipe,
    cells: Sequence[Cell],
    out: Path,
    kept: DataKeeper,
    observe: Observe,
    patient: bool = True,
) -> None:
    """Train the cells that are free, one after the other, until all are finished.

    One that is not `patient` leaves those that other processes train to them.
    """
    watch, waiting = Watch(), list(cells)
    while waiting:
        left = [cell for cell in waiting if not try_cell(recipe, cell, out, observe, watch, kept)]
        if len(left) == len(waiting):
            if not patient and all_in_good_hands(left, out, watch):
                return
            time.sleep(LOOK_AGAIN)
        waiting = left


def finish(recipe: Recipe, cells: Sequence[Cell], out: Path) -> Results:
    """Put the arms of finished cells side by side in `results.json`."""

    def put_together() -> Results:
        compared = collect(recipe, cells, out)
        results.save(out / "results.json", compared)
        return compared

    return agreed(put_together)


def collect(recipe: Recipe, cells: Sequence[Cell], out: Path) -> Results:
    """`results.json` of a comparison from the results of its cells."""
    by_arm: dict[str, list[Arm]] = {}
    makers = []
    account: dict[str, None] = {}  # sentences, each once
    for cell in cells:
        run = results.load(cell.folder(out) / "results.json")
        by_arm.setdefault(cell.arm, []).append(run["arms"][cell.arm])
        makers.append((cell.arm, cell.seed, run.get("made_by") or []))
        account |= dict.fromkeys(results.account_of(run))
    arms = {arm: merge(runs) for arm, runs in by_arm.items()}
    metrics = {each.name: each for cell in cells for each in cell.config.own_metrics}
    catalogue = recipe.metrics.told({name: each.described for name, each in metrics.items()})
    folders = {arm: [cell.folder(out) for cell in cells if cell.arm == arm] for arm in arms}
    rows = {arm: kept for arm in arms if (kept := read_rows(folders[arm])) is not None}
    compared: Results = {
        "schema": results.SCHEMA,
        "recipe": recipe.name,
        "data": cells[0].config.data.short_name,
        "seeds": list(dict.fromkeys(cell.seed for cell in cells)),
        "arms": arms,
        "differences": differences(arms, metrics=catalogue, rows=rows),
        "made_by": together(makers),
    }
    if account:
        compared["account"] = list(account)
    return results.describe(compared, [*metrics.values()])
