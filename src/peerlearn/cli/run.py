"""`peerlearn run`, `compare` and `report`: what trains a recipe, and a page of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peerlearn.cli.grids import (
    CellOption,
    ClusterOption,
    CpusOption,
    GpusOption,
    GresOption,
    JobsOption,
    PartitionOption,
    PlanOption,
    RequeueOption,
    SbatchOption,
    SlurmOption,
    Spread,
    TasksOption,
    TimeOption,
    Typed,
    WorkerOption,
    spread_elsewhere,
    tell_left,
    train_here,
)
from peerlearn.cli.launch import refuse_to_compare
from peerlearn.cli.options import (
    DataOption,
    OverridesArgument,
    RecipeArgument,
    RecipeTrustOption,
    ResumeOption,
    SeedOption,
    check_out_file,
    gathered_overrides,
    out_folder,
    parse_numbers,
)
from peerlearn.cli.stopping import resumable

if TYPE_CHECKING:
    from peerlearn.systems.recipe import Recipe


def run(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    data: DataOption = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="runs/RECIPE-N")
    ] = None,
    resume: ResumeOption = False,
    trust: RecipeTrustOption = False,
) -> None:
    """Train a cohort and write a run folder with results and a report."""
    from peerlearn.cli.output import report_beside, tell_results, tell_shipping
    from peerlearn.cli.progress import EpochProgress
    from peerlearn.engine.run_folder import RunFolder
    from peerlearn.files import is_newer
    from peerlearn.systems.registry import find_recipe
    from peerlearn.systems.running import run_recipe

    if resume:
        check_run(out)
    found, given = find_recipe(recipe, trust)
    changes = gathered_overrides(overrides, data, seed=seed)
    config = found.resolve(given, changes)
    found.check_kept(given, changes)
    folder = out_folder(out, found.name)
    with resumable(folder):
        finished = resume and RunFolder(folder).finished(config.dump(), config.completed)
        if finished:
            print("This run was finished before: nothing is trained. Its results:")
        with EpochProgress(config.epochs, config.evaluation.metric) as progress:
            results = run_recipe(found, config, folder, resume, progress.observe)
        tell_results(results, found, config.evaluation)
        tell_shipping(results, found, folder)
        if not (finished and is_newer(folder / "report.html", folder / "results.json")):
            report_beside(folder, brief=True)


def check_run(out: Path | None) -> None:
    """InputError where `--resume` has no run to continue: no `--out`, no run, or a comparison."""
    from peerlearn.engine.continuing import check_begun

    check_begun(out, "--resume", "--out")


def compare(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    data: DataOption = None,
    arms: Annotated[
        str | None,
        typer.Option(
            help="Arms, such as mutual,independent.", show_default="all that train differently"
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0-4 or 0,3,7.")] = "0-2",
    out: Annotated[
        Path | None, typer.Option(help="Folder.", show_default="runs/compare-RECIPE-N")
    ] = None,
    resume: ResumeOption = False,
    trust: RecipeTrustOption = False,
    jobs: JobsOption = None,
    worker: WorkerOption = False,
    cell: CellOption = None,
    plan: PlanOption = False,
    slurm: SlurmOption = False,
    partition: PartitionOption = None,
    time: TimeOption = None,
    gres: GresOption = None,
    tasks: TasksOption = None,
    requeue: RequeueOption = False,
    sbatch: SbatchOption = None,
    cluster: ClusterOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
) -> None:
    """Train every arm with every seed and say what differs, with 95 % intervals."""
    from peerlearn.cli.closing import closing_lines
    from peerlearn.cli.output import measured_words, report_beside, tell_shipping
    from peerlearn.cli.progress import GridProgress
    from peerlearn.cli.screen import console
    from peerlearn.compare.cells import plan_cells, taken_back_by
    from peerlearn.errors import InputError
    from peerlearn.provenance import mixture_words
    from peerlearn.report.terminal import comparison_table
    from peerlearn.systems.overrides import apply_overrides
    from peerlearn.systems.registry import find_recipe

    refuse_to_compare()
    asked = (partition, time, gres, tasks, requeue, sbatch or ())
    spread = Spread(jobs, worker, cell, plan, slurm, *asked, cluster, cpus, gpus)
    spread.check(out)
    if resume or spread.joins:
        check_comparison(out)
    found, given = find_recipe(recipe, trust)
    changes = gathered_overrides(overrides, data)
    for key, option in (("seed", "--seeds"), ("arm", "--arms")):
        if key in changes:
            raise InputError(f"{key}: say it with {option}")
    notes: list[str] = []
    if arms is not None:
        chosen = [arm.strip() for arm in arms.split(",")]
    else:
        chosen, notes = default_arms(found, given, changes, out)
    cells = plan_cells(found, given, changes, chosen, parse_numbers(seeds, "--seeds"))
    notes += [
        f"{key}: not in {', '.join(f'arm {arm}, which sets {it}' for arm, it in where.items())}"
        for key, where in taken_back_by(found, given, changes, chosen).items()
    ]
    if any(cell.config.transport.kind == "snapshot" for cell in cells):
        raise InputError(
            "transport.kind: 'snapshot' trains one peer of one run, and its folder holds those of "
            "one cohort; use peerlearn run, or mesh to compare"
        )
    folder = out_folder(out, f"compare-{found.name}")
    given = apply_overrides(given, changes)
    typed = Typed(recipe, overrides or [], data, trust, jobs)
    if spread_elsewhere(spread, typed, found, given, cells, folder):
        return
    with resumable(folder):
        with GridProgress(cells, notes) as progress:
            results = train_here(spread, found, given, cells, folder, resume, progress.observe)
        if results is None:
            tell_left(cells, folder, spread.cell)
            return
        console().print(comparison_table(results, found.metrics.told(results.get("metrics"))))
        print(measured_words(found, cells[0].config.evaluation))
        if mixed := mixture_words(results.get("made_by") or []):
            print(f"warning: {mixed}")
        tell_shipping(results, found, folder)
        report_beside(folder)
        for line in closing_lines(results, found, found.task.pages.rows):
            print(line)


def default_arms(
    recipe: "Recipe", given: Mapping[str, Any], changes: Mapping[str, Any], out: Path | None
) -> tuple[list[str], list[str]]:
    """All arms, but for those that train as another does here, unless `out` has begun them.

    And a line about each that is left out.
    """
    from peerlearn.compare.cells import equal_arms
    from peerlearn.systems.overrides import apply_overrides

    equal = equal_arms(recipe, given, changes)
    for arm in list(equal):
        if out is not None and (out / "cells" / arm).is_dir():
            del equal[arm]
    told = [
        f"arm {arm} is left out: with these peers it trains as {same} does "
        "(--arms names those to train)"
        for arm, same in equal.items()
    ]
    arms = apply_overrides(given, changes).get("arms") or {}
    return [arm for arm in arms if arm not in equal], told


def check_comparison(out: Path | None) -> None:
    """InputError where `--resume` has no comparison to continue, nor a new folder to start it in.

    The latter lets several processes share a comparison, each started by the same command.
    """
    from peerlearn.engine.run_folder import contents
    from peerlearn.errors import InputError
    from peerlearn.files import check_writable

    if out is None:
        raise InputError("--resume: name the folder to continue with --out")
    check_writable(out, f"--out {out}", folder=True)
    if (out / "env.json").exists():
        raise InputError(f"--resume: {out} holds a single run; continue it with peerlearn run")
    if not (out / "config.yaml").exists() and contents(out):
        raise InputError(
            f"--resume: {out} holds no comparison (no config.yaml); choose another --out"
        )


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Run or compare folders.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(help="The HTML file to write.", show_default="report.html")
    ] = Path("report.html"),
) -> None:
    """Write one self-contained HTML report of run and compare folders."""
    from peerlearn.compare.report import write_report
    from peerlearn.errors import InputError

    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: a report ends in .html")
    check_out_file(out)
    print(write_report(folders, out))
