"""Recipes as Python objects: what the command line does, from a script or a notebook."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from peerlearn.compare.cells import plan_cells
from peerlearn.compare.grid import run_grid
from peerlearn.compare.ray_cluster import Cluster
from peerlearn.data.arrays import KEYS
from peerlearn.data.catalogue import IN_PYTHON
from peerlearn.data.given import ALIASES, PARTS
from peerlearn.engine.continuing import check_begun
from peerlearn.files import free_folder
from peerlearn.results import Results
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.recipe import Recipe
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.contract import Task

ROWS = {*PARTS, *ALIASES, *KEYS, "edge_index"}
"""Keys of mappings that hold rows; others say where rows are."""


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

        Raises InputError: no run to continue in `out`, or a change that the arm takes back.
        """
        if resume:
            check_begun(None if out is None else Path(out), "resume", "out")
        changes = dict(self.changes) | {"seed": seed}
        config = self.system.resolve(self.given, changes)
        self.system.check_kept(self.given, changes)
        return run_recipe(self.system, config, None if out is None else Path(out), resume)

    def compare(
        self,
        out: str | Path | None = None,
        arms: Sequence[str] | None = None,
        seeds: Iterable[int] = range(3),
        resume: bool = False,
        jobs: int | Literal["auto"] = 1,
        cluster: str | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
    ) -> Results:
        """Train arms × seeds and compare them; the content of `results.json`.

        Args:
            out: folder of the comparison, whose cells are run folders; None for the first free
                `runs/compare-RECIPE-N`, as on the command line.
            arms: those of the recipe by name; None for all.
            seeds: of every arm; equal seeds have equal initial weights and batches.
            resume: continue what `out` holds.
            jobs: cells to train at once, in processes of their own; auto for one a core.
            cluster: `ray` or `ray:ADDRESS`, whose nodes train the cells; see `--cluster`.
            cpus, gpus: that a cell asks of the cluster, as `--cpus` and `--gpus`.

        Raises InputError, RunError: as `run_grid`.
        """
        on = None if cluster is None else Cluster.typed(cluster, cpus, gpus)
        cells = plan_cells(self.system, self.given, self.changes, arms, list(seeds))
        given = apply_overrides(self.given, self.changes)
        folder = free_folder(f"compare-{self.system.name}") if out is None else Path(out)
        return run_grid(self.system, given, cells, folder, resume, jobs=jobs, cluster=on)


def _names_data(given: Any) -> bool:
    """Whether a value says where rows are rather than being them."""
    if isinstance(given, Mapping):
        return not given or "name" in given or not (set(given) & ROWS)
    return given is None or isinstance(given, str)


def _of_data(task: type[Task[Any, Any, Any]], data: Any) -> type[Task[Any, Any, Any]]:
    """The same task on rows at hand."""

    def found(cls: type[Task[Any, Any, Any]], config: Any) -> Any:
        return cls.given(config, data)

    return type(task.__name__, (task,), {"found": classmethod(found), "__module__": __name__})


def recipe(
    name_or_file: str | Path,
    changes: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
    **more: Any,
) -> BoundRecipe:
    """A recipe by name or file.

    ```python
    peerlearn.recipe("dml", {"peers.b.model": "resnet8"}, data="digits", epochs=10).run(seed=0)
    ```

    Args:
        name_or_file: as on the command line.
        changes: dotted keys and their values.
        trust: allow code that the `config.yaml` of a run folder names by `python:`.
        **more: top-level keys. `data` may be rows at hand: what `peerlearn.fit` takes where rows
            are classified; a torch-geometric `Data` for nodes, a list or data set of them for
            graphs. Choices of rows are then keys such as `{"data.train_size": 100}`.

    Raises:
        InputError: unknown names and values, all at once.
    """
    system, given = find_recipe(str(name_or_file), trust)
    changed = dict(changes or {}) | more
    if isinstance(changed.get("data"), Path):
        changed["data"] = str(changed["data"])
    if "data" in changed and not _names_data(changed["data"]):
        task = _of_data(system.task, changed.pop("data"))
        system = replace(system, find_task=lambda: task)
        changed = {"data.name": IN_PYTHON} | changed
    bound = BoundRecipe(system, given, changed)
    _ = bound.config  # whatever is wrong is said here, not at the first run
    return bound
