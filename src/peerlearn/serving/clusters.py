"""Images and vectors, for runs that found new classes among them."""

import torch

from peerlearn.data import evaluation_batches
from peerlearn.data.discovery import TEST_ROW, DiscoveryFacts, load_discovery
from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.metrics.assessment import Assessment
from peerlearn.metrics.discovery import DiscoveryAssessment
from peerlearn.serving.rows import RowReader


class ClusterReader(RowReader):
    """Rows of known classes keep their names; those of new ones are told apart by clusters."""

    facts_type = DiscoveryFacts
    facts: DiscoveryFacts

    def test_rows(self, name: str) -> Rows:
        data = load_discovery(self.config.data.named(name))
        found, expected = data.sample_shape, self.facts.sample_shape
        if found != expected or data.known != self.facts.known:
            raise InputError(
                f"--data {name}: rows of shape {found} and {data.known} known classes, but the run "
                f"was trained on {expected} and {self.facts.known}"
            )
        if not len(data.test):
            raise InputError(f"--data {name}: has no test rows to measure on")
        targets = torch.stack([data.test.y, torch.full_like(data.test.y, TEST_ROW)], dim=1)
        test, batch_size = data.test.with_labels(targets), self.config.evaluation.batch_size

        return lambda: evaluation_batches(test, batch_size, self.facts.mean, self.facts.std)

    def assessment(self) -> Assessment:
        config = self.config
        incremental = config.objective.incremental and config.method == "pairs"
        together = incremental or self.facts.generalised
        return DiscoveryAssessment(self.facts.known, together, members=config.evaluation.members)
