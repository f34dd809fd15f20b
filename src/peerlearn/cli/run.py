"""`peerlearn run`: train one arm with one seed."""

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
    resumable,
)


def run(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    data: DataOption = None,
    seed: Annotated[int | None, typer.Option(help="Key of weights, batches and dropout.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="runs/RECIPE-N")
    ] = None,
    resume: ResumeOption = False,
) -> None:
    """Train a cohort and write a run folder with results and a report."""
    from peerlearn.cli.progress import EpochProgress
    from peerlearn.cli.reporting import report_beside
    from peerlearn.systems.recipe import run_recipe
    from peerlearn.systems.registry import find_recipe

    check_resumed(out, resume)
    found, given = find_recipe(recipe)
    changes = gathered_overrides(overrides, data) | ({} if seed is None else {"seed": seed})
    config = found.resolve(given, changes)
    folder = out_folder(out, found.name)
    with resumable(folder), EpochProgress(config.epochs, config.evaluation.metric) as progress:
        results = run_recipe(found, config, folder, resume, progress.observe)
    progress.summarise(results, found.metrics)
    report_beside(folder)


def check_resumed(out: Path | None, resume: bool) -> None:
    """See that `--resume` has a run to continue.

    Raises:
        InputError: no `--out`, no run in it, or a comparison.
    """
    from peerlearn.errors import InputError

    if not resume:
        return
    if out is None:
        raise InputError("--resume: name the run folder to continue with --out")
    if (out / "cells").is_dir():
        raise InputError(f"--resume: {out} holds a comparison; continue it with peerlearn compare")
    if not (out / "config.yaml").exists():
        what = "holds no run (no config.yaml)" if out.exists() else "does not exist"
        raise InputError(f"--resume: {out} {what}; leave --resume out to start one there")
