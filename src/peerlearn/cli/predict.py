"""`peerlearn predict`: what a finished run says about new rows."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from peerlearn.cli.options import DeviceOption, RunArgument, out_folder


def predict(
    run: RunArgument,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Images, folders of images, .npz (array x or x_test) or .npy; graphs as .npz.",
            show_default=False,
        ),
    ],
    peer: Annotated[
        str, typer.Option(help="A peer's name, best (on validation) or ensemble.")
    ] = "best",
    out: Annotated[
        Path | None,
        typer.Option(help="csv file; folder for masks of images.", show_default="stdout"),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Add a column for each class; for masks, an .npz each."
        ),
    ] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="With masks, write the images in their colours.")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of tiles to segment images in.",
            show_default="whole up to 1024 pixels or 4 times the training size, else of that size",
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Pixels that tiles share, where they are blended.", show_default="a quarter"
        ),
    ] = None,
    among: Annotated[
        str | None,
        typer.Option(
            help="Where classes were discovered, which ones rows may be of: known, new or all.",
            show_default="all where the run has learned to tell known from new, else new",
        ),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Label new rows with a finished run, or segment new images; its training data are not needed.

    Labels are lines of a csv. Masks are written to the folder --out, NAME.png for every image, with
    a summary.csv of the fractions of their classes.
    """
    from peerlearn.cli.progress import RowProgress
    from peerlearn.errors import InputError
    from peerlearn.serving import Predictor, open_run

    trained = open_run(run)
    options = {"tile": tile, "overlap": overlap, "among": among}
    predictor = Predictor(trained, peer, device, **options)
    reader = predictor.reader
    if overlay and reader.folder is None:
        raise InputError(
            f"--overlay: shows masks; a run of recipe {trained.recipe.name!r} makes none"
        )
    place = out if reader.folder is None else _folder(out, reader.folder)
    with RowProgress(reader.steps) as progress:
        made = predictor.predict(inputs, progress.observe)
        count = reader.write(made, place or sys.stdout, probabilities, overlay)
    said = _count(count, reader.unit) if place is None else f"{place}: {_count(count, reader.unit)}"
    print(f"{said}, {_speaker(predictor.who)}", file=sys.stderr)


def _folder(out: Path | None, what: str) -> Path:
    """Where predictions go that are files.

    Raises:
        InputError: `out` is not given, or a file.
    """
    from peerlearn.errors import InputError

    if out is None:
        raise InputError(f"--out: missing; {what} are files, name a folder for them: --out DIR")
    return out_folder(out, what)


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"


def _speaker(who: str) -> str:
    return "by the ensemble" if who == "ensemble" else f"by peer {who}"
