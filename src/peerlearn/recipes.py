"""Recipes as Python objects: what the command line does, from a script or a notebook."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peerlearn.compare.grid import plan_cells, run_grid
from peerlearn.files import free_folder
from peerlearn.results import Results
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.recipe import Recipe, run_recipe
from peerlearn.systems.registry import find_recipe


@dataclass(frozen=True)
class BoundRecipe:
    """A recipe with its changes, ready to run."""

    system: Recipe
    given: Mapping[str, Any]
    changes: Mapping[str, Any]

    @property
    def config(self) -> Any:
        """The resolved, typed configuration."""
        return self.system.resolve(self.given, self.changes)

    def run(self, seed: int = 0, out: str | Path | None = None, resume: bool = False) -> Results:
        """Train one arm with one seed; the content of `results.json`.

        Args:
            seed: key of initial weights, batches and dropout.
            out: run folder; None writes nothing.
            resume: continue what `out` holds.
        """
        config = self.system.resolve(self.given, dict(self.changes) | {"seed": seed})
        return run_recipe(self.system, config, None if out is None else Path(out), resume)

    def compare(
        self,
        out: str | Path | None = None,
        arms: Sequence[str] | None = None,
        seeds: Iterable[int] = range(3),
        resume: bool = False,
    ) -> Results:
        """Train arms × seeds and compare them; the content of `results.json`.

        Args:
            out: folder of the comparison, whose cells are run folders; None for the first free
                `runs/compare-RECIPE-N`, as on the command line.
            arms: those of the recipe by name; None for all.
            seeds: of every arm; equal seeds have equal initial weights and batches.
            resume: continue what `out` holds.
        """
        cells = plan_cells(self.system, self.given, self.changes, arms, list(seeds))
        given = apply_overrides(self.given, self.changes)
        folder = free_folder(f"compare-{self.system.name}") if out is None else Path(out)
        return run_grid(self.system, given, cells, folder, resume)


def recipe(
    name_or_file: str | Path, changes: Mapping[str, Any] | None = None, **more: Any
) -> BoundRecipe:
    """A recipe by name or file.

    ```python
    peerlearn.recipe("dml", {"peers.b.model": "resnet8"}, data="digits", epochs=10).run(seed=0)
    ```

    Args:
        name_or_file: as on the command line.
        changes: dotted keys and their values.
        **more: top-level keys.

    Raises:
        InputError: unknown names and values, all at once.
    """
    system, given = find_recipe(str(name_or_file))
    bound = BoundRecipe(system, given, dict(changes or {}) | more)
    _ = bound.config  # whatever is wrong is said here, not at the first run
    return bound
