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
    new_folder,
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
    from rich.console import Console

    from peerlearn.cli.progress import GridProgress
    from peerlearn.cli.reporting import report_beside
    from peerlearn.compare.grid import plan_cells, run_grid
    from peerlearn.compare.table import comparison_table
    from peerlearn.errors import InputError
    from peerlearn.systems.overrides import apply_overrides
    from peerlearn.systems.registry import find_recipe

    if resume and out is None:
        raise InputError("--resume: name the folder to continue with --out")
    found, given = find_recipe(recipe)
    changes = gathered_overrides(overrides, data)
    cells = plan_cells(found, given, changes, arms.split(",") if arms else None, parse_seeds(seeds))
    folder = new_folder(out, f"compare-{found.name}")
    with GridProgress(cells) as progress:
        results = run_grid(
            found, apply_overrides(given, changes), cells, folder, resume, progress.observe
        )
    Console().print(comparison_table(results))
    report_beside(folder)


def parse_seeds(text: str) -> list[int]:
    """`0-4` or `0,3,7` or a mix of both as a list.

    Raises:
        InputError: anything else.
    """
    from peerlearn.errors import InputError

    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if (
            not first.isdigit()
            or (dash and not last.isdigit())
            or (dash and int(last) < int(first))
        ):
            raise InputError(f"--seeds: {text!r}; expected numbers such as 0-4 or 0,3,7")
        seeds += range(int(first), int(last if dash else first) + 1)
    return seeds
