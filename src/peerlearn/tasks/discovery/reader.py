"""Images and vectors, for runs that found new classes among them."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from peerlearn.data.loaders import evaluation_batches
from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError, unknown_name
from peerlearn.metrics.assessment import Assessment
from peerlearn.reading.predictions import Inputs
from peerlearn.reading.rows import RowReader
from peerlearn.tasks.discovery.clusters import classes_compete, one_softmax
from peerlearn.tasks.discovery.data import DiscoveryInfo, load_discovery
from peerlearn.tasks.discovery.data.pools import class_folder, read_pool
from peerlearn.tasks.discovery.metrics.assessment import DiscoveryAssessment
from peerlearn.tasks.discovery.metrics.cluster_ensemble import in_order


class ClusterReader(RowReader):
    """Rows of known classes keep their names; those of new ones are told apart by clusters.

    Args:
        info: of the data that the networks were trained on.
        config: of the run.
        among: which classes rows to predict may be of: known, new or all; None for all, but new
            where networks have not learned to tell the two apart.

    Raises:
        InputError: another word.
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
        data = load_discovery(self.config.data.named(name))
        found, expected = data.sample_shape, self.info.sample_shape
        if found != expected or data.known != self.info.known:
            raise InputError(
                f"--data {name}: rows of shape {found} and {data.known} known classes, but the run "
                f"was trained on {expected} and {self.info.known}"
            )
        if not len(data.test):
            raise InputError(f"--data {name}: has no test rows to measure on")
        batch_size = self.config.evaluation.batch_size
        return lambda: evaluation_batches(data.test, batch_size, self.info.mean, self.info.std)

    def assessment(self) -> Assessment:
        together = classes_compete(self.config, self.info)
        members = self.config.evaluation.members
        return DiscoveryAssessment(self.info.known, together, members=members)

    def together(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Clusters of all peers in the order of the first one's, without classes left out."""
        known, orders = self.info.known, self.info.orders
        ordered = {
            name: in_order(z, torch.tensor(orders[name]), known) if name in orders else z.clone()
            for name, z in logits.items()
        }
        for z in ordered.values():
            z[:, self.left_out] = -math.inf
        return super().together(ordered)

    def unlabelled(self) -> Iterator[Inputs]:
        """Every row of the file or folder of unlabelled rows, those held out for tests too.

        Raises:
            InputError: the run was trained on one data set, or the file is not there any more.
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
