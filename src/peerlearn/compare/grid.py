"""Arms × seeds: every cell a run of its own, finished cells kept, results paired by seed."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peerlearn import results
from peerlearn.data.fingerprint import Fingerprint
from peerlearn.engine.continuing import (
    check_same,
    data_changed,
    holds,
    moved_words,
    not_empty,
)
from peerlearn.engine.description import described
from peerlearn.engine.places import PLACES, anchored, begun_in
from peerlearn.engine.run_folder import RunFolder, contents
from peerlearn.engine.transports import agreed, leads_launch
from peerlearn.errors import InputError, RunError, unknown_name
from peerlearn.files import check_inside, write_text
from peerlearn.locks import LOCK, InUseError, held, in_use
from peerlearn.plain_yaml import parse_yaml, read_yaml, to_yaml
from peerlearn.provenance import together
from peerlearn.report.row_tables import read_rows
from peerlearn.report.statistics import differences
from peerlearn.results import Arm, Results, merge
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.recipe import Recipe
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.kept_data import KeptData

LOOK_AGAIN = 0.5
"""Seconds between looks at cells that other processes train."""


@dataclass(frozen=True)
class Cell:
    """One arm with one seed."""

    arm: str
    seed: int
    config: Any

    def folder(self, out: Path) -> Path:
        """Where the run of this cell lives."""
        return out / "cells" / self.arm / f"seed-{self.seed}"


def plan_cells(
    recipe: Recipe,
    given: Mapping[str, Any],
    overrides: Mapping[str, Any],
    arms: Sequence[str] | None,
    seeds: Sequence[int],
) -> list[Cell]:
    """Every cell of the grid, its configuration checked, seeds in the outer loop.

    Without `arms` those of the recipe, but for `equal_arms`.

    Raises InputError: an unknown arm, a seed given twice, or a configuration that does not hold.
    """
    known = apply_overrides(given, overrides).get("arms") or {}
    equal = equal_arms(recipe, given, overrides) if not arms else {}
    chosen = list(arms) if arms else [arm for arm in known if arm not in equal]
    if not chosen:
        raise InputError("arms: nothing to compare; the recipe names no arms")
    for arm in chosen:
        if arm not in known:
            raise unknown_name("arm", arm, known, "--arms")
    if len(set(seeds)) != len(seeds) or not seeds:
        raise InputError(f"--seeds: expected different seeds, found {list(seeds)}")
    return [
        Cell(arm, seed, recipe.resolve(given, dict(overrides) | {"arm": arm, "seed": seed}))
        for seed in seeds
        for arm in chosen
    ]


def equal_arms(
    recipe: Recipe, given: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, str]:
    """Arms that train as an earlier one does with these peers, by name, and that one's name.

    Raises InputError: a configuration that does not hold.
    """
    seen: list[tuple[str, dict[str, Any]]] = []
    equal = {}
    for arm in apply_overrides(given, overrides).get("arms") or {}:
        decides = recipe.resolve(given, dict(overrides) | {"arm": arm}).trains()
        same = next((name for name, other in seen if other == decides), None)
        if same is None:
            seen.append((arm, decides))
        else:
            equal[arm] = same
    return equal


def run_grid(
    recipe: Recipe,
    given: Mapping[str, Any],
    cells: Sequence[Cell],
    out: Path,
    resume: bool = False,
    observe: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Results:
    """Run every cell that is not finished, then put the arms side by side in `results.json`.

    Several processes may work on one folder: a cell that another one holds is left to it. Those
    that `torchrun` started together train each cell together. What the cells were planned from is
    `given`, kept as the folder's `config.yaml`; with `resume` a comparison may be there already.
    `observe` is told what begins (`facts` by arm), and of every
    step, epoch and finished cell, with the cell in it.

    Raises InputError: the folder cannot be used; RunError: a cell failed.
    """
    # Whatever is wrong with an arm is found before the first run.
    first = {cell.arm: cell for cell in reversed(cells) if not (resume and _finished(cell, out))}
    facts, rows, kept = {}, {}, KeptData()
    for arm in reversed(first):
        trainer = recipe.build(first[arm].config, kept)
        facts[arm], rows[arm] = described(trainer), getattr(trainer.task, "fingerprint", {})
        del trainer  # its networks and rows, of which there is room for one arm at a time
    if leads_launch():
        _open(out, given, resume, cells, {arm: (first[arm], rows[arm]) for arm in first})
    if facts:
        observe({"event": "compare", "facts": facts})
    waiting = list(cells)
    while waiting:
        waiting = [cell for cell in waiting if not _try_cell(recipe, cell, out, observe, kept)]
        if waiting:
            time.sleep(LOOK_AGAIN)

    def put_together() -> Results:
        compared = collect(recipe, cells, out)
        results.save(out / "results.json", compared)
        return compared

    return agreed(put_together)


def _finished(cell: Cell, out: Path) -> bool:
    """Whether nothing of a cell is left to do; what is wrong with its folder is said later."""
    try:
        return RunFolder(cell.folder(out)).finished(cell.config.dump(), cell.config.completed)
    except InputError:
        return False


def _try_cell(
    recipe: Recipe,
    cell: Cell,
    out: Path,
    observe: Callable[[dict[str, Any]], None],
    kept: KeptData,
) -> bool:
    """Run a cell, all processes of a launch together; False where others hold it."""
    with ExitStack() as holding:

        def take() -> bool:
            try:
                holding.enter_context(held(cell.folder(out)))
            except InUseError:
                return False
            return True

        if not agreed(take):
            return False
        _run_cell(recipe, cell, out, observe, kept)
    return True


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


def _run_cell(
    recipe: Recipe,
    cell: Cell,
    out: Path,
    observe: Callable[[dict[str, Any]], None],
    kept: KeptData,
) -> None:
    where = {"arm": cell.arm, "seed": cell.seed}
    observe({"event": "cell", "epochs": cell.config.epochs} | where)
    try:
        run_recipe(
            recipe,
            cell.config,
            cell.folder(out),
            resume=True,
            observe=lambda event: observe(event | where),
            shared=out / "shared",
            kept=kept,
        )
    except RunError as error:
        raise RunError(f"arm {cell.arm!r}, seed {cell.seed}: {error}") from error
    observe({"event": "cell done"} | where)


def _check_data(out: Path, cell: Cell, now: Fingerprint) -> bool:
    """Refuse to put new cells beside those of an arm that were trained on other rows.

    False where there are none to compare with.
    """
    config, known = cell.config.dump(), False
    for path in sorted(cell.folder(out).parent.glob("seed-*")):
        folder = RunFolder(path)
        if not (folder.fingerprint.exists() and folder.config.exists()):
            continue
        before = read_yaml(folder.config)
        # Seeds may choose among splits; then the others are left to their own check.
        if _choices(before) != _choices(parse_yaml(to_yaml(config), "config")):
            continue
        if said := folder.data_changes(now):
            raise data_changed(path, [*moved_words(path, before, config), *said])
        known = True
    return known


def _choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of its data but for where they are."""
    data = config.get("data")
    data = data if isinstance(data, Mapping) else {}
    return {key: value for key, value in data.items() if f"data.{key}" not in PLACES}


def _worker(out: Path) -> str | None:
    """A process that trains a cell now, in words."""
    found = (in_use(lock.parent) for lock in sorted(out.glob(f"cells/*/*/{LOCK}")))
    return next((who for who in found if who is not None), None)


def _open(
    out: Path,
    given: Mapping[str, Any],
    resume: bool,
    cells: Sequence[Cell],
    rows: Mapping[str, tuple[Cell, Fingerprint]],
) -> None:
    """Start the folder or go on with it; `rows` are a cell of each arm, and its data."""
    config = out / "config.yaml"
    if config.exists():
        if not resume:
            raise holds(out, "a comparison", _worker(out))
        for path in (out / "shared", *(cell.folder(out) for cell in cells)):
            check_inside(out, path)
        before = read_yaml(config)
        # Where the data moved, cells tell whether they are the same; then they may be anywhere.
        known = [_check_data(out, cell, now) for cell, now in rows.values()]
        # Arms may have come; a changed one is refused by its cells.
        if check_same(out, before, given, PLACES if any(known) else ()):
            (out / "results.json").unlink(missing_ok=True)  # of fewer epochs
        given = anchored(given, before, begun_in(out))
    elif contents(out):
        raise not_empty(out)
    write_text(config, to_yaml(dict(given)))
