"""`peerlearn purify`: a network that may have a backdoor, and few clean images, to one without."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peerlearn.cli.discover import check_free
from peerlearn.cli.options import ResumeOption, SeedOption, out_folder
from peerlearn.cli.run import check_run
from peerlearn.cli.stopping import resumable

if TYPE_CHECKING:
    from rich.table import Table


def purify(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="File of its weights: .safetensors, or a state_dict of torch.save.",
            show_default=False,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Arguments of the network, such as arguments.width=0.25, and keys of recipe "
            "backdoor, such as epochs=40 data.held_out=0.3.",
        ),
    ] = None,
    *,
    clean: Annotated[
        str,
        typer.Option(
            help="Images known to be clean: an .npz with x and y (or x_train, y_train), a folder "
            "CLASS/*.png, or a data set of `peerlearn ls data`.",
            show_default=False,
        ),
    ],
    train: Annotated[
        str | None,
        typer.Option(help="The data that it was trained on, which may be poisoned; as --clean."),
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            help="What the weights are of: a name of `peerlearn ls models`, timm:NAME, or "
            "python:package.module:function.",
            show_default=False,
        ),
    ],
    method: Annotated[
        str, typer.Option(help="An arm of recipe backdoor: nt-ml, ft, fst, scratch, ...")
    ] = "nt-ml",
    mean: Annotated[
        str | None,
        typer.Option(
            help="What it subtracts of each channel of pixels in [0, 1], such as 0.49,0.48,0.45.",
            show_default="of the rows",
        ),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="What it divides by then.", show_default="of the rows")
    ] = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="runs/purify-N")
    ] = None,
    resume: ResumeOption = False,
) -> None:
    """Purify a network that may have a backdoor, with few images that are known to be clean.

    Writes a run folder of recipe `backdoor`, in it purified.safetensors, whose weights have the
    names of the given ones, and purified.json: accuracy on clean rows held out and a check for
    classes that are easily reached, before and after.
    """
    from peerlearn.cli.output import report_beside
    from peerlearn.cli.progress import EpochProgress
    from peerlearn.cli.screen import console, folded
    from peerlearn.engine.run_folder import RunFolder
    from peerlearn.systems.backdoor.purify import Request, conclude, configured, subject
    from peerlearn.systems.backdoor.recipe import BACKDOOR
    from peerlearn.systems.overrides import parse_assignments
    from peerlearn.systems.running import run_recipe

    if resume:
        check_run(out)
    options: dict[str, Any] = {"mean": numbers(mean, "--mean"), "std": numbers(std, "--std")}
    check_pair(options)
    asked = Request(
        model, network, clean, train, method, parse_assignments(overrides or []), seed, **options
    )
    config = configured(asked)
    folder = out_folder(out, "purify")
    if not resume:
        check_free(folder)
    given = subject(asked, config)

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "begin":
            progress.tell([line for note in given.notes() for line in folded(note)])
        progress.observe(event)

    with resumable(folder):
        if resume and RunFolder(folder).finished(config.dump(), config.completed):
            print("This run was finished before: nothing is trained. Its results:")
        with EpochProgress(config.epochs, config.evaluation.metric) as progress:
            results = run_recipe(BACKDOOR, config, folder, resume, observe)
        found = conclude(given, folder, results)
        console().print(before_and_after(found))
        for line in said_of(found):
            print("\n".join(folded(line)))
        print(f"purified weights: {folder / 'purified.safetensors'}")
        print(f"evidence: {folder / 'purified.json'}")
        report_beside(folder)


def numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    """Numbers with commas between them; None for none. Raises InputError: anything else."""
    from peerlearn.errors import InputError

    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"{option}: {text!r}; expected a number, or one for each channel: 0.49,0.48,0.45"
        ) from None


def check_pair(options: Mapping[str, Any]) -> None:
    """InputError where one of `mean` and `std` is given without the other."""
    from peerlearn.errors import InputError

    missing = [name for name, value in options.items() if value is None]
    if len(missing) == 1:
        raise InputError(f"--{missing[0]}: missing; --mean and --std go together")


def before_and_after(found: Mapping[str, Any]) -> "Table":
    """What was measured of the given network and of the purified one."""
    from peerlearn.cli.screen import table

    accuracy, held = found["accuracy"], found["clean_rows"]["held_out"]
    sides = ("before", "after")

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    rows = [["accuracy", *(shown(accuracy[side]["all"]) for side in sides), f"{held['rows']:,}"]]
    for name, count in held["by_class"].items():
        values = (shown(accuracy[side]["by_class"][name]) for side in sides)
        rows.append([f"  class {name}", *values, f"{count:,}"])
    if asr := found.get("attack_success"):
        rows.append(["attack success", *(shown(asr[side]) for side in sides), ""])
    for words, key in (("suspicion index", "index"), ("  alarm from", "alarm_from")):
        rows.append([words, *(shown(found["suspicion"][side][key]) for side in sides), ""])
    return table(["on clean rows held out", *sides, "rows"], rows, right=True)


def said_of(found: Mapping[str, Any]) -> list[str]:
    """Sentences below the table."""
    predictions, accuracy = found["predictions"], found["accuracy"]["before"]["all"]
    lines = [
        f"predictions changed: {predictions['changed']:,} of {predictions['rows']:,} clean rows "
        "held out"
    ]
    if found.get("pruned") == 0:
        lines.append(
            "nothing was pruned: every threshold costs more of the accuracy on clean rows held out "
            "than defence.tolerance allows"
        )
    elif "pruned" in found:
        lines.append(f"channels pruned: {found['pruned']:.1%}")
    lines += [f"{side}: {found['suspicion'][side]['words']}" for side in ("before", "after")]
    lines.append(found["cannot_see"])
    classes = len(found["accuracy"]["before"]["by_class"])
    if accuracy < min(0.5, 3 / classes):
        lines.append(
            f"warning: the given network is right on {accuracy:.1%} of clean rows alone; are "
            "--network, --mean and --std those of its training, and the classes in its order?"
        )
    return lines
