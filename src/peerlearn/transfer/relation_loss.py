"""The loss of a lesson about relations: a learner finds alike what its teachers find alike.

Shape suffixes: T teachers, R rows, N entries of a similarity distribution.
"""

import torch
from torch import Tensor

from peerlearn.transfer.divergences import between_probabilities
from peerlearn.transfer.lessons import Exchange, Lesson
from peerlearn.transfer.predictions import mean_log_probabilities
from peerlearn.transfer.relation_memories import RelationMemories, compared, memory_key
from peerlearn.transfer.relations import similarity_log_probs


class Relations:
    """The similarity distributions of one batch, each computed once however many edges ask.

    Args:
        exchange: the outputs of the batch.
        memories: of the graph, as they were before this batch.
    """

    def __init__(self, exchange: Exchange, memories: RelationMemories) -> None:
        self.exchange = exchange
        self.memories = memories
        self._log_probs: dict[str, Tensor] = {}

    def log_probs(self, lesson: Lesson, peer: str) -> Tensor:
        """How alike a peer finds the rows of a lesson to those remembered, (R, N) in fp32."""
        temperature = lesson.spec.temperature
        assert temperature != "learned", "EdgeSpec refuses it"
        key = memory_key(lesson, peer)
        if key not in self._log_probs:
            memory_MC = self.memories.of(lesson, peer).rows
            with torch.autocast(memory_MC.device.type, enabled=False):
                query_RC, pair_RC = compared(lesson, peer, self.exchange)
                self._log_probs[key] = similarity_log_probs(
                    query_RC, memory_MC.float(), temperature, pair_RC
                )
        return self._log_probs[key]


def relation_loss(lesson: Lesson, relations: Relations) -> Tensor:
    """How far a learner's similarity distributions are from its teachers', a scalar in fp32.

    The mean over the chosen rows, 0 where there are none. Unlike that of predictions it is not
    scaled by τ²: a temperature is part of what similarity means here, as in the sources.

    With `divergence: symmetric_kl`, edges both ways and `detach`, every peer gets the gradient of
    one symmetric term between the two whose gradient flows both ways (Zhao & Han 2021), because a
    peer's distribution depends on its own parameters alone.

    Args:
        lesson: from `lessons_of`.
        relations: of the batch.

    Raises:
        InputError: no memory, or features or rows that cannot be compared.
    """
    spec = lesson.spec
    teacher_TRN = torch.stack([relations.log_probs(lesson, teacher) for teacher in lesson.teachers])
    if spec.detach:
        teacher_TRN = teacher_TRN.detach()
    if spec.target == "ensemble":
        teacher_TRN = mean_log_probabilities(teacher_TRN).unsqueeze(0)
    learner_RN = relations.log_probs(lesson, lesson.learner)
    order = relations.exchange.order(spec)
    loss_TR = between_probabilities(spec.divergence, teacher_TRN, learner_RN, order)
    loss_T = loss_TR.sum(1) / max(len(learner_RN), 1)
    return loss_T.sum() if spec.target == "sum" else loss_T.mean()
