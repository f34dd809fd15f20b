"""`peerlearn cp`: a recipe as a file of one's own."""

from pathlib import Path
from typing import Annotated

import typer


def cp(
    recipe: Annotated[str, typer.Argument(help="A recipe of `peerlearn ls`.", show_default=False)],
    dest: Annotated[Path, typer.Argument(help="A new .yaml file.", show_default=False)],
) -> None:
    """Copy a recipe's YAML, with its comments, to change it and run it."""
    from peerlearn.errors import InputError, unknown_name
    from peerlearn.files import write_text
    from peerlearn.systems.registry import RECIPES

    if recipe not in RECIPES:
        raise unknown_name("recipe", recipe, RECIPES)
    if dest.suffix not in (".yaml", ".yml"):
        raise InputError(f"{dest}: a recipe file ends in .yaml or .yml")
    if dest.exists():
        raise InputError(f"{dest}: exists and is never overwritten; choose another name")
    write_text(dest, RECIPES[recipe].default_text())
    print(f"{dest}: yours to change\ncheck it: peerlearn validate {dest}")
