"""The step of a teacher and two students against its three networks alone. See README.md.

python benchmarks/styles/speed.py --write-readme
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.speed.page import (
    Results,
    conditions,
    lines_of,
    options,
    publish,
)
from benchmarks.speed.tables import markdown_table, ratio_cells, target_cells
from benchmarks.speed.timing import Opened, Work, interleave, row, summary
from benchmarks.speed.work import first_batch, stepping
from peerlearn.engine.precision import keep_freed_memory
from peerlearn.engine.trainer import Trainer
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
#: Of both recipes, where it is only asked whether everything runs.
SMALLEST = {
    "classify": ["batch_size=4", "data.train_size=100"],
    "segment": ["batch_size=2", "augment.crop=[32,32]", "data.train_size=10"],
}
FORMS = {"kdml-v1": "predictions", "kdml-v4": "mixed", "kdml-v2": "features"}


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    sections = {name: partial(measure, name) for name in SECTIONS}
    arguments = options(__doc__, sections, README.with_name("speed.json")).parse_args()
    publish(arguments, README, sections, markdown)


def measure(section: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every form of a section; at the smallest size one."""
    keep_freed_memory()  # as Trainer.run does; both sides have it
    smallest = arguments.smallest
    return {
        "lines": [
            measured(
                section, arm, precision, arguments.rounds, SMALLEST[section] if smallest else []
            )
            for precision in (["auto"] if smallest else ["fp32", "auto"])
            for arm in (["kdml-v4"] if smallest else FORMS)
        ]
    }


def measured(
    section: str, arm: str, precision: str, rounds: int, smaller: list[str]
) -> dict[str, Any]:
    """One form of one section, as speed.json has it."""
    what, *_ = SECTIONS[section]
    together, alone = (
        trainer_of(section, f"arm={arm}", f"precision={precision}", *smaller) for _ in range(2)
    )
    last = len(together.stages) - 1
    works: dict[str, Work | Opened] = {STEP: stepping(together, last), ALONE: plain_steps(alone)}
    samples = interleave(works, rounds)
    name = f"{what}, {FORMS[arm]} (`{arm}`), {precision}"
    return row(name, samples, STEP, ALONE, TARGET) | {"works": summary(samples)}


def trainer_of(section: str, *more: str) -> Trainer:
    """What `peerlearn run` would train."""
    _, name, overrides = SECTIONS[section]
    recipe, given = find_recipe(name)
    changes = parse_assignments(overrides) | parse_assignments(more)
    return recipe.build(recipe.resolve(given, changes))


def plain_steps(trainer: Trainer) -> Callable[[], None]:
    """Forward, objective, backward and optimiser of one network after the other."""
    spec, precision = trainer.training, trainer.precision
    cohort, batch = trainer.cohort.train(), first_batch(trainer, -1)
    precision.place(cohort)
    x = precision.place(batch.views[0])
    optimisers = {
        name: spec.optimiser.build(list(network.parameters()), spec.lr)
        for name, network in cohort.peers.items()
    }

    def step() -> None:
        for name, network in cohort.peers.items():
            optimisers[name].zero_grad(set_to_none=True)
            with precision.autocast():
                output = network(x)
            cohort.objective(name, output, batch.y).backward()
            optimisers[name].step()

    return step


def markdown(results: Results) -> str:
    """The table of the page."""
    header = ["what", "ratio", "quartiles", "95 % interval", "step, ms", "target", ""]
    rows = []
    for line in lines_of(results):
        rows.append(
            [
                line["name"],
                *ratio_cells(line["ratio"]),
                f"{line['works'][STEP]['wall_ms']:.0f}",
                *target_cells(line),
            ]
        )
    return "\n".join([conditions(results), "", *markdown_table(header, rows)]) + "\n"


if __name__ == "__main__":
    main()
