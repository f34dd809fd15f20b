"""Ranking knowledge: how a learner ranks the candidates of a row, against how its teachers do.

A row's scores of a list of candidates become a distribution over the list (Cao, Qin, Liu, Tsai, Li,
"Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007), and a learner's is
pulled to its teachers' as in deep mutual learning. A peer need not serve every candidate, as a
branch of one modality does not serve items without it: what is compared is the candidates that
both ends serve, and among them probabilities sum to 1. Positives of a row, which the data teach,
can be left out.

Shape suffixes: R rows, C candidates.
"""

from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.transfer.divergences import between_probabilities
from peerlearn.transfer.knowledge.base import SELF, DivergenceOptions, IncomingEdges, Knowledge
from peerlearn.transfer.outputs import LEFT_OUT, BatchView, PeerOutput, in_fp32

#: Name of the feature that says which candidates a peer serves: bool (C,) or (R, C).
SERVED = "served"
LEAST = 1e-30
"""A sum of exponentials below it has lost digits: fp32 ends at 1e-38."""


class RankingOptions(DivergenceOptions):
    """Options of entries about rankings."""

    reported = ("candidates", "temperature", "weight", "target")

    candidates: Literal["all", "negatives"] = Field(
        "all", description="what is compared: all, or what is no positive of a row"
    )
    temperature: float = Field(
        1.0, gt=0, description="what scores of both sides are divided by; the loss is scaled by τ²"
    )

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.on_logits:
            yield (
                f"divergence: {self.divergence!r} with knowledge 'rankings', which compares "
                "distributions over candidates; allowed: kl, reverse_kl, symmetric_kl, js, renyi"
            )
        if self.target == "ensemble":
            yield "target: 'ensemble' with knowledge 'rankings'; allowed: mean, sum"
        if self.teachers == SELF and self.teacher_ema is None:
            yield f"from: {SELF!r} with knowledge 'rankings' needs a teacher_ema"


