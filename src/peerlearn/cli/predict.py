"""`peerlearn predict`: what a finished run says about new rows."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from peerlearn.cli.options import DeviceOption, RunArgument


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
    out: Annotated[Path | None, typer.Option(help="csv file.", show_default="stdout")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add a column for each class.")
    ] = False,
    device: DeviceOption = None,
) -> None:
    """Label new rows with a finished run; its training data are not needed."""
    from peerlearn.serving import Predictor, open_run, write_predictions

    trained = open_run(run)
    predictor = Predictor(trained, peer, device)
    made = predictor.predict(inputs)
    count = write_predictions(made, trained.facts, out or sys.stdout, probabilities)
    rows = "1 row" if count == 1 else f"{count:,} rows"
    where = f"{out}: " if out is not None else ""
    print(f"{where}{rows}, {_speaker(predictor.who)}", file=sys.stderr)


def _speaker(who: str) -> str:
    return "by the ensemble" if who == "ensemble" else f"by peer {who}"
