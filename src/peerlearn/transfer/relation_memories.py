"""What edges about relations remember: the memories of a transfer graph, and the rows they take."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.transfer.feature_loss import layer_of
from peerlearn.transfer.lessons import Exchange, Lesson
from peerlearn.transfer.memory import RowMemory
from peerlearn.transfer.relations import unit_vectors


class Compared(NamedTuple):
    """The unit vectors of one peer that a lesson is about.

    Attributes:
        query: of the chosen rows (R, C).
        pair: of the same rows in another view; None where batches are not pairs.
    """

    query: Tensor
    pair: Tensor | None

    @property
    def remembered(self) -> Tensor:
        """What enters the memory: the pairs, or else the rows themselves."""
        return self.query if self.pair is None else self.pair


class RelationMemories(nn.Module):
    """One memory for each peer of each entry about relations.

    All memories of an entry take the same rows in the same order, so that a slot is the same row
    for everyone, and distributions over slots can be compared. A peer that teaches from one layer
    and learns in another has a memory for each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.memories = nn.ModuleDict()

    def add(self, lesson: Lesson, exchange: Exchange) -> None:
        """Make the memories of a lesson that are not there yet, in the order of peers.

        Raises:
            InputError: a peer without such a layer, or one that gives no vector or map for each
                row; names the layer and its shape.
        """
        for peer in (name for name in exchange.outputs if name in lesson.peers):
            vectors_RC = _vectors(lesson, peer, exchange)
            if memory_key(lesson, peer) not in self.memories:
                memory = RowMemory(lesson.spec.memory, vectors_RC.shape[1])
                self.memories[memory_key(lesson, peer)] = memory.to(vectors_RC.device)

    def of(self, lesson: Lesson, peer: str) -> RowMemory:
        """The memory of a peer in the entry of a lesson.

        Raises:
            InputError: it was never made.
        """
        key = memory_key(lesson, peer)
        if key not in self.memories:
            raise InputError(
                f"{lesson.field}: relations need a memory of earlier rows; call "
                "cohort.transfer.prepare(cohort(x)) once before training"
            )
        memory = self.memories[key]
        assert isinstance(memory, RowMemory)
        return memory

    @torch.no_grad()
    def remember(
        self, lessons: Iterable[Lesson], exchange: Exchange, learners: Collection[str]
    ) -> None:
        """Take the rows of a batch into the memories of entries from which somebody learns.

        Raises:
            InputError: as `add`; or one peer of such an entry has no outputs, so that its memory
                would fall behind.
        """
        lessons = [lesson for lesson in lessons if lesson.spec.knowledge == "relations"]
        active = {lesson.entry for lesson in lessons if lesson.learner in learners}
        taking = {
            memory_key(lesson, peer): (lesson, peer)
            for lesson in lessons
            if lesson.entry in active
            for peer in lesson.peers
        }
        for lesson, peer in taking.values():
            if peer not in exchange.outputs:
                raise InputError(
                    f"{lesson.field}: relations remember rows for all peers of an entry at once, "
                    f"and {peer!r} takes no part while others learn; give the edges that join "
                    f"{peer!r} an entry of their own"
                )
        for lesson, peer in taking.values():
            self.of(lesson, peer).push(compared(lesson, peer, exchange).remembered)


def compared(lesson: Lesson, peer: str, exchange: Exchange) -> Compared:
    """What a peer says of the rows that a lesson chooses, with gradient.

    Raises:
        InputError: features or rows that cannot be compared, or a batch that is not of pairs where
            `views: 2` says so.
    """
    vectors_RC, mask_R = _vectors(lesson, peer, exchange), exchange.row_mask(lesson.spec.rows)
    if mask_R is not None and mask_R.ndim > 1:
        raise InputError(
            f"{lesson.field}.rows: found {lesson.spec.rows!r}, but labels are of pixels and "
            "relations compare whole images; allowed: all"
        )
    if lesson.spec.views == 1:
        return Compared(vectors_RC if mask_R is None else vectors_RC[mask_R], None)
    pairs = len(vectors_RC) // 2
    _check_pairs(lesson, exchange, len(vectors_RC))
    first_RC, second_RC = vectors_RC[:pairs], vectors_RC[pairs:]
    if mask_R is None:
        return Compared(first_RC, second_RC)
    return Compared(first_RC[mask_R[:pairs]], second_RC[mask_R[:pairs]])


def memory_key(lesson: Lesson, peer: str) -> str:
    """Of a memory: the entry, the peer, and its side of the edges where that makes a difference."""
    layers = lesson.spec.layer
    one = layers.teacher == layers.learner
    side = () if one else ("to" if peer == lesson.learner else "from",)
    return ":".join([str(lesson.entry), peer, *side])


def _vectors(lesson: Lesson, peer: str, exchange: Exchange) -> Tensor:
    layers, rows = lesson.spec.layer, len(exchange.outputs[peer].logits)
    name = layers.learner if peer == lesson.learner else layers.teacher
    layer, feature = layer_of(lesson.field, peer, name, exchange)
    if feature.ndim not in (2, 4) or len(feature) != rows:
        raise InputError(
            f"{lesson.field}.layer: {layer!r} of peer {peer!r} has shape {tuple(feature.shape)} "
            f"for {rows} rows; relations compare one vector or map a row: (rows, units) or "
            "(rows, channels, height, width)"
        )
    return unit_vectors(feature)


def _check_pairs(lesson: Lesson, exchange: Exchange, rows: int) -> None:
    found, targets = None, exchange.targets
    if rows % 2:
        found = f"{rows} rows"
    elif targets is not None:
        known = targets.nan_to_num(-1)  # a NaN marks a missing label
        if not torch.equal(known[: rows // 2], known[rows // 2 :]):
            found = "halves with different targets"
    if found is not None:
        raise InputError(
            f"{lesson.field}.views: 2 needs batches of pairs, one view of all rows and then "
            f"another of the same rows; found {found}. Where data are not loaded so, use views: 1"
        )
