"""Everything that is measured where classes are discovered: known ones, new ones, pairs of peers.

Shapes: N rows, known + new logits.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.metrics.assessment import RowTensors, mean_metrics
from peerlearn.metrics.catalogue import Metric, fraction
from peerlearn.tasks.discovery.metrics.clustering import (
    align,
    ari,
    cluster_accuracy,
    decided,
    matched_members,
    nmi,
    right_rows,
)

METRICS = (
    fraction("cluster_accuracy", headline=True, selects=True, brief=0),
    fraction("nmi", "NMI", headline=True, brief=1),
    fraction("ari", "ARI", headline=True),
    fraction("all_accuracy"),
    fraction("old_accuracy", brief=2),
    fraction("new_accuracy", brief=3),
    fraction("oracle_cluster_accuracy", "oracle, best by truth", compared=False),
    fraction("known_accuracy", brief=4),
    fraction("test_cluster_accuracy"),
    fraction("pair_precision"),
    fraction("pair_recall"),
    Metric("clusters", "clusters found", decimals=1, compared=False),
    fraction("largest_cluster", better=None, compared=False),
)


class DiscoveryAssessment:
    """Metrics of a cohort that discovers classes; each only where there are rows for it.

    Of unlabelled training rows whose truth is known:

    - `cluster_accuracy`, `nmi`, `ari`: clusters against classes; see `metrics.clustering`.
    - `all_accuracy`, `old_accuracy`, `new_accuracy`: of all of them, of those of known classes and
      of those of new ones, once clusters have classes by ONE matching over all of them. Only where
      rows of known classes are among them (generalised discovery).

    Of test rows:

    - `known_accuracy`: share of the rows of known classes whose class is right.
    - `test_cluster_accuracy`: of the rows of new classes, matched among themselves.

    And without any truth, of unlabelled rows (where there are none, of test rows of new classes):

    - `clusters`: how many have a row. `largest_cluster`: share of the rows in the largest.
    - between peers, `agreement`: share of the rows in the same cluster, matched to each other.

    A row's class is the largest of the known classes' logits, its cluster the largest of the new
    ones', as if one knew which kind it is. With `incremental`, and where unlabelled rows are of
    known classes too, nobody knows: both are the largest of all logits.

    The ensemble averages probabilities, after the new classes of every member were matched to those
    of the first by how many unlabelled rows they share; no truth is read for it. A row with NaN
    logits is of no class.

    Args:
        known: how many classes have labels; their logits come first.
        incremental: known and new classes compete.
        members: peers whose mean and ensemble are measured; None for all.
    """

    def __init__(
        self, known: int, incremental: bool = False, *, members: Collection[str] | None = None
    ) -> None:
        self.known = known
        self.incremental = incremental
        self.members = members
        self._logits: dict[str, list[Tensor]] = {}
        self._y: list[Tensor] = []
        self._unlabelled: list[Tensor] = []

    def add(self, logits: Mapping[str, Tensor], y: Tensor, rows: str = "test") -> None:
        """Count a batch.

        Args:
            logits: float (N, known + new) by peer, the same peers in every batch.
            y: int (N,), the class, −1 where nobody knows it.
            rows: what the batch is of: "unlabelled" training rows, or "test" ones, nobody's.

        Raises InputError: shapes or peers do not fit.
        """
        if not logits or (self._logits and list(logits) != list(self._logits)):
            raise InputError(
                f"metrics: outputs of peers {', '.join(logits) or 'none'}; "
                f"earlier batches had {', '.join(self._logits) or 'none'}"
            )
        if y.ndim != 1:
            raise InputError(f"metrics: y {tuple(y.shape)}; expected (N,): the class of every row")
        width = next(iter(logits.values())).shape[-1]
        for name, z in logits.items():
            if z.shape != (len(y), width) or width <= self.known:
                raise InputError(
                    f"metrics: peer {name!r}: logits {tuple(z.shape)} for {len(y)} rows and "
                    f"{self.known} known classes; expected (N, classes), as wide as the others'"
                )
        for name, z in logits.items():
            self._logits.setdefault(name, []).append(z.detach().cpu())
        self._y.append(y.cpu())
        self._unlabelled.append(torch.full((len(y),), rows == "unlabelled"))

    def result(self) -> dict[str, Any]:
        """What was measured, in the form of `assess_classification`; InputError without a row."""
        if not sum(map(len, self._y)):
            raise InputError("metrics: no row; nothing can be measured")
        logits, rows, chosen = self._everything()
        members = [logits[name] for name in chosen]
        peers = {name: rows.metrics([z]) for name, z in logits.items()}
        return {
            "peers": peers,
            "mean_peer": mean_metrics([peers[name] for name in chosen]),
            "ensemble": rows.metrics(matched_members(members, self.known, rows.told_apart)),
            "between_peers": {"agreement": rows.agreement(logits)},
        }

    def row_scores(self) -> RowTensors:
        """Of all rows in the order they were added; see `_Rows.scores`."""
        logits, rows, chosen = self._everything()
        members = [logits[name] for name in chosen]
        together = matched_members(members, self.known, rows.told_apart)
        peers = {name: rows.scores([z]) for name, z in logits.items()}
        return peers | {"ensemble": rows.scores(together)}

    def _everything(self) -> tuple[dict[str, Tensor], "_Rows", list[str]]:
        """Logits of all rows by peer, what the rows are, and who makes the ensemble."""
        logits = {name: torch.cat(parts).double() for name, parts in self._logits.items()}
        truth, unlabelled = torch.cat(self._y), torch.cat(self._unlabelled)
        chosen = [name for name in logits if self.members is None or name in self.members]
        return logits, _Rows(truth, unlabelled, self.known, self.incremental), chosen


class _Rows:
    """What rows are, and how one network's, or several networks', outputs for them are measured."""

    def __init__(self, truth: Tensor, unlabelled: Tensor, known: int, incremental: bool) -> None:
        self.truth = truth
        self.known = known
        is_known, is_new = (truth >= 0) & (truth < known), truth >= known
        self.generalised = bool((unlabelled & is_known).any())
        self.undecided = incremental or self.generalised
        self.new_classes = slice(None) if self.undecided else slice(known, None)
        self.known_classes = slice(None) if self.undecided else slice(known)
        self.measured = unlabelled & (truth >= 0)
        self.known_test = ~unlabelled & is_known
        self.new_test = ~unlabelled & is_new
        candidates = (unlabelled, self.new_test, ~unlabelled)
        self.told_apart = next(rows for rows in candidates if rows.any())

    def metrics(self, members: Sequence[Tensor]) -> dict[str, float]:
        """Of the mean probability of networks whose logits mean the same."""
        clusters = decided(members, self.new_classes).number
        right = self._right(members)
        metrics = {name: found.double().mean().item() for name, (_, found) in right.items()}
        if self.measured.any():
            found, truth = clusters[self.measured], self.truth[self.measured]
            accuracy = {"cluster_accuracy": metrics.pop("cluster_accuracy")}
            metrics = accuracy | {"nmi": nmi(found, truth), "ari": ari(found, truth)} | metrics
        told_apart = clusters[self.told_apart]
        sizes = told_apart[told_apart >= 0].bincount(minlength=1)
        metrics["clusters"] = float(sizes.count_nonzero())
        metrics["largest_cluster"] = sizes.max().item() / len(told_apart)
        return metrics

    def scores(self, members: Sequence[Tensor]) -> dict[str, Tensor]:
        """What each row adds to the accuracies, float32 (N,), NaN where it is not of their rows.

        And `cluster`, that of the row (−1 for none), and `label`, its class (−1 where nobody knows
        it), by which `nmi`, `ari` and what needs no truth can be computed again.
        """
        found = {}
        for name, (rows, right) in self._right(members).items():
            found[name] = torch.full(self.truth.shape, torch.nan)
            found[name][rows] = right.float()
        cluster = decided(members, self.new_classes).number
        return found | {"cluster": cluster.float(), "label": self.truth.float()}

    def _right(self, members: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """By accuracy its rows, bool (N,), and which of these are right, bool (rows,)."""
        clusters = decided(members, self.new_classes).number
        classes = decided(members, self.known_classes).number
        found: dict[str, tuple[Tensor, Tensor]] = {}
        if self.measured.any():
            right = self._matched(clusters, self.measured)
            found["cluster_accuracy"] = self.measured, right
            if self.generalised:
                old = self.truth < self.known
                found["all_accuracy"] = self.measured, right
                for name, kind in (("old_accuracy", old), ("new_accuracy", ~old)):
                    if (rows := self.measured & kind).any():
                        found[name] = rows, right[kind[self.measured]]
        if self.known_test.any():
            right = classes[self.known_test] == self.truth[self.known_test]
            found["known_accuracy"] = self.known_test, right
        if self.new_test.any():
            found["test_cluster_accuracy"] = self.new_test, self._matched(clusters, self.new_test)
        return found

    def _matched(self, clusters: Tensor, rows: Tensor) -> Tensor:
        """Which of some rows are right once their clusters have classes."""
        found, truth = clusters[rows], self.truth[rows]
        return right_rows(found, truth, align(found, truth))

    def agreement(self, logits: Mapping[str, Tensor]) -> dict[str, float]:
        """Share of the rows in the same cluster, by pair of peers."""
        rows, kinds = self.told_apart, self.new_classes
        found = {name: decided([z[rows]], kinds).number for name, z in logits.items()}
        return {f"{a}~{b}": cluster_accuracy(found[a], found[b]) for a, b in combinations(found, 2)}
