"""Images and vectors for runs that found new classes among them, and the cluster of each."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from peerlearn.data.datasets import renumbered
from peerlearn.data.loaders import evaluation_batches
from peerlearn.engine.evaluate import Rows, predict
from peerlearn.engine.precision import Precision, threads
from peerlearn.errors import InputError, unknown_name
from peerlearn.metrics.assessment import Assessment
from peerlearn.randomness import preserved_rng
from peerlearn.reading.class_names import Names
from peerlearn.reading.predictions import Inputs, write_table
from peerlearn.reading.rows import RowReader
from peerlearn.tasks.discovery.data.datasets import DiscoveryInfo
from peerlearn.tasks.discovery.data.pools import class_folder, read_pool
from peerlearn.tasks.discovery.data.registry import load_discovery
from peerlearn.tasks.discovery.findings import assessment_of, found_clusters, one_softmax
from peerlearn.tasks.discovery.metrics.clustering import in_order


class ClusterReader(RowReader):
    """Rows of known classes keep their names; those of new ones are told apart by clusters.

    `among` says which classes rows to predict may be of: known, new or all; None is for all, but
    for new where networks have not learned to tell the two apart. Raises InputError: another word.
    """

    info_type = DiscoveryInfo
    info: DiscoveryInfo
    options: ClassVar[Mapping[str, str]] = {"among": "discover classes"}

    def __init__(self, info: DiscoveryInfo, config: Any, among: str | None = None) -> None:
        super().__init__(info, config)
        if among is None:
            among = "all" if one_softmax(config, info) else "new"
        known = info.known
        left_out = {"known": slice(known, None), "new": slice(known), "all": slice(0)}
        if among not in left_out:
            raise unknown_name("kind of class", among, list(left_out), "--among")
        self.left_out = left_out[among]

    def test_rows(self, name: str) -> Rows:
        spec = self.config.data.named(name).model_copy(update={"size": None})
        data = load_discovery(spec, self.form(name))
        self.account += data.account
        found, expected = data.sample_shape, self.info.sample_shape
        if found != expected or data.known != self.info.known:
            raise InputError(
                f"--data {name}: rows of shape {found} and {data.known} known classes, but the run "
                f"was trained on {expected} and {self.info.known}"
            )
        if not len(data.test):
            raise InputError(f"--data {name}: has no test rows to measure on")
        ours, theirs = Names.of(self.info), Names(data.class_names[: data.known], bool(data.named))
        places = self.matched(ours._replace(names=ours.names[: data.known]), theirs, name)
        new = range(data.known, len(data.class_names))  # in clusters, whose numbers mean nothing
        test = data.test.with_labels(renumbered(data.test.y, [*places.tolist(), *new]))
        batch_size = self.config.evaluation.batch_size
        return lambda: evaluation_batches(test, batch_size, self.info.mean, self.info.std)

    def assessment(self) -> Assessment:
        return assessment_of(self.config, self.info)

    def aligned(self, logits: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Clusters of all peers in the order of the first one's, without classes left out."""
        known, orders = self.info.known, self.info.orders
        ordered = {
            name: in_order(z, torch.tensor(orders[name], device=z.device), known)
            if name in orders
            else z.clone()
            for name, z in logits.items()
        }
        for z in ordered.values():
            z[:, self.left_out] = -math.inf
        return ordered

    def unlabelled(self) -> Iterator[Inputs]:
        """Every row of the file or folder of unlabelled rows, those held out for tests too.

        Raises InputError: the run was trained on one data set, or the file is gone.
        """
        place = self.config.data.unlabelled
        if place is None:
            raise InputError(
                f"data.unlabelled: the run was trained on {self.config.data.name!r}, which has no "
                "file of unlabelled rows"
            )
        folder = Path(place).expanduser()
        if folder.is_dir():
            yield from self.inputs([class_folder(folder) or folder], {})
            return
        x = read_pool(place, "data.unlabelled").train.x
        rows = self._normalised(x, self.config.evaluation.batch_size)
        yield Inputs((place,) * len(x), tuple(range(len(x))), rows)


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


def assignments(run: Any, observe: Callable[[int], object] | None = None) -> list[Assignment]:
    """The cluster of every row of the unlabelled file that a run was trained on, by its ensemble.

    Clusters of the members are matched to each other as in its metrics.

    Args:
        run: of recipe `discovery`, from `open_run`.
        observe: is told how many rows are done.

    Raises InputError: a run of another recipe, or without a file of unlabelled rows.
    """
    reader, cohort = run.reader, run.cohort
    if not isinstance(reader, ClusterReader):
        raise InputError(
            f"{run.folder}: a run of recipe {run.config.recipe!r}, which discovers no classes"
        )
    names = [*reader.info.class_names, NONE]  # where −1, of no cluster, finds itself
    precision: Precision = run.precision()
    precision.place(cohort)
    peers = {name: cohort.peers[name] for name in run.members}
    made: list[Assignment] = []
    with preserved_rng(), threads(run.config.threads):
        for rows in reader.unlabelled():
            places = iter(zip(rows.sources, rows.numbers, strict=True))
            for logits, _ in predict(peers, rows.batches, precision, cohort.trunk):
                found = found_clusters(logits, reader.info, run.config, run.members)
                pairs = zip(found.number.tolist(), found.confidence.tolist(), strict=True)
                for (number, sure), (file, row) in zip(pairs, places, strict=False):
                    sure = sure if number >= 0 else 0.0
                    made.append(Assignment(file, row, names[number], sure))
                if observe is not None:
                    observe(len(made))
    return made


def write_assignments(out: Path, made: Sequence[Assignment]) -> None:
    """Write assignments as csv, whole or not at all: `file, row, cluster, confidence`.

    Raises RunError: the file cannot be written; the old one stays.
    """
    lines = ([file, str(row), cluster, f"{sure:.6g}"] for file, row, cluster, sure in made)
    write_table(out, Assignment._fields, lines)
