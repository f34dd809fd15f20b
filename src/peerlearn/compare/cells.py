"""Arms × seeds: every cell a run of its own, which one process at a time may train."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.transports import agreed
from peerlearn.errors import InputError, RunError, unknown_name
from peerlearn.locks import InUseError, Watch, held, holder
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.recipe import Recipe
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.kept_data import DataKeeper

Observe = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Cell:
    """One arm with one seed."""

    arm: str
    seed: int
    config: Any

    def folder(self, out: Path) -> Path:
        """Where the run of this cell lives."""
        return out / "cells" / self.arm / f"seed-{self.seed}"

    def finished(self, out: Path) -> bool:
        """Whether its results are there.

        Raises InputError: the folder holds a run of another configuration.
        """
        return RunFolder(self.folder(out)).finished(self.config.dump(), self.config.completed)

    def on(self, device: str) -> Self:
        """The same on a device."""
        return replace(self, config=self.config.model_copy(update={"device": device}))

    @property
    def name(self) -> str:
        """`mutual:3`: arm and seed, as `--cell` takes them."""
        return f"{self.arm}:{self.seed}"


def plan_cells(
    recipe: Recipe,
    given: Mapping[str, Any],
    overrides: Mapping[str, Any],
    arms: Sequence[str] | None,
    seeds: Sequence[int],
) -> list[Cell]:
    """Every cell of the grid, its configuration checked, seeds in the outer loop.

    Without `arms` those of the recipe, but for `equal_arms`.

    Raises InputError: an unknown arm, a seed given twice, a configuration that does not hold, or an
    override that every arm takes back.
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
    cells = [
        Cell(arm, seed, recipe.resolve(given, dict(overrides) | {"arm": arm, "seed": seed}))
        for seed in seeds
        for arm in chosen
    ]
    for key, where in taken_back_by(recipe, given, overrides, chosen).items():
        if len(where) == len(chosen):
            sets = ", ".join(f"arm {arm} sets {block}" for arm, block in where.items())
            raise InputError(f"{key}: every arm takes it back, so that it would be lost: {sets}")
    return cells


def taken_back_by(
    recipe: Recipe, given: Mapping[str, Any], overrides: Mapping[str, Any], arms: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Overrides that arms take back: of each the arms, and what these set after it."""
    found: dict[str, dict[str, str]] = {}
    for arm in arms:
        for key, block in recipe.lost(given, dict(overrides) | {"arm": arm}).items():
            found.setdefault(key, {})[arm] = block
    return found


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


def try_cell(
    recipe: Recipe, cell: Cell, out: Path, observe: Observe, watch: Watch, kept: DataKeeper
) -> bool:
    """Run a cell, all processes of a launch together; False where others hold it.

    It goes on where another process left it, and is over at once where it was finished before.
    `observe` is told of its events, each with the cell in it; `watch` says which holders are
    dead, and `kept` has the data that other cells have read.

    Raises InputError: its folder holds something else; RunError: it failed, says which cell it is.
    """
    with ExitStack() as holding:

        def take() -> bool:
            try:
                holding.enter_context(held(cell.folder(out), watch))
            except InUseError:
                return False
            return True

        if not agreed(take):
            return False
        _run_cell(recipe, cell, out, observe, kept)
    return True


def all_in_good_hands(cells: Iterable[Cell], out: Path, watch: Watch) -> bool:
    """Whether each of the cells is held by a process that gives signs of life."""
    holders = [holder(cell.folder(out), watch) for cell in cells]
    return all(who is not None and who.alive for who in holders)


def _run_cell(recipe: Recipe, cell: Cell, out: Path, observe: Observe, kept: DataKeeper) -> None:
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
