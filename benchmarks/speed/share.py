"""How much of a training its networks take: the same networks alone against each recipe's epochs.

python benchmarks/speed/share.py --write-readme
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.speed.alone import Bare
from benchmarks.speed.page import Results, conditions, lines_of, options, publish
from benchmarks.speed.spent import OTHER, OUTSIDE, PARTS, watched
from benchmarks.speed.tables import markdown_table
from benchmarks.speed.timing import Ratio
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.stage_run import StageRun
from peerlearn.engine.steps import Stepper
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.systems.registry import find_recipe

PAGE = Path(__file__).with_name("SHARE.md")


class Case(NamedTuple):
    """A recipe as it comes, but for `changes`: the number of its epochs, and what its name says."""

    recipe: str
    changes: Mapping[str, Any]
    target: float = 0.9


def _brief(epochs: int, **stages: int) -> dict[str, Any]:
    return {"epochs": epochs} | {f"stages.{name}.epochs": n for name, n in stages.items()}


MLP = {f"peers.{name}.model": "mlp" for name in "ab"}
AUTO = {"evaluation.every": "auto"}
RESNETS = {"data.name": "cifar10", "data.train_size": 2000, "batch_size": 128}
#: By name of a section. Epochs are a multiple of those between validations.
CASES = {
    "dml": Case("dml", _brief(4)),
    "dml-mlp": Case("dml", _brief(8) | MLP),
    "dml-auto": Case("dml", _brief(6) | AUTO),
    "dml-resnet8": Case(
        "dml", _brief(2) | RESNETS | {f"peers.{name}.model": "resnet8" for name in "ab"}, 0.95
    ),
    "dml-few-labels": Case("dml-few-labels", _brief(4)),
    "renyi": Case("renyi", _brief(4)),
    "bayesian": Case("bayesian", _brief(5, deterministic=5)),
    "gml-node": Case("gml-node", _brief(20)),
    "gml-node-cora": Case("gml-node", _brief(20) | {"data.name": "cora"}),
    "gml-node-cora-auto": Case("gml-node", _brief(20) | {"data.name": "cora"} | AUTO),
    "gml-mlp": Case("gml-mlp", _brief(20)),
    "gml-graph": Case("gml-graph", _brief(4)),
    "gml-graph-mutag": Case("gml-graph", _brief(10) | {"data.name": "mutag"}),
    "styles-classify": Case("styles-classify", _brief(2)),
    "styles-segment": Case("styles-segment", _brief(2)),
    "discovery": Case("discovery", _brief(10, rotation=2, supervised=2)),
    "music": Case("music", _brief(5)),
    "backdoor": Case("backdoor", _brief(5, standard=5, non_target=5)),
}


class Epoch(NamedTuple):
    """CPU seconds of an epoch."""

    stage: str
    trained: float  # all of it
    steps: float  # the engine's steps in it
    alone: float  # as many steps of its networks by themselves
    with_losses: float  # and of its networks with the recipe's losses


def measured(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One section: the shares over epochs, and in a second run the parts."""
    case = CASES[name]
    try:
        epochs = _epochs(case, arguments)
    except InputError as error:  # data that are not here
        return {"lines": [{"name": name, "skipped": str(error).splitlines()[0]}]}
    total = Epoch(name, *(sum(each) for each in list(zip(*epochs, strict=True))[1:]))
    ratio = asdict(Ratio.of([epoch.alone / epoch.trained for epoch in epochs]))
    line = {
        "name": name,
        "over": "networks alone",
        "under": "training",
        "ratio": ratio,
        "cpu_ratio": ratio,
        "shares": {
            "of_training": total.alone / total.trained,
            "of_steps": total.alone / total.steps,
            "with_losses_of_training": total.with_losses / total.trained,
            "with_losses_of_steps": total.with_losses / total.steps,
        },
        "stages": _by_stage(epochs),
        "parts": _parts(case, arguments),
        "target": f">= {case.target:g}",
        "met": total.alone / total.trained >= case.target,
    }
    return {"lines": [line]}


