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
    from peerlearn.serving import Predictor, Tiling, open_run, write_labels, write_masks

    trained = open_run(run)
    segments = trained.recipe.reads == "masks"
    if overlay and not segments:
        raise InputError(
            f"--overlay: shows masks; a run of recipe {trained.recipe.name!r} makes none"
        )
    folder = _folder(out) if segments else None
    tiling = None if tile is None and overlap is None else Tiling(tile, overlap)
    predictor = Predictor(trained, peer, device, tiling, among)
    with RowProgress("tiles and images" if segments else "rows") as progress:
        made = predictor.predict(inputs, progress.observe)
        if folder is not None:
            count = write_masks(made, trained.info, folder, overlay, probabilities)
            said = f"{folder}: {_count(count, 'image')}"
        else:
            count = write_labels(made, trained.info, out or sys.stdout, probabilities)
            said = f"{out}: {_count(count, 'row')}" if out is not None else _count(count, "row")
    print(f"{said}, {_speaker(predictor.who)}", file=sys.stderr)


def _folder(out: Path | None) -> Path:
    """Where masks go.

    Raises:
        InputError: `out` is not given, or a file.
    """
    from peerlearn.errors import InputError

    if out is None:
        raise InputError("--out: missing; masks are files, name a folder for them: --out DIR")
    return out_folder(out, "masks")


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"


def _speaker(who: str) -> str:
    return "by the ensemble" if who == "ensemble" else f"by peer {who}"