class RankingKnowledge(Knowledge):
    """A learner's loss is τ² D(p_teacher ‖ p_learner) over the candidates that both serve.

    The mean over rows; a row in which they serve no candidate together counts 0.
    """

    Options = RankingOptions
    options: RankingOptions
    travels = "features"

    def asked_of(self, peer: str, output: PeerOutput) -> Collection[str]:
        """Which candidates it serves."""
        return [SERVED]

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """Raises InputError: scores of other shapes, or `served` that does not fit them."""
        return {edges.learner: self._loss(edges, view) for edges in self.wanted(learners)}

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        plain = self.options.divergence == "kl" and self.options.detach
        losses = self._kl_by_sums(edges, view) if plain else None
        if losses is None:
            losses = [self._apart(teacher, edges.learner, view) for teacher in edges.teachers]
        return self.options.of_teachers(losses)

    def _kl_by_sums(self, edges: IncomingEdges, view: BatchView) -> list[Tensor] | None:
        """The losses of KL, by sums over candidates of what each peer computes once for all edges.

        With e = exp s of scores s, over candidates that both serve:
        KL = Σ e_t (s_t − s_l) / Σ e_t − log Σ e_t + log Σ e_l.

        None where candidates are served for some rows only, or where a sum is as good as 0.
        """
        learnt = self._exponentials(edges.learner, view)
        taught = [self._exponentials(teacher, view) for teacher in edges.teachers]
        teachers = [each for each in taught if each is not None]
        if learnt is None or any(it is None or it.s_RC.shape != learnt.s_RC.shape for it in taught):
            return None
        served_C = learnt.served_C
        sums_RT = torch.stack([each.teach_RC @ served_C for each in teachers], 1)
        own_RT = torch.stack([each.teach_s_RC @ served_C for each in teachers], 1)
        other_RT = torch.stack([torch.linalg.vecdot(t.teach_RC, learnt.s_RC) for t in teachers], 1)
        learnt_RT = learnt.e_RC @ torch.stack([each.served_C * served_C for each in teachers], 1)
        if min(float(sums_RT.min()), float(learnt_RT.detach().min())) < LEAST:
            return None
        loss_RT = (own_RT - other_RT) / sums_RT - sums_RT.log() + learnt_RT.log()
        return list(self.options.temperature**2 * loss_RT.mean(0))

    def _exponentials(self, peer: str, view: BatchView) -> "_Exponentials | None":
        """What edges read of a peer, once a batch; None where what it serves depends on the row."""

        def made() -> _Exponentials | None:
            scores_RC = self._scores(peer, view)
            served = view.outputs[peer].features.get(SERVED)
            if served is not None and served.shape != scores_RC.shape[1:]:
                return None
            served_C = torch.ones_like(scores_RC[0]) if served is None else served.to(scores_RC)
            s_RC = scores_RC - scores_RC.detach().amax(1, keepdim=True)
            e_RC = s_RC.exp()
            if self.options.candidates == "negatives":
                e_RC = e_RC * self._negatives(s_RC, view)
            teach_RC = e_RC.detach() * served_C
            teach_s_RC = teach_RC * s_RC.detach()
            return _Exponentials(s_RC * served_C, e_RC, teach_RC, teach_s_RC, served_C)

        return view.once((id(self), peer), made)

    def _apart(self, teacher: str, learner: str, view: BatchView) -> Tensor:
        options = self.options
        taught_RC, learnt_RC = (self._scores(peer, view) for peer in (teacher, learner))
        if taught_RC.shape != learnt_RC.shape:
            raise InputError(
                f"{self.field}: peers {teacher!r} and {learner!r} disagree in their outputs: "
                f"scores of shape {tuple(taught_RC.shape)} and {tuple(learnt_RC.shape)}; rankings "
                "are of the same candidates"
            )
        if options.detach:
            taught_RC = taught_RC.detach()
        both_RC = self._served(teacher, view) & self._served(learner, view)
        if options.candidates == "negatives":
            both_RC = both_RC & self._negatives(taught_RC, view)
        if bool(both_RC.all()):
            return self._mean(taught_RC.log_softmax(-1), learnt_RC.log_softmax(-1), view)
        # Where there is none every candidate is compared, so that nothing is divided by 0, and the
        # row then counts 0.
        any_R1 = both_RC.any(-1, keepdim=True)
        left_RC = both_RC | ~any_R1
        among = _among(taught_RC, left_RC), _among(learnt_RC, left_RC)
        return self._mean(*among, view, any_R1[..., 0])

    def _mean(
        self, log_p_RC: Tensor, log_q_RC: Tensor, view: BatchView, counts_R: Tensor | None = None
    ) -> Tensor:
        options = self.options
        order = None if options.alpha is None else options.order(view)
        loss_R = between_probabilities(options.divergence, log_p_RC, log_q_RC, order)
        if counts_R is not None:
            loss_R = torch.where(counts_R, loss_R, 0.0)
        return options.temperature**2 * loss_R.mean()

    def _scores(self, peer: str, view: BatchView) -> Tensor:
        return in_fp32(view.outputs[peer].logits) / self.options.temperature

    def _negatives(self, scores_RC: Tensor, view: BatchView) -> Tensor:
        """bool (R, C), what is no positive of a row."""
        targets = view.targets
        if not isinstance(targets, Tensor) or targets.shape != scores_RC.shape:
            raise InputError(
                f"{self.field}.candidates: 'negatives' are found by targets (rows, candidates), 1 "
                "where a candidate is a positive of a row; the batch has none. Allowed: all"
            )
        return targets == 0

    def _served(self, peer: str, view: BatchView) -> Tensor:
        """bool (R, C); all of them where the peer does not say."""
        output = view.outputs[peer]
        rows, candidates = output.logits.shape
        served = output.features.get(SERVED)
        if served is None:
            return torch.ones(1, 1, dtype=torch.bool, device=output.logits.device).expand(
                rows, candidates
            )
        if served.shape[-1] != candidates:
            raise InputError(
                f"{self.field}: peer {peer!r} says of {served.shape[-1]} candidates whether it "
                f"serves them, and scores {candidates}"
            )
        return served.expand(rows, candidates)


class _Exponentials(NamedTuple):
    """Of one peer, for scores s less the largest of the row.

    Attributes:
        s_RC: s where it serves a candidate, 0 elsewhere.
        e_RC: exp s of all candidates that are compared, 0 of others.
        teach_RC, teach_s_RC: exp s and s exp s where it serves them, without a gradient.
        served_C: 1 where it serves a candidate, 0 elsewhere.
    """

    s_RC: Tensor
    e_RC: Tensor
    teach_RC: Tensor
    teach_s_RC: Tensor
    served_C: Tensor


def _among(scores_RC: Tensor, left_RC: Tensor) -> Tensor:
    """Log-probabilities among the candidates that are left; `LEFT_OUT` for the others."""
    log_probs_RC = scores_RC.masked_fill(~left_RC, LEFT_OUT).log_softmax(-1)
    return log_probs_RC.masked_fill(~left_RC, LEFT_OUT)
