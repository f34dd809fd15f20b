"""`peerlearn compare`: arms × seeds, with paired intervals."""

from pathlib import Path
from typing import Annotated

import typer

from peerlearn.cli.options import (
    DataOption,
    OverridesArgument,
    RecipeArgument,
    ResumeOption,
    gathered_overrides,
    out_folder,
    parse_numbers,
    resumable,
)


def compare(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    data: DataOption = None,
    arms: Annotated[
        str | None, typer.Option(help="Arms, such as mutual,independent.", show_default="all")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0-4 or 0,3,7.")] = "0-2",
    out: Annotated[
        Path | None, typer.Option(help="Folder.", show_default="runs/compare-RECIPE-N")
    ] = None,
    resume: ResumeOption = False,
) -> None:
    """Train every arm with every seed and say what differs, with 95 % intervals."""
    from peerlearn.cli.progress import GridProgress
    from peerlearn.cli.reporting import report_beside
    from peerlearn.cli.tables import console
    from peerlearn.compare.grid import plan_cells, run_grid
    from peerlearn.report.terminal import comparison_table
    from peerlearn.systems.overrides import apply_overrides
    from peerlearn.systems.registry import find_recipe

    check_resumed(out, resume)
    found, given = find_recipe(recipe)
    changes = gathered_overrides(overrides, data)
    chosen = [arm.strip() for arm in arms.split(",")] if arms is not None else None
    cells = plan_cells(found, given, changes, chosen, parse_numbers(seeds, "--seeds"))
    folder = out_folder(out, f"compare-{found.name}")
    with resumable(folder), GridProgress(cells) as progress:
        results = run_grid(
            found, apply_overrides(given, changes), cells, folder, resume, progress.observe
        )
    console().print(comparison_table(results, found.metrics))
    report_beside(folder)


def check_resumed(out: Path | None, resume: bool) -> None:
    """See that `--resume` has something to continue, or a new folder to start in.

    The latter lets several processes share a comparison, each started by the same command.

    Raises:
        InputError: no `--out`, or something else in it.
    """
    from peerlearn.errors import InputError

    if not resume:
        return
    if out is None:
        raise InputError("--resume: name the folder to continue with --out")
    if (out / "env.json").exists():
        raise InputError(f"--resume: {out} holds a single run; continue it with peerlearn run")
    if not (out / "config.yaml").exists() and out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"--resume: {out} holds no comparison (no config.yaml); choose another --out"
        )
