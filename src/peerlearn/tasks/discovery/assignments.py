"""The unlabelled rows of a run that discovered classes, each with its cluster."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from peerlearn.cohort import Cohort
from peerlearn.engine.evaluate import predict
from peerlearn.engine.precision import Precision, threads
from peerlearn.errors import InputError
from peerlearn.randomness import preserved_rng
from peerlearn.reading.reader import Reader
from peerlearn.reading.table import write_table
from peerlearn.tasks.discovery.clusters import found_clusters
from peerlearn.tasks.discovery.data import DiscoveryInfo
from peerlearn.tasks.discovery.reader import ClusterReader

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


class FinishedRun(Protocol):
    """What a finished run must tell; see `serving.TrainedRun`."""

    @property
    def folder(self) -> Path: ...

    @property
    def config(self) -> Any: ...

    @property
    def reader(self) -> Reader[Any]: ...

    @property
    def cohort(self) -> Cohort: ...

    @property
    def members(self) -> list[str]: ...

    def precision(self) -> Precision: ...


def assignments(
    run: FinishedRun, observe: Callable[[int], object] | None = None
) -> list[Assignment]:
    """The cluster of every row of the unlabelled file that a run was trained on, by its ensemble.

    Clusters of the members are matched to each other as in its metrics.

    Args:
        run: of recipe `discovery`, from `open_run`.
        observe: is told how many rows are done.

    Raises:
        InputError: a run of another recipe, or without a file of unlabelled rows.
    """
    if not isinstance(run.reader, ClusterReader):
        raise InputError(
            f"{run.folder}: a run of recipe {run.config.recipe!r}, which discovers no classes"
        )
    made: list[Assignment] = []
    for part in _assigned(run, run.reader):
        made += part
        if observe is not None:
            observe(len(made))
    return made


def _assigned(run: FinishedRun, reader: ClusterReader) -> Iterator[list[Assignment]]:
    """Assignments of the rows of one batch."""
    info: DiscoveryInfo = reader.info
    names = [*info.class_names, NONE]  # where −1, of no cluster, finds itself
    precision, cohort = run.precision(), run.cohort
    precision.place(cohort)
    peers = {name: cohort.peers[name] for name in run.members}
    with preserved_rng(), threads(run.config.threads):
        for rows in reader.unlabelled():
            places = iter(zip(rows.sources, rows.numbers, strict=True))
            for logits, _ in predict(peers, rows.batches, precision, cohort.trunk):
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
