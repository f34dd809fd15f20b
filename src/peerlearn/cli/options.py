"""Arguments, options and habits that several verbs share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from peerlearn.launched import launched_together

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe of `peerlearn ls`, or a YAML file.", show_default=False)
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as epochs=60 peers.b.model=mlp"),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A data set of `peerlearn ls data`, an .npz file (for music a csv too), or a folder.",
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Key of weights, batches and dropout.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue what --out holds.")]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="Allow it to run the code that it names by python:MODULE:NAME."),
]
RecipeTrustOption = Annotated[
    bool,
    typer.Option(
        "--trust", help="Where the recipe is the config.yaml of a run: allow code that it names."
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...", show_default="as in training"),
]


def gathered_overrides(
    overrides: list[str] | None, data: str | None, **options: Any
) -> dict[str, Any]:
    """Overrides of the command line as a mapping, `--data` and other options that are keys in it.

    Raises InputError: see `parse_assignments`; or a key that an option says as well.
    """
    from peerlearn.errors import InputError
    from peerlearn.systems.overrides import parse_assignments

    parsed = parse_assignments(overrides or [])
    named = {"data.name": ("--data", data)} | {k: (f"--{k}", v) for k, v in options.items()}
    for key, (option, value) in named.items():
        if value is None:
            continue
        if key in parsed:
            raise InputError(f"{key}: given twice, {parsed[key]!r} and {option} {value}; leave one")
        parsed[key] = value
    return parsed


#: What runs write beside their checkpoints, and go on from.
OWN_FILES = (
    "config.yaml", "env.json", "metrics.jsonl", "results.json", "data.json", "fingerprint.json",
    "gallery.npz", "rows.npz", "cells.json",
)  # fmt: skip


def refuse_own_file(out: Path | None) -> None:
    """InputError where `out` is a file that a run has written for itself."""
    from peerlearn.errors import InputError

    if out is None:
        return
    folder = out.absolute().parent
    own = out.name in OWN_FILES and (folder / "config.yaml").exists()
    if own or "checkpoints" in (folder.name, folder.parent.name):
        raise InputError(f"--out {out}: is a file of the run itself; choose another name or folder")


def check_out_file(out: Path | None) -> None:
    """InputError where `out` is a file of a run itself, or cannot be written; before any work."""
    from peerlearn.files import check_writable

    refuse_own_file(out)
    if out is not None:
        check_writable(out, f"--out {out}")


def parse_numbers(text: str, option: str) -> list[int]:
    """`0-4` or `0,3,7` or a mix of both as a list; InputError for anything else."""
    from peerlearn.errors import InputError

    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()) or int(last) < int(first):
            raise InputError(f"{option}: {text!r}; expected numbers such as 0-4 or 0,3,7")
        numbers += range(int(first), int(last) + 1)
    return numbers


def out_folder(out: Path | None, name: str) -> Path:
    """`out`, or the first free `runs/NAME-N`; InputError where `out` cannot be a folder."""
    from peerlearn.errors import InputError
    from peerlearn.files import check_writable, free_folder

    if out is not None:
        check_writable(out, f"--out {out}", folder=True)
        return out
    if launched_together() > 1:
        raise InputError(
            "--out: missing; processes that are started together must be told one folder"
        )
    return free_folder(name)
