"""Every kind of case, and how many of a thousand cases are of it."""

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from benchmarks.faults.fuzzing import archives, pictures, raw_graphs, runs, settings, words
from benchmarks.faults.fuzzing.case import Case


class Kind(NamedTuple):
    """How a kind of case is made, and its share."""

    make: Callable[[Random], Case]
    share: int


KINDS: Mapping[str, Kind] = {
    "configuration": Kind(settings.configuration, 190),
    "overrides": Kind(settings.overrides, 170),
    "yaml text": Kind(settings.yaml_text, 100),
    "arrays": Kind(archives.array_file, 170),
    "two files": Kind(archives.two_files, 50),
    "new rows": Kind(archives.new_rows, 45),
    "class folder": Kind(pictures.class_folder, 70),
    "mask folder": Kind(pictures.mask_folder, 60),
    "loose images": Kind(pictures.loose_images, 35),
    "raw graphs": Kind(raw_graphs.raw_graphs, 45),
    "run folder": Kind(runs.run_folder, 25),
    "resumed run": Kind(runs.resumed_run, 2),
    "weights": Kind(runs.weight_file, 30),
    "command line": Kind(words.command_line, 5),
    "names": Kind(words.names, 1),
    "training": Kind(settings.training, 2),
}


def case_of(kind: str, seed: int, number: int) -> Case:
    """The case of a number; always the same for a seed."""
    return KINDS[kind].make(Random(f"{seed}/{kind}/{number}"))
