"""`peerlearn discover`: new classes among your own unlabelled images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peerlearn.cli.options import (
    OverridesArgument,
    ResumeOption,
    SeedOption,
    gathered_overrides,
    out_folder,
    parse_numbers,
)
from peerlearn.cli.run import check_run
from peerlearn.cli.stopping import resumable

if TYPE_CHECKING:
    from rich.table import Table

    from peerlearn.tasks.discovery.metrics.class_count import Estimate
    from peerlearn.tasks.discovery.reader import Assignment

#: Keys of the recipe that have an option here, which says the same.
OPTIONS = {"data.labelled": "--labelled", "data.unlabelled": "--unlabelled", "classes": "--classes"}
BEGUN = "shared/config.yaml"


def discover(
    overrides: OverridesArgument = None,
    *,
    labelled: Annotated[
        str,
        typer.Option(
            help="Images of known classes: an .npz with x and y, or a folder train/CLASS/*.png.",
            show_default=False,
        ),
    ],
    unlabelled: Annotated[
        str,
        typer.Option(
            help="Images of new classes: an .npz with x, or a folder of images.", show_default=False
        ),
    ],
    classes: Annotated[
        str, typer.Option(help="How many new classes to look for; auto estimates it.")
    ] = "auto",
    candidates: Annotated[
        str | None, typer.Option(help="With auto, the numbers to choose from.", show_default="2-30")
    ] = None,
    arm: Annotated[
        str | None, typer.Option(help="Arm of recipe discovery.", show_default="dual")
    ] = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="runs/discover-N")
    ] = None,
    resume: ResumeOption = False,
) -> None:
    """Find new classes among unlabelled images, with the help of labelled ones of other classes.

    Writes a run folder of recipe `discovery`, for eval, predict and report, with assignments.csv in
    it: the cluster of every unlabelled image, and how sure the networks together are of it.
    """
    from peerlearn.cli.output import report_beside, tell_results
    from peerlearn.cli.progress import EpochProgress, RowProgress
    from peerlearn.cli.screen import console
    from peerlearn.serving import open_run
    from peerlearn.systems.registry import find_recipe
    from peerlearn.systems.running import run_recipe
    from peerlearn.tasks.discovery.class_estimate import SHARED, estimate_new_classes
    from peerlearn.tasks.discovery.reader import assignments, write_assignments

    count = parse_classes(classes)
    chosen = parse_candidates(candidates, count)
    changes = gathered_overrides(overrides, None, arm=arm, seed=seed)
    refuse_repeated(changes)
    changes |= {"data.labelled": labelled, "data.unlabelled": unlabelled, "classes": count}
    if resume and not (out is not None and (out / BEGUN).exists()):
        check_run(out)
    recipe, given = find_recipe("discovery")
    config = recipe.resolve(given, changes)
    folder = out_folder(out, "discover")
    if not resume:
        check_free(folder)
    with resumable(folder, BEGUN):
        shared = None
        if count is None:
            with EpochProgress(config.epochs) as progress:
                estimate = estimate_new_classes(config, folder, chosen, progress.observe)
            tell_estimate(estimate)
            config = recipe.resolve(given, changes | {"classes": estimate.count})
            # The estimate has begun the folder, which then is gone on with.
            resume, shared = True, folder / SHARED
        with EpochProgress(config.epochs, config.evaluation.metric) as progress:
            results = run_recipe(recipe, config, folder, resume, progress.observe, shared)
        with RowProgress("images") as rows:
            made = assignments(open_run(folder, trust=True), rows.observe)
        write_assignments(folder / "assignments.csv", made)
        tell_results(results, recipe, config.evaluation)
        console().print(cluster_table(made))
        print(f"assignments: {folder / 'assignments.csv'}")
        report_beside(folder)


def parse_classes(text: str) -> int | None:
    """The number of new classes; None for `auto`, InputError for what is no number from 2 on."""
    from peerlearn.errors import InputError

    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 2:
        why = "; one cluster tells nothing apart" if text == "1" else ""
        raise InputError(f"--classes: {text!r}{why}; allowed: a number from 2 on, or auto")
    return int(text)


def parse_candidates(text: str | None, count: int | None) -> list[int] | None:
    """The numbers of classes to choose from; None for the usual ones.

    Raises InputError: no numbers, or nothing to choose.
    """
    from peerlearn.errors import InputError

    if text is None:
        return None
    if count is not None:
        raise InputError(f"--candidates: for --classes auto; --classes {count} leaves no choice")
    return parse_numbers(text, "--candidates")


def refuse_repeated(changes: dict[str, Any]) -> None:
    """InputError, which names the option, where an override says what has one."""
    from peerlearn.errors import InputError

    for key, option in OPTIONS.items():
        if key in changes:
            raise InputError(f"{key}: say it with {option}")


def check_free(folder: Path) -> None:
    """InputError where a folder holds a run or something else, so that none can begin there."""
    from peerlearn.engine.continuing import holds, not_empty
    from peerlearn.engine.run_folder import contents

    if not contents(folder):
        return
    if (folder / "config.yaml").exists() or (folder / BEGUN).exists():
        raise holds(folder, "a run")
    raise not_empty(folder)


def tell_estimate(estimate: "Estimate") -> None:
    """Print the number of new classes and what speaks for every candidate."""
    from peerlearn.cli.screen import console, table

    rows = []
    for score in estimate.scores:
        mark, found = " ←" if score.count == estimate.count else "", score.probe_accuracy
        numbers = [f"{score.bic:.3f}", f"{score.silhouette:.3f}"]
        rows.append([f"{score.count}{mark}", *numbers, "–" if found is None else f"{found:.3f}"])
    columns = ("new classes", "BIC", "silhouette", "known classes found")
    console().print(table(columns, rows, right=True))
    print(f"estimate: {estimate.count} new classes")


def cluster_table(made: Sequence["Assignment"]) -> "Table":
    """Every cluster with its size, its share of all images and its mean confidence."""
    from peerlearn.cli.screen import table

    sure: dict[str, list[float]] = {}
    for assignment in made:
        sure.setdefault(assignment.cluster, []).append(assignment.confidence)
    rows = []
    for cluster in sorted(sure, key=natural):
        size, mean = len(sure[cluster]), sum(sure[cluster]) / len(sure[cluster])
        rows.append([cluster, f"{size:,}", f"{100 * size / len(made):.1f} %", f"{mean:.3f}"])
    return table(("cluster", "images", "share", "mean confidence"), rows, right=True)


def natural(name: str) -> tuple[str, int]:
    """A key to sort `new 10` behind `new 9`."""
    word, _, number = name.rpartition(" ")
    return (word, int(number)) if number.isdecimal() else (name, 0)
