"""Options of `compare` that spread its cells over processes and machines, and `status`."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from peerlearn.compare.cells import Cell
    from peerlearn.compare.ray_cluster import Cluster
    from peerlearn.results import Results
    from peerlearn.systems.recipe import Recipe

JobsOption = Annotated[
    str | None,
    typer.Option("--jobs", metavar="N|auto", help="Cells at once, in processes.", show_default="1"),
]
WorkerOption = Annotated[
    bool,
    typer.Option("--worker", help="Train cells of --out that are free; leave when none is."),
]
CellOption = Annotated[
    str | None,
    typer.Option(metavar="ARM:SEED|N", help="The one cell that a --worker trains."),
]
PlanOption = Annotated[
    bool, typer.Option("--plan", help="Print a command line for every cell, and train nothing.")
]
SlurmOption = Annotated[
    bool, typer.Option("--slurm", help="Submit an array of Slurm jobs, each a --worker.")
]
ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ray[:ADDRESS]", help="Train cells on nodes of a cluster."),
]
CpusOption = Annotated[
    int | None, typer.Option(help="Of --cluster: for each cell.", show_default="threads, or 1")
]
GpusOption = Annotated[
    float | None,
    typer.Option(help="Of --cluster: for each cell, such as 0.5.", show_default="by device"),
]
PartitionOption = Annotated[str | None, typer.Option(help="Of --slurm, as sbatch takes it.")]
TimeOption = Annotated[str | None, typer.Option(help="Of --slurm: time limit of a task.")]
GresOption = Annotated[str | None, typer.Option(help="Of --slurm, such as gpu:1.")]
TasksOption = Annotated[
    int | None, typer.Option(help="Of --slurm: workers.", show_default="one a cell")
]
RequeueOption = Annotated[
    bool, typer.Option("--requeue", help="Of --slurm: at the time limit, queue the task again.")
]
SbatchOption = Annotated[
    list[str] | None,
    typer.Option("--sbatch", metavar="OPTION", help="Of --slurm: another, such as --mem=8G."),
]


class Spread(NamedTuple):
    """How the cells of a comparison are to be trained, as it was typed."""

    jobs: str | None = None
    worker: bool = False
    cell: str | None = None
    plan: bool = False
    slurm: bool = False
    partition: str | None = None
    time: str | None = None
    gres: str | None = None
    tasks: int | None = None
    requeue: bool = False
    sbatch: Sequence[str] = ()
    cluster: str | None = None
    cpus: int | None = None
    gpus: float | None = None

    @property
    def number(self) -> int | Literal["auto"]:
        """Of jobs. Raises InputError: neither a number nor auto."""
        from peerlearn.errors import InputError

        if self.jobs is None or self.jobs == "auto":
            return "auto" if self.jobs else 1
        try:
            return int(self.jobs)
        except ValueError:
            raise InputError(f"--jobs: {self.jobs!r}; allowed: a number, or auto") from None

    @property
    def on_cluster(self) -> "Cluster | None":
        """What was asked for. Raises InputError: it cannot be asked for."""
        from peerlearn.compare.ray_cluster import Cluster
        from peerlearn.errors import InputError

        if self.cluster is not None:
            return Cluster.typed(self.cluster, self.cpus, self.gpus)
        for name in ("cpus", "gpus"):
            if getattr(self, name) is not None:
                raise InputError(f"--{name}: is an option of --cluster; add --cluster ray")
        return None

    @property
    def joins(self) -> bool:
        """Whether a comparison may be there already, without --resume."""
        return self.worker or self.plan or self.slurm

    def check(self, out: Path | None) -> None:
        """Raise InputError where options contradict or miss each other."""
        from peerlearn.errors import InputError

        _ = self.number
        ways = ("worker", "plan", "slurm", "cluster")
        chosen = [name for name in ways if getattr(self, name) not in (None, False)]
        if len(chosen) > 1:
            raise InputError(f"--{chosen[0]} --{chosen[1]}: choose one of them")
        if self.on_cluster is not None and self.jobs is not None:
            raise InputError(
                "--cluster --jobs: choose one of them; a node trains as many cells at once as it "
                "has CPUs and GPUs for"
            )
        if self.joins and out is None:
            raise InputError(f"--{chosen[0]}: name the folder that all share with --out")
        if self.cell is not None and not self.worker:
            raise InputError("--cell: is one that a --worker trains; add --worker")
        if not self.slurm:
            for name in ("partition", "time", "gres", "tasks", "requeue", "sbatch"):
                if not any(getattr(self, name) is each for each in (None, False, ())):
                    raise InputError(f"--{name}: is an option of --slurm; add --slurm")


class Typed(NamedTuple):
    """A comparison as it was typed, to be typed again for its workers."""

    recipe: str
    overrides: Sequence[str]
    data: str | None
    trust: bool
    jobs: str | None

    def command(self, cells: Sequence["Cell"], out: Path) -> list[str]:
        """Words of a worker, from `compare` on."""
        arms = dict.fromkeys(cell.arm for cell in cells)
        seeds = dict.fromkeys(cell.seed for cell in cells)
        words = ["compare", self.recipe, *self.overrides]
        words += [] if self.data is None else ["--data", self.data]
        words += ["--arms", ",".join(arms), "--seeds", ",".join(map(str, seeds))]
        words += ["--trust"] if self.trust else []
        words += [] if self.jobs is None else ["--jobs", self.jobs]
        return [*words, "--out", str(out), "--worker"]


def spread_elsewhere(
    spread: Spread,
    typed: Typed,
    recipe: "Recipe",
    given: Any,
    cells: Sequence["Cell"],
    out: Path,
) -> bool:
    """Plan the cells, or submit them; False where this process is to train them itself.

    What is submitted is begun: its folder is there, and whatever is wrong with an arm is told here.

    Raises InputError: as `compare.slurm.submit`.
    """
    if spread.plan:
        words = typed.command(cells, out)
        for cell in cells:
            print(shlex.join(["peerlearn", *words, "--cell", cell.name]))
        return True
    if not spread.slurm:
        return False
    from peerlearn.compare.grid import Survey, begin
    from peerlearn.compare.slurm import Array, script_of, submit
    from peerlearn.tasks.kept_data import KeptData

    asked = (spread.partition, spread.time, spread.gres, spread.requeue, spread.sbatch)
    tasks = len(cells) if spread.tasks is None else spread.tasks
    name = re.sub(r"[^\w.-]", "-", Path(typed.recipe).stem)
    array = Array(name, tasks, *asked)
    command = [sys.executable, "-m", "peerlearn", *typed.command(cells, out)]
    script = script_of(array, command, out)
    begin(Survey.of(recipe, cells, KeptData()), given, cells, out, True, lambda event: None)
    job = submit(array, script, out)
    print(f"submitted as job {job}: {tasks} tasks for {len(cells)} cells")
    print(f"see where they are: {shlex.join(['peerlearn', 'status', str(out)])}")
    return True


def train_here(
    spread: Spread,
    recipe: "Recipe",
    given: Any,
    cells: Sequence["Cell"],
    out: Path,
    resume: bool,
    observe: Any,
) -> "Results | None":
    """Train all cells, or those that are free; None where others have some to finish."""
    from peerlearn.compare.grid import run_grid, work

    if not spread.worker:
        where = (spread.number, spread.on_cluster)
        return run_grid(recipe, given, cells, out, resume, observe, *where)
    only = None if spread.cell is None else [chosen_cell(spread.cell, cells)]
    return work(recipe, given, cells, out, observe, only, spread.number)


def chosen_cell(typed: str, cells: Sequence["Cell"]) -> "Cell":
    """The cell of that name, or number from 0 on in the order of --plan.

    Raises InputError: there is none.
    """
    from peerlearn.errors import InputError, unknown_name

    if typed.isdecimal():
        if int(typed) >= len(cells):
            raise InputError(
                f"--cell {typed}: the grid has {len(cells)} cells, 0 to {len(cells) - 1}"
            )
        return cells[int(typed)]
    named = {cell.name: cell for cell in cells}
    if typed not in named:
        raise unknown_name("cell", typed, named, "--cell")
    return named[typed]


def tell_left(cells: Sequence["Cell"], out: Path, only: str | None) -> None:
    """What a worker says that is not the last one; `only`: the cell that it was for."""
    done = sum(cell.finished(out) for cell in cells)
    so_far = f"{done} of {len(cells)} are finished"
    if only is not None:
        name = chosen_cell(only, cells).name
        print(f"cell {name}: nothing is left to do here; {so_far}, peerlearn status tells of all")
        return
    print(
        f"no cell is free: {so_far}, others are being trained; the last worker writes the results"
    )


def status(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a comparison.", show_default=False)
    ],
) -> None:
    """Say which cells of a comparison are done, running (and where), dead or waiting."""
    from peerlearn.cli.screen import console, table
    from peerlearn.compare.slurm import queued
    from peerlearn.compare.status import counted, states

    cells = states(folder)
    rows = [(f"{it.arm}:{it.seed}", it.state, it.where, it.saved) for it in cells]
    console().print(table(["cell", "state", "where", "log"], rows))
    print(f"{len(cells)} cells: {counted(cells)}")
    if said := queued(folder):
        print(said)
    if any(it.state == "dead" for it in cells):
        print("a dead cell is free: any worker takes it, and goes on from where it was saved")
    written = (folder / "results.json").exists()
    print(f"results: {folder / 'results.json' if written else 'not written yet'}")
