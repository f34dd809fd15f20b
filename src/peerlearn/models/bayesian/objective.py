"""What a peer with posteriors learns from data: the negative evidence lower bound, by row."""

from dataclasses import dataclass, field

from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.models.bayesian.posterior import kl_divergence
from peerlearn.objectives.base import Classification, Objective, PeerView
from peerlearn.transfer.outputs import PeerOutput


@dataclass(frozen=True)
class Variational(Objective):
    """An objective of the data, and what posteriors pay for leaving their prior.

        L = L_data + β_t · w · KL(q ‖ prior) / N

    KL is the sum over all weights and N the number of training rows, whatever the batch size, so
    that an epoch counts it once (Blundell et al. 2015, equation 2). β_t rises linearly from 0 to 1
    over the first part of the training. At w = 1 the KL of a network of convolutions can be far
    above the cross-entropy, and predictions underconfident: a smaller w tempers the posterior.

    Args:
        rows: N.
        kl_weight: w.
        warm_up: the part of the training over which β_t rises; 0 for none. With one, losses need
            `progress`.
        data: what is learned from the rows, the mean over them.

    Raises InputError: no rows, a weight below 0 or a part outside 0..1; `loss`, for a peer without
    Bayesian layers or without `progress` where there is a warm-up.
    """

    rows: int
    kl_weight: float = 1.0
    warm_up: float = 1 / 3
    data: Objective = field(default_factory=Classification)

    def __post_init__(self) -> None:
        if isinstance(self.rows, bool) or not isinstance(self.rows, int) or self.rows < 1:
            raise InputError(f"rows: found {self.rows!r}; expected the number of training rows")
        if not 0 <= self.kl_weight < float("inf"):
            raise InputError(f"kl_weight: found {self.kl_weight!r}; allowed: 0 and above")
        if not 0 <= self.warm_up <= 1:
            raise InputError(f"warm_up: found {self.warm_up!r}; allowed: 0 to 1")

    @property
    def reads_labels(self) -> bool:
        return self.data.reads_labels

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer for one batch, a scalar in fp32."""
        loss = self.data.loss(view)
        if view.peer is None:
            raise InputError("Variational: needs the peer itself, whose posteriors it reads")
        weight = self.kl_weight * self._risen(view.progress) / self.rows
        return loss + weight * kl_divergence(view.peer)

    def scored(self, output: PeerOutput) -> Tensor | None:
        return self.data.scored(output)

    def _risen(self, progress: float | None) -> float:
        if self.warm_up == 0:
            return 1.0
        if progress is None:
            raise InputError(
                "warm_up follows the training: pass progress= to cohort.loss, the finished "
                "fraction from 0 to 1, or make it Variational(..., warm_up=0)"
            )
        return min(progress / self.warm_up, 1.0)
