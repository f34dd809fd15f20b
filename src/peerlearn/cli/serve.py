"""`peerlearn eval`, `predict` and `export`: a finished run measured again and put to use."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peerlearn.cli.options import (
    DeviceOption,
    RunArgument,
    TrustOption,
    check_out_file,
    out_folder,
    refuse_own_file,
)

if TYPE_CHECKING:
    from peerlearn.reading.reader import Reader
    from peerlearn.serving.run import TrainedRun


class Formats(StrEnum):
    """What --precision takes."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(
            help="Other data, named as for `run`; its test split counts.",
            show_default="those of the run",
        ),
    ] = None,
    precision: Annotated[
        Formats | None,
        typer.Option(help="Number format of forwards.", show_default="as in training"),
    ] = None,
    device: DeviceOption = None,
    per_class: Annotated[
        bool,
        typer.Option("--per-class", help="Also tell how well the ensemble finds every class."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="JSON file for the numbers, as in results.json.")
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Measure every peer of a finished run, their mean and their ensemble."""
    from peerlearn.cli.output import class_table, metrics_table, tell_shipping, told_apart, untested
    from peerlearn.cli.screen import console
    from peerlearn.errors import harmless
    from peerlearn.files import write_json
    from peerlearn.serving import evaluate_run

    check_out_file(out)
    trained = opened(run, trust)
    results = evaluate_run(trained, data, precision.value if precision else None, device)
    print(harmless(f"{trained.arm}, seed {trained.config.seed}, on {results['data']}"))
    console().print(metrics_table(results["arms"][trained.arm]))
    if per_class:
        console().print(class_table(results["arms"][trained.arm], trained.recipe))
    for line in told_apart(results["arms"][trained.arm]):
        print(harmless(line))
    for line in untested(results["arms"][trained.arm], trained.recipe.task.pages.rows):
        print(line, file=sys.stderr)
    tell_read(trained.reader)
    if trained.config.evaluation.select == "mean_last":
        print(
            "results.json of this run holds means over its last epochs; these numbers are those "
            "of the very last one",
            file=sys.stderr,
        )
    tell_shipping(results, trained.recipe, run)
    if out is not None:
        write_json(out, results)
        print(f"numbers: {out}", file=sys.stderr)


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
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Add how unsure of each row, in nats: total = epistemic + aleatoric.",
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
    trust: TrustOption = False,
) -> None:
    """Label new rows with a finished run, or segment new images; its training data are not needed.

    Labels are lines of a csv. Masks are written to the folder --out, NAME.png for every image, with
    a summary.csv of the fractions of their classes. An image that cannot be read has a line without
    a label, is told at the end, and makes the exit status 1; all others are labelled.

    --uncertainty adds the entropy of what is predicted (total), the part by which the peers of an
    ensemble, or the samples of a stochastic peer, disagree (epistemic), and the mean of their own
    entropies (aleatoric). One deterministic network has the total alone.
    """
    from peerlearn.cli.progress import RowProgress
    from peerlearn.errors import InputError, RunError
    from peerlearn.serving import Predictor

    refuse_own_file(out)
    trained = opened(run, trust)
    options = {"tile": tile, "overlap": overlap, "among": among}
    if trained.reader.folder is None:
        check_out_file(out)
    predictor = Predictor(trained, peer, device, **options)
    reader = predictor.reader
    if overlay and reader.folder is None:
        raise InputError(
            f"--overlay: shows masks; a run of recipe {trained.recipe.name!r} makes none"
        )
    if uncertainty and reader.folder is not None:
        raise InputError(
            f"--uncertainty: is of rows; a run of recipe {trained.recipe.name!r} makes masks, and "
            "--probabilities writes those of their pixels"
        )
    place = out if reader.folder is None else _folder(out, reader.folder)
    with RowProgress(reader.steps) as progress:
        made = predictor.predict(inputs, progress.observe)
        count = reader.write(made, place or sys.stdout, probabilities, overlay, uncertainty)
    made_what = f"1 {reader.unit}" if count == 1 else f"{count:,} {reader.unit}s"
    where = "" if place is None else f"{place}: "
    who = "the ensemble" if predictor.who == "ensemble" else f"peer {predictor.who}"
    print(f"{where}{made_what}, by {who}", file=sys.stderr)
    if uncertainty and not predictor.divides:
        print(
            f"{who} says one thing of every row, so its total has no epistemic and aleatoric part; "
            "--peer ensemble has them",
            file=sys.stderr,
        )
    tell_read(reader)
    if reader.failed:
        many = "1 input" if len(reader.failed) == 1 else f"{len(reader.failed):,} inputs"
        said = "\n  ".join(reader.failed.values())
        raise RunError(f"{many} could not be read:\n  {said}")


def tell_read(reader: "Reader[Any]") -> None:
    """Print what was left out of data, and how they were read."""
    from peerlearn.cli.screen import folded

    for line in reader.account.lines():
        print("\n".join(folded(line)), file=sys.stderr)


def export(
    run: RunArgument,
    out: Annotated[
        Path,
        typer.Option(help="The file to write; its ending says the format.", show_default=False),
    ],
    peer: Annotated[
        str, typer.Option(help="A peer's name, best (on validation) or ensemble.")
    ] = "best",
    format: Annotated[
        str | None,
        typer.Option(
            help="safetensors (weights), pt2 (torch.export) or onnx.", show_default="as --out ends"
        ),
    ] = None,
    normalised: Annotated[
        bool,
        typer.Option(
            "--normalised",
            help="The program reads (x - mean) / std; without it, raw rows as in training.",
        ),
    ] = False,
    mean: Annotated[
        bool,
        typer.Option(
            "--mean",
            help="Of Bayesian peers the means of their weights, as programs always have them.",
        ),
    ] = False,
    trust: TrustOption = False,
) -> None:
    """Write a trained network to a file that needs no peerlearn.

    safetensors holds weights under their plain names, and in its header classes, mean and std. pt2
    and onnx are programs: N raw rows in, probabilities (N, classes, ...) out, for any N. Networks
    that read graphs have weights only; those that segment read images of the size of training.
    Weights of a Bayesian peer are means, widths (_rho) and priors; with --mean those of the plain
    network.
    """
    from peerlearn.serving import Loaded
    from peerlearn.serving.export import export as write

    check_out_file(out)
    made = write(Loaded(opened(run, trust)), out, peer, format, normalised, mean)
    who = "the ensemble" if made.who == "ensemble" else f"peer {made.who}"
    print(f"{made.path}: {made.format} of {who}; {made.note}")


def _folder(out: Path | None, what: str) -> Path:
    """Where predictions go that are files; InputError where `out` is not given, or a file."""
    from peerlearn.errors import InputError

    if out is None:
        raise InputError(f"--out: missing; {what} are files, name a folder for them: --out DIR")
    return out_folder(out, what)


def opened(folder: Path, trust: bool) -> "TrainedRun":
    """The run; where it is not finished, stderr says of which epochs the weights are."""
    from peerlearn.serving import open_run

    run = open_run(folder, trust)
    if run.unfinished:
        print(f"{folder}: {run.unfinished}", file=sys.stderr)
    return run
