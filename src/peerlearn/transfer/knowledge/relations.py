"""Relation knowledge: how alike a row is to others, whatever the space that a peer sees them in.

One way: Fang et al., "SEED: Self-supervised Distillation for Visual Representation", ICLR 2021.
Both ways, with another view of the row beside the others: Zhao & Han, "Novel Visual Category
Discovery with Dual Ranking Statistics and Mutual Knowledge Distillation", NeurIPS 2021.

Shape suffixes: T teachers, R rows, M slots of the memory, N entries of a similarity distribution,
C units.
"""

from collections.abc import Collection, Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.memory import check_memory
from peerlearn.transfer.divergences import PROBABILITY_DIVERGENCES, between_probabilities
from peerlearn.transfer.knowledge.base import (
    DivergenceName,
    DivergenceOptions,
    IncomingEdges,
    Knowledge,
    Rows,
)
from peerlearn.transfer.knowledge.features import LayerPair, layer_of
from peerlearn.transfer.outputs import BatchView, PeerOutput, mean_log_probabilities


class RelationOptions(DivergenceOptions):
    """Options of entries about relations.

    Similarities lie between -1 and 1, logits anywhere: the divergence and the temperature of one
    are never those of the other.
    """

    own_scale = ("divergence", "alpha", "alpha_schedule", "temperature")
    reported = ("layer", "temperature", "memory", "views", "weight", "target")

    divergence: DivergenceName = "symmetric_kl"
    temperature: float = Field(0.07, gt=0, description="τ; the loss is not scaled")
    layer: LayerPair = LayerPair()
    memory: int = Field(
        2048,
        ge=2,
        le=1 << 24,
        description="earlier rows that relations compare a row of the batch with",
    )
    views: Literal[1, 2] = Field(
        1,
        description="2: batches are pairs, one view of all their rows, then another of the same "
        "rows; relations compare the first with its pair too, and remember the second",
    )
    rows: Rows = "all"

    def described(self) -> dict[str, Any]:
        return super().described() | {"layer": self.layer.described()}

    @field_validator("temperature", mode="before")
    @classmethod
    def _a_number(cls, given: Any) -> Any:
        if given == "learned":
            raise ValueError(
                "'learned' reads logits, and this edge has knowledge 'relations'; allowed: a "
                "number > 0"
            )
        return given

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.on_logits:
            yield (
                f"divergence: {self.divergence!r} is between logits, and this edge has knowledge "
                f"'relations'; allowed: {', '.join(PROBABILITY_DIVERGENCES)}, renyi"
            )


class RelationKnowledge(Knowledge):
    """A learner finds alike what its teachers find alike.

    There is one memory for each peer. All of them take the same rows in the same order, so that a
    slot is the same row for everyone, and distributions over slots can be compared. A peer that
    teaches from one layer and learns in another has a memory for each.
    """

    Options = RelationOptions
    travels = "features"
    remembers = True
    provable = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.memories = nn.ModuleDict()
        #: By memory: whose rows it holds, and whether they learn or teach there.
        self.places = {
            self._key(peer, learns): (peer, learns)
            for learner, teachers in self.incoming
            for peer, learns in ((learner, True), *((teacher, False) for teacher in teachers))
        }

    def asked_of(self, peer: str, output: PeerOutput) -> Collection[str]:
        """The layers whose rows are remembered of it, in every process."""
        layers, view = self.options.layer, BatchView({peer: output})
        sides = [learns for name, learns in self.places.values() if name == peer]
        asked = [layers.learner if learns else layers.teacher for learns in sides]
        return [layer_of(self.field, peer, layer, view)[0] for layer in asked]

    def prepare(self, view: BatchView) -> None:
        """Make the memories that are not there yet; `InputError` as for `losses`."""
        for learner, teachers in self.incoming:
            for peer in (name for name in view.outputs if name in (learner, *teachers)):
                vectors_RC = self._vectors(peer, peer == learner, view)
                key = self._key(peer, peer == learner)
                if key not in self.memories:
                    needed = 4 * self.options.memory * vectors_RC.shape[1]  # bytes of fp32
                    check_memory(needed, f"{self.field}.memory: {self.options.memory} rows")
                    memory = RowMemory(self.options.memory, vectors_RC.shape[1])
                    self.memories[key] = memory.to(vectors_RC.device)

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """How far each learner's similarity distributions are from its teachers'.

        The mean over the chosen rows, 0 where there are none. Unlike that of predictions it is not
        scaled by τ²: a temperature is part of what similarity means here, as in the sources.

        With `divergence: symmetric_kl`, edges both ways and `detach`, every peer gets the gradient
        of one symmetric term between the two whose gradient flows both ways (Zhao & Han 2021),
        because a peer's distribution depends on its own parameters alone.

        Raises InputError: no memory, no such layer, or features or rows that cannot be compared.
        """
        return {edges.learner: self._loss(edges, view) for edges in self.taught(learners)}

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        options = self.options
        teacher_TRN = torch.stack([self._log_probs(each, False, view) for each in edges.teachers])
        if options.detach:
            teacher_TRN = teacher_TRN.detach()
        if options.target == "ensemble":
            teacher_TRN = mean_log_probabilities(teacher_TRN).unsqueeze(0)
        learner_RN = self._log_probs(edges.learner, True, view)
        order = options.order(view)
        loss_TR = between_probabilities(options.divergence, teacher_TRN, learner_RN, order)
        loss_T = loss_TR.sum(1) / max(len(learner_RN), 1)
        return loss_T.sum() if options.target == "sum" else loss_T.mean()

    def _log_probs(self, peer: str, learns: bool, view: BatchView) -> Tensor:
        """How alike a peer finds the chosen rows to those remembered, (R, N) in fp32."""
        key, temperature = self._key(peer, learns), self.options.temperature

        def made() -> Tensor:
            memory_MC = self._memory(key).rows
            with torch.autocast(memory_MC.device.type, enabled=False):
                query_RC, pair_RC = self._compared(peer, learns, view)
                return similarity_log_probs(query_RC, memory_MC.float(), temperature, pair_RC)

        return view.once((id(self), key), made)  # however many learners ask

    def check_memory(self, view: BatchView) -> None:
        """Where a peer has no outputs its memory would fall behind: `InputError`."""
        for peer, _ in self.places.values():
            if peer not in view.outputs:
                raise InputError(
                    f"{self.field}: relations remember rows for all peers of an entry at once, "
                    f"and {peer!r} takes no part while others learn; give the edges that join "
                    f"{peer!r} an entry of their own"
                )

    def remember(self, view: BatchView) -> None:
        """Take the rows of a batch, of pairs the second, into the memories."""
        for key, (peer, learns) in self.places.items():
            query_RC, pair_RC = self._compared(peer, learns, view)
            self._memory(key).push(query_RC if pair_RC is None else pair_RC)

    def _memory(self, key: str) -> "RowMemory":
        if key not in self.memories:
            raise InputError(
                f"{self.field}: relations need a memory of earlier rows; call "
                "cohort.transfer.prepare(cohort(x)) once before training"
            )
        memory = self.memories[key]
        assert isinstance(memory, RowMemory)
        return memory

    def _key(self, peer: str, learns: bool) -> str:
        """Of a memory: the peer, and its side of the edges where that makes a difference."""
        layers = self.options.layer
        if layers.teacher == layers.learner:
            return peer
        return f"{peer}:to" if learns else f"{peer}:from"

    def _compared(self, peer: str, learns: bool, view: BatchView) -> tuple[Tensor, Tensor | None]:
        """A peer's unit vectors of the chosen rows, and of the same in another view if any."""
        rows = self.options.rows
        vectors_RC, mask_R = self._vectors(peer, learns, view), view.row_mask(rows)
        if mask_R is not None and mask_R.ndim > 1:
            raise InputError(
                f"{self.field}.rows: found {rows!r}, but labels are of pixels and "
                "relations compare whole images; allowed: all"
            )
        if self.options.views == 1:
            return vectors_RC if mask_R is None else vectors_RC[mask_R], None
        count = len(vectors_RC)
        view.once((id(self), "pairs", count), lambda: self._check_pairs(view, count))
        first_RC, second_RC = vectors_RC.chunk(2)
        if mask_R is None:
            return first_RC, second_RC
        mask_R = mask_R[: len(first_RC)]
        return first_RC[mask_R], second_RC[mask_R]

    def _vectors(self, peer: str, learns: bool, view: BatchView) -> Tensor:
        layers, rows = self.options.layer, len(view.outputs[peer].logits)
        name = layers.learner if learns else layers.teacher
        layer, feature = layer_of(self.field, peer, name, view)
        if feature.ndim not in (2, 4) or len(feature) != rows:
            raise InputError(
                f"{self.field}.layer: {layer!r} of peer {peer!r} has shape {tuple(feature.shape)} "
                f"for {rows} rows; relations compare one vector or map a row: (rows, units) or "
                "(rows, channels, height, width)"
            )
        return unit_vectors(feature)

    def _check_pairs(self, view: BatchView, rows: int) -> None:
        if rows % 2:
            found = f"{rows} rows"
        # a NaN marks a missing label
        elif view.targets is None or torch.equal(*view.targets.nan_to_num(-1).chunk(2)):
            return
        else:
            found = "halves with different targets"
        raise InputError(
            f"{self.field}.views: 2 needs batches of pairs, one view of all rows and then "
            f"another of the same rows; found {found}. Where data are not loaded so, use views: 1"
        )


class RowMemory(nn.Module):
    """A queue of unit vectors, first in, first out; it begins with random ones.

    New rows take the places of the oldest. Memories of one size that take the same rows in the same
    order hold the same row in the same slot, whatever their widths.

    Shapes:
        rows: (size, width) in fp32; position: (), the slot of the next row.
    """

    rows: Tensor
    position: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def push(self, rows_RC: Tensor) -> None:
        """Take rows, without their gradient; of more rows than slots the last remain.

        The buffer is replaced rather than written to: a loss that was computed from it can still
        go backward.
        """
        size, taken = len(self.rows), len(rows_RC)
        kept_RC = rows_RC.detach()[-size:].to(self.rows.dtype)
        first = self.position + taken - len(kept_RC)
        slots_R = (first + torch.arange(len(kept_RC), device=first.device)) % size
        self.rows = self.rows.index_copy(0, slots_R, kept_RC)
        self.position = (self.position + taken) % size


def unit_vectors(feature: Tensor) -> Tensor:
    """Rows (R, C) of length 1, in fp32; maps (R, C, H, W) count as their mean over positions."""
    vectors = feature.float()
    return F.normalize(vectors.flatten(2).mean(2) if vectors.ndim > 2 else vectors, dim=1)


def similarity_log_probs(
    query_RC: Tensor, memory_MC: Tensor, temperature: float, pair_RC: Tensor | None = None
) -> Tensor:
    """`log softmax([⟨q, k⟩,] ⟨q, Q₁⟩, …, ⟨q, Q_M⟩ over τ)`: a row's similarity distribution.

    Of unit vectors: q a row, Q earlier rows, k another view of the row, without which the first
    entry is left out.

    Shapes:
        result: (R, M), or (R, 1 + M) with `pair_RC`
    """
    similarity = query_RC @ memory_MC.T
    if pair_RC is not None:
        own_R1 = (query_RC * pair_RC).sum(1, keepdim=True)
        similarity = torch.cat([own_R1, similarity], dim=1)
    return F.log_softmax(similarity / temperature, dim=1)