def _by_stage(epochs: list[Epoch]) -> dict[str, dict[str, float]]:
    found = {}
    for stage in dict.fromkeys(epoch.stage for epoch in epochs):
        here = [epoch for epoch in epochs if epoch.stage == stage]
        trained = sum(epoch.trained for epoch in here)
        found[stage] = {
            "share": sum(epoch.alone for epoch in here) / trained,
            "epoch_cpu_ms": 1e3 * statistics.median(epoch.trained for epoch in here),
        }
    return found


def _epochs(case: Case, arguments: argparse.Namespace) -> list[Epoch]:
    """Every epoch of a training, and beside each the same networks bare, in one process."""
    epochs: list[Epoch] = []
    bare: dict[str, Bare] = {}
    run_epoch, make_step, in_steps = Trainer._run_epoch, Stepper.step, 0.0

    def step(stepper: Stepper, *given: Any) -> Any:
        nonlocal in_steps
        began = time.process_time()
        results = make_step(stepper, *given)
        in_steps += time.process_time() - began
        return results

    def epoch(trainer: Trainer, run: StageRun, *more: Any) -> None:
        nonlocal in_steps
        stage, progress = run.stage.name, trainer.progress.epoch / run.stage.epochs
        if stage not in bare:
            bare[stage] = Bare(run)
            bare[stage].alone()  # whatever is made at the first use is no part of an epoch
        in_steps, began = 0.0, time.process_time()
        run_epoch(trainer, run, *more)
        trained = time.process_time() - began
        beside = bare[stage].alone(), bare[stage].with_losses(progress)
        epochs.append(Epoch(stage, trained, in_steps, *beside))

    with (
        trainer_of(case, arguments) as trainer,
        patch.object(Trainer, "_run_epoch", epoch),
        patch.object(Stepper, "step", step),
    ):
        trainer.run()
    return epochs


def _parts(case: Case, arguments: argparse.Namespace) -> dict[str, float]:
    """Shares of what epochs consist of."""
    with trainer_of(case, arguments) as trainer, watched(trainer) as spent:
        trainer.run()
        return spent.shares()


@contextmanager
def trainer_of(case: Case, arguments: argparse.Namespace) -> Iterator[Trainer]:
    """The recipe's trainer, with a folder to write as every run has."""
    changes = dict(case.changes) | {"threads": arguments.threads, "device": "cpu"}
    system, given = find_recipe(case.recipe)
    if arguments.smallest:
        changes |= {key: 1 for key in changes if key.endswith("epochs")}
    config = system.resolve(given, changes)
    with tempfile.TemporaryDirectory() as folder:
        trainer = system.build(config)
        trainer.folder = RunFolder(Path(folder) / "run")
        with trainer.folder.held():
            trainer.folder.open(config.dump(), False, config.completed)
            yield trainer


def markdown(results: Results) -> str:
    """The tables of the page."""
    shown = [*PARTS, OTHER]
    rows, parts = [], []
    for line in lines_of(results):
        if "skipped" in line:
            rows.append([line["name"], *["–"] * 5, f"skipped: {line['skipped']}"])
            continue
        stages = ", ".join(f"{name} {it['share']:.0%}" for name, it in line["stages"].items())
        met = "met" if line["met"] else "missed"
        shares = [f"{share:.0%}" for share in line["shares"].values()]
        rows.append([line["name"], *shares, stages, f"{line['target']}, {met}"])
        within = 1 - line["parts"].get(OUTSIDE, 0)
        parts.append([line["name"], *(f"{line['parts'].get(p, 0) / within:.1%}" for p in shown)])
    header = ["training", "alone / training", "alone / steps", "with losses / training"]
    header += ["with losses / steps", "alone / training, by stage", "target"]
    text = [conditions(results), "", *markdown_table(header, rows), ""]
    text += ["Where the time of the epochs goes:", ""]
    text += markdown_table(["training", *shown], parts)
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    sections = {name: partial(measured, name) for name in CASES}
    parser = options(__doc__, sections, PAGE.with_name("share.json"))
    publish(parser.parse_args(), PAGE, sections, markdown)


if __name__ == "__main__":
    main()
