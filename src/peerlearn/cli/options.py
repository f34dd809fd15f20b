"""Arguments and options that several verbs share."""

from pathlib import Path
from typing import Annotated, Any

import typer

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe of `peerlearn ls`, or a YAML file.", show_default=False)
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as epochs=60 peers.b.model=mlp"),
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="A data set of `peerlearn ls data`, an .npz file, or a folder."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue what --out holds.")]


def gathered_overrides(overrides: list[str] | None, data: str | None) -> dict[str, Any]:
    """Overrides of the command line as a mapping, `--data` among them."""
    from peerlearn.systems.overrides import parse_assignments

    parsed = parse_assignments(overrides or [])
    return parsed | ({"data.name": data} if data is not None else {})


def new_folder(out: Path | None, name: str) -> Path:
    """`out`, or the first free `runs/NAME-N`."""
    if out is not None:
        return out
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder
