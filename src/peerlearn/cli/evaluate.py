"""`peerlearn eval`: a finished run measured again, or on other data."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from peerlearn.cli.options import DeviceOption, RunArgument


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
    out: Annotated[
        Path | None, typer.Option(help="JSON file for the numbers, as in results.json.")
    ] = None,
) -> None:
    """Measure every peer of a finished run, their mean and their ensemble."""
    from peerlearn.cli.tables import console, metrics_table
    from peerlearn.files import write_json
    from peerlearn.serving import evaluate_run, open_run

    trained = open_run(run)
    results = evaluate_run(trained, data, precision.value if precision else None, device)
    print(f"{trained.arm}, seed {trained.config.seed}, on {results['data']}")
    console().print(metrics_table(results["arms"][trained.arm]))
    selected = trained.config.evaluation.select
    if selected == "mean_last":
        print(
            "results.json of this run holds means over its last epochs; these numbers are those "
            "of the very last one",
            file=sys.stderr,
        )
    if out is not None:
        write_json(out, results)
        print(f"numbers: {out}", file=sys.stderr)
