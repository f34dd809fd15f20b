"""The unlabelled rows of a run that discovered classes, each with its cluster."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from peerlearn.data.discovery import DiscoveryInfo
from peerlearn.engine.evaluate import predict
from peerlearn.engine.threads import threads
from peerlearn.errors import InputError
from peerlearn.randomness import preserved_rng
from peerlearn.serving.clusters import ClusterReader
from peerlearn.serving.run import TrainedRun
from peerlearn.serving.table import write_table
from peerlearn.systems.discovery.clusters import found_clusters

COLUMNS = ("file", "row", "cluster", "confidence")
NONE = "none"
"""The cluster of a row of which the networks can say nothing, such as one that holds NaN."""


class Assignment(NamedTuple):
    """The cluster of one row.

    Attributes:
        file: as typed; of a folder, the image.
        row: its number in that file.
        cluster: "new 1", "new 2", …, or the name of a known class where rows may be of those.
        confidence: probability of that cluster among those that it was chosen from, 0 to 1.
    """

    file: str
    row: int
    cluster: str
    confidence: float


def assignments(run: TrainedRun, told: Callable[[int], object] | None = None) -> list[Assignment]:
    """The cluster of every row of the unlabelled file that a run was trained on, by its ensemble.

    Clusters of the members are matched to each other as in its metrics.

    Args:
        run: of recipe `discovery`, from `open_run`.
        told: is told how many rows are done.

    Raises:
        InputError: a run of another recipe, or without a file of unlabelled rows.
    """
    if not isinstance(run.reader, ClusterReader):
        raise InputError(
            f"{run.folder}: a run of recipe {run.recipe.name!r}, which discovers no classes"
        )
    made: list[Assignment] = []
    for part in _assigned(run, run.reader):
        made += part
        if told is not None:
            told(len(made))
    return made


def _assigned(run: TrainedRun, reader: ClusterReader) -> Iterator[list[Assignment]]:
    """Assignments of the rows of one batch."""
    info: DiscoveryInfo = reader.info
    names = [*info.class_names, NONE]  # where −1, of no cluster, finds itself
    precision = run.precision()
    precision.place(run.cohort)
    peers = {name: run.cohort.peers[name] for name in run.members}
    with preserved_rng(), threads(run.config.threads):
        for rows in reader.unlabelled():
            places = iter(zip(rows.sources, rows.numbers, strict=True))
            for logits, _ in predict(peers, rows.batches, precision, run.cohort.trunk):
                found = found_clusters(logits, info, run.config, run.members)
                yield [
                    Assignment(file, row, names[number], confidence if number >= 0 else 0.0)
                    for number, confidence, (file, row) in zip(
                        found.number.tolist(), found.confidence.tolist(), places, strict=False
                    )
                ]


def write_assignments(out: Path, made: Sequence[Assignment]) -> None:
    """Write assignments as csv, whole or not at all: `file, row, cluster, confidence`.

    Raises:
        RunError: the file cannot be written; the old one stays.
    """
    lines = ([file, str(row), cluster, f"{sure:.6g}"] for file, row, cluster, sure in made)
    write_table(out, COLUMNS, lines)
