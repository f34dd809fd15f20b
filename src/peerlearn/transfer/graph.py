"""Who teaches whom: the edges between the peers of a cohort and the losses they make."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.transfer.adaptive import AdaptiveParts
from peerlearn.transfer.feature_loss import feature_loss
from peerlearn.transfer.lessons import Exchange, lessons_of
from peerlearn.transfer.outputs import PeerOutput
from peerlearn.transfer.prediction_loss import check_shapes, prediction_loss
from peerlearn.transfer.predictions import OutputForm, Predictions
from peerlearn.transfer.relation_loss import Relations, relation_loss
from peerlearn.transfer.relation_memories import RelationMemories
from peerlearn.transfer.spec import TransferSpec
from peerlearn.validation import validated


class TransferGraph(nn.Module):
    """Directed edges between named peers.

    Args:
        transfer: a `TransferSpec`, or any of its forms: `"predictions: kl"`, `"none"`, a mapping.
        peers: names of the cohort's peers, in order.
        form: `softmax` for one class a row, `sigmoid` for multi-label outputs.

    Raises:
        InputError: unknown key or value, an unknown peer in `from` or `to`, or edges without two
            peers to connect.
    """

    def __init__(
        self,
        transfer: TransferSpec | str | Mapping[str, Any] | None,
        peers: Sequence[str],
        form: OutputForm = "softmax",
    ) -> None:
        super().__init__()
        self.spec = (
            transfer
            if isinstance(transfer, TransferSpec)
            else validated(TransferSpec, transfer, "transfer")
        )
        self.peers = tuple(peers)
        self.form: OutputForm = form
        self.lessons = tuple(lessons_of(self.spec, peers))
        self.adaptive = AdaptiveParts()
        self.memories = RelationMemories()

    @property
    def sequential(self) -> bool:
        """Whether each peer learns from peers that have already stepped."""
        return self.spec.update == "sequential"

    @property
    def remembers(self) -> bool:
        """Whether some edge compares rows with earlier ones."""
        return any(lesson.spec.knowledge == "relations" for lesson in self.lessons)

    def prepare(self, outputs: Mapping[str, PeerOutput]) -> None:
        """Make what the edges themselves learn and keep, for batches of the shape of `outputs`.

        Initial values come from torch's global generator. Adaptive weighting, learned temperatures,
        hints between maps of different width and relations need it; call it once, before training.

        Raises:
            InputError: peers whose predictions or features cannot be compared.
        """
        exchange = Exchange(outputs)
        for lesson in self.lessons:
            if lesson.spec.knowledge == "predictions":
                check_shapes(lesson, exchange)
            if lesson.spec.knowledge == "relations":
                self.memories.add(lesson, exchange)
            self.adaptive.add(lesson, exchange)

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        """What the edges learn on behalf of one peer, for its optimiser."""
        return self.adaptive.parameters_of(peer)

    def edges(self) -> Iterator[dict[str, Any]]:
        """Every edge as a flat mapping, for reports."""
        for lesson in self.lessons:
            for teacher in lesson.teachers:
                ends = {"from": teacher, "to": lesson.learner}
                yield ends | lesson.spec.described()

    def losses(
        self,
        outputs: Mapping[str, PeerOutput],
        targets: Tensor | None = None,
        *,
        labelled: Tensor | None = None,
        progress: float | None = None,
        learners: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """The weighted transfer loss of each learner, a scalar in fp32; 0 where nobody teaches.

        It leaves everything as it is: what a batch adds to memories, `remember` takes.

        Args:
            outputs: of every peer for the same rows.
            targets: labels, read by the gate `correct`.
            labelled: boolean mask over rows, read where `rows` is not `all`; None: all labelled.
            progress: finished fraction of the stage, needed where a schedule moves.
            learners: peers to compute the loss of; None for all.

        Raises:
            InputError: peers of one lesson disagree in the shape of their logits or features.
        """
        exchange = Exchange(outputs, targets, labelled, progress)
        plain, relations = Predictions(outputs), Relations(exchange, self.memories)
        by_entry: dict[int, Predictions] = {}  # those that weight no logits share `plain`
        chosen = outputs if learners is None else learners
        losses = {name: outputs[name].logits.new_zeros((), dtype=torch.float32) for name in chosen}
        for lesson in self.lessons:
            if lesson.learner not in losses:
                continue
            self.adaptive.check(lesson)
            spec, entry = lesson.spec, lesson.entry
            weight = exchange.at(spec.weight_schedule, spec.weight, "weight")
            if weight == 0 or spec.gate == "cutoff":
                continue
            if spec.knowledge == "features":
                term = feature_loss(lesson, exchange, self.adaptive.adapters_of(lesson))
            elif spec.knowledge == "relations":
                term = relation_loss(lesson, relations)
            else:
                if entry not in by_entry:
                    parts = self.adaptive.weightings_of(entry)
                    by_entry[entry] = Predictions(outputs, parts) if parts else plain
                term = prediction_loss(lesson, by_entry[entry], exchange, self.adaptive, self.form)
            losses[lesson.learner] = losses[lesson.learner] + weight * term
        for peer, term in self.adaptive.supervision(exchange, losses):
            losses[peer] = losses[peer] + term
        return losses

    def remember(
        self,
        outputs: Mapping[str, PeerOutput],
        targets: Tensor | None = None,
        *,
        labelled: Tensor | None = None,
        learners: Collection[str] | None = None,
    ) -> None:
        """Take the rows of a training batch into the memories of edges about relations.

        Call it once for every batch that trains, after `losses` and whatever the order of updates;
        never for one that evaluates. Weights do not matter: memories fill before an edge opens.

        Args:
            outputs: of every peer, as before the step.
            targets: labels, by which batches of pairs are checked.
            labelled: boolean mask over rows, read where `rows` is not `all`; None: all labelled.
            learners: peers that train in this step; None for all.

        Raises:
            InputError: a peer is missing beside which others learn from one entry, or features or
                rows that cannot be compared.
        """
        exchange = Exchange(outputs, targets, labelled)
        self.memories.remember(self.lessons, exchange, self.peers if learners is None else learners)
