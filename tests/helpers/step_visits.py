"""Count the files of the package that one training step goes through.

    python tests/step_visits.py [RECIPE]

Python's profiler tells of every call while one step of a recipe runs (of dml by default: two
convolutional networks that teach each other). A move is a call into another file than that of the
call before. The fewer there are, the less one has to hold in mind who follows a batch.
"""

import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import peerlearn

PACKAGE = Path(peerlearn.__file__).parent
TINY: dict[str, Any] = {
    "epochs": 1, "data.train_size": 64, "batch_size": 16, "threads": 1, "precision": "fp32",
    "transfer.weight_schedule": "linear",
}  # fmt: skip


class Visits(NamedTuple):
    """What one step goes through.

    Attributes:
        files: in the order in which they are first entered, with the number of calls into each.
        moves: calls into another file than the call before.
    """

    files: dict[str, int]
    moves: int


class _Follower:
    """Watch of every call, as `sys.setprofile` does."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            self.calls.append(path.relative_to(PACKAGE).as_posix())


def step_visits(recipe: str = "dml") -> Visits:
    """Follow the second step of a tiny training: what is made at first use is there by then."""
    bound = peerlearn.recipe(recipe, TINY)
    trainer = bound.system.build(bound.config)
    first, second, *_ = trainer.stages[0].loader.epoch(0)
    follow = _Follower()
    with trainer.stepping() as step:
        step(first)
        sys.setprofile(follow)
        try:
            step(second)
        finally:
            sys.setprofile(None)
    moves = sum(a != b for a, b in pairwise(follow.calls))
    return Visits(Counter(follow.calls), moves)


def main() -> None:
    """Print the files and how often there is a move between them."""
    visits = step_visits(*sys.argv[1:2])
    for file, calls in visits.files.items():
        print(f"{calls:4}  {file}")
    print(f"{len(visits.files)} files, {sum(visits.files.values())} calls, {visits.moves} moves")


if __name__ == "__main__":
    main()
