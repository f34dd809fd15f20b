"""The step of a teacher and two students against its three networks alone. See README.md.

python benchmarks/styles/speed.py --write-readme
"""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "speed"))  # the clock and the page

from page import conditions, markdown_table, options, publish, ratio_cells
from timing import environment, interleave, pin, row, summary

from peerlearn.data.datasets import Batch
from peerlearn.engine.memory import keep_freed_memory
from peerlearn.engine.optimisers import LearningRate
from peerlearn.engine.steps import Clock, Stepper
from peerlearn.engine.trainer import Trainer
from peerlearn.engine.transports import LocalTransport
from peerlearn.engine.updates import PeerUpdate
from peerlearn.systems.overrides import parse_assignments
from peerlearn.systems.registry import find_recipe

README = Path(__file__).with_name("README.md")
STEP, ALONE = "step of the cohort", "three networks by hand"
TARGET = ("<=", 1.05)
#: Data, and the overrides of the recipe, as in the comparisons of this page.
SECTIONS = {
    "classify": (
        "ResNet-8, 64 images of 32x32",
        "styles-classify",
        ["data.name=cifar10", "batch_size=64", "peers.teacher.arguments.width=14"],
    ),
    "segment": (
        "U-Net, 8 crops of 96x128",
        "styles-segment",
        ["data.name=camvid", "augment.crop=[96,128]", "peers.teacher.arguments.width=14"],
    ),
}
FORMS = {"kdml-v1": "predictions", "kdml-v4": "mixed", "kdml-v2": "features"}


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    arguments = options(__doc__, list(SECTIONS), README.with_name("speed.json")).parse_args()
    publish(
        arguments,
        README,
        lambda: measure(arguments.threads, arguments.rounds, arguments.only),
        markdown,
    )


def measure(threads: int, rounds: int, only: list[str]) -> dict[str, Any]:
    """Every form of every section."""
    pin(threads)
    results: dict[str, Any] = {"environment": environment(threads), "rounds": rounds}
    keep_freed_memory()  # as Trainer.run does; both sides have it
    return results | {
        "lines": [
            measured(section, arm, precision, rounds)
            for section in only
            for precision in ("fp32", "auto")
            for arm in FORMS
        ]
    }


def measured(section: str, arm: str, precision: str, rounds: int) -> dict[str, Any]:
    """One form of one section, as speed.json has it."""
    what, *_ = SECTIONS[section]
    together, alone = (trainer_of(section, arm, precision) for _ in range(2))
    works = {STEP: engine_step(together), ALONE: plain_steps(alone)}
    samples = interleave(works, rounds)
    name = f"{what}, {FORMS[arm]} (`{arm}`), {precision}"
    return row(name, samples, STEP, ALONE, TARGET) | {"works": summary(samples)}


def trainer_of(section: str, arm: str, precision: str) -> Trainer:
    """What `peerlearn run` would train."""
    _, name, overrides = SECTIONS[section]
    recipe, given = find_recipe(name)
    overrides = [*overrides, f"arm={arm}", f"precision={precision}"]
    trainer = recipe.build(recipe.resolve(given, parse_assignments(overrides)))
    trainer.precision.place(trainer.cohort)
    return trainer


def first_batch(trainer: Trainer) -> Batch:
    """The batch that both sides step on."""
    batch = next(iter(trainer.stages[-1].loader.epoch(0)))
    return Batch(tuple(map(trainer.precision.place, batch.views)), batch.y, batch.index)


def updates_of(trainer: Trainer) -> dict[str, PeerUpdate]:
    """The optimisers of the recipe; those of students also step their adapters."""
    spec, transfer = trainer.training, trainer.cohort.transfer
    return {
        name: PeerUpdate(
            peer, spec.optimiser, spec.lr, LearningRate(), extra=transfer.parameters_of(name)
        )
        for name, peer in trainer.cohort.peers.items()
    }


def engine_step(trainer: Trainer) -> Callable[[], None]:
    """One step of the cohort."""
    cohort, batch = trainer.cohort.train(), first_batch(trainer)
    transport = LocalTransport(cohort.names)
    stepper = Stepper(cohort, updates_of(trainer), trainer.precision, transport, {}, cohort.names)
    numbers = itertools.count()

    def step() -> None:
        stepper.step([batch], Clock(0, "mutual", next(numbers), 0.5))

    return step


def plain_steps(trainer: Trainer) -> Callable[[], None]:
    """Forward, objective, backward and optimiser of one network after the other."""
    cohort, batch, updates = trainer.cohort.train(), first_batch(trainer), updates_of(trainer)

    def step() -> None:
        for name, network in cohort.peers.items():
            updates[name].zero()
            with trainer.precision.autocast():
                output = network(batch.views[0])
            cohort.objectives[name](output, batch.y).backward()
            updates[name].step()

    return step


def markdown(results: dict[str, Any]) -> str:
    """The table of the page."""
    header = ["what", "ratio", "quartiles", "95 % interval", "step, ms", "target", ""]
    rows = []
    for line in results["lines"]:
        rows.append(
            [
                line["name"],
                *ratio_cells(line["ratio"]),
                f"{line['works'][STEP]['wall_ms']:.0f}",
                line["target"],
                "met" if line["met"] else "missed",
            ]
        )
    return "\n".join([conditions(results), "", *markdown_table(header, rows)]) + "\n"


if __name__ == "__main__":
    main()
