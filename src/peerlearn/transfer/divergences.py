"""How far a learner's prediction is from its teacher's: one pure function per divergence.

Every function takes the teacher first and the learner second and reduces the last dimension, so
`(rows, classes)` gives `(rows,)`; leading dimensions broadcast, which lets one call compare many
teachers with one learner. Probabilities come as log-probabilities in fp32 (see `predictions.py`).
No function detaches anything: who receives gradients is decided by the transfer graph.

A class that teacher and learner both mask by a logit of −∞ counts nothing, as if it were not there:
its log-probability comes as `LEFT_OUT`, and logits may hold −∞ themselves. Where the learner alone
masks what its teacher holds possible, `kl` and its kin are infinite, and training says so.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.transfer.outputs import MASKED

Divergence = Callable[[Tensor, Tensor], Tensor]

# Below this distance from order 1 the log-sum-exp form loses digits to cancellation.
_NEAR_ONE = 0.1


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Kullback-Leibler divergence `D(p‖q) = Σ p (log p − log q)`, teacher p, learner q.

    Deep Mutual Learning (Zhang et al. 2018), equation 4. The gradient with respect to the
    learner's logits is `q − p`.
    """
    p, apart = log_p.exp(), log_q - log_p
    # In place where autograd allows it, and negated last, where numbers are fewest.
    return -(p * apart if p.requires_grad else apart.mul_(p)).sum(-1)


def reverse_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """`D(q‖p)`: the learner is the reference, which seeks a mode of the teacher."""
    return kl(log_q, log_p)


def symmetric_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """`½ D(p‖q) + ½ D(q‖p)` (half the Jeffreys divergence)."""
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """`½ D(p‖m) + ½ D(q‖m)` with `m = ½ (p + q)`; at most `log 2`."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * (kl(log_p, log_m) + kl(log_q, log_m))


def renyi(log_p: Tensor, log_q: Tensor, alpha: float) -> Tensor:
    """Rényi divergence `D_α(p‖q) = log Σ p^α q^(1−α) / (α − 1)`, teacher p, learner q.

    Rényi Divergence Deep Mutual Learning (Huang et al. 2023). `α = 1` is `kl`. The gradient with
    respect to the learner's logits is `q − softmax(α log p + (1−α) log q)`, bounded by 1; near
    agreement it is about α times the gradient of `kl`, so compare orders at matched weights.
    `α = 0` is 0 for distributions without a zero: nothing is learned.

    Near order 1 the divergence is taken as its distance from `kl`,
    `kl + log1p(E_p[expm1(t v) − t v]) / t` with `t = α − 1` and `v = log p − log q − kl`, which
    has no cancellation; rows where `t v` is large keep the log-sum-exp form.

    Raises ValueError: `alpha` is negative.
    """
    if not alpha >= 0:
        raise ValueError(f"Rényi order alpha must be >= 0, found {alpha}")
    if alpha == 1:
        return kl(log_p, log_q)
    t = alpha - 1
    if abs(t) >= _NEAR_ONE:
        return torch.logsumexp(alpha * log_p - t * log_q, -1) / t
    log_p, log_q = torch.broadcast_tensors(log_p, log_q)
    divergence = kl(log_p, log_q)
    tv = t * (log_p - log_q - divergence.unsqueeze(-1))
    small = (tv.abs().amax(-1) < 0.5) | (tv == 0).all(-1)
    safe = torch.where(small.unsqueeze(-1), tv, 0.0)  # keeps the unused branch free of overflow
    near = divergence + torch.log1p((log_p.exp() * (torch.expm1(safe) - safe)).sum(-1)) / t
    far = torch.logsumexp(alpha * log_p - t * log_q, -1) / t
    return torch.where(small, near, far)


def mean_squared_error(teacher: Tensor, learner: Tensor) -> Tensor:
    """Mean over classes of the squared difference of logits."""
    teacher, learner, classes = _both_allow(teacher, learner)
    return (teacher - learner).square().sum(-1) / classes


def cosine_distance(teacher: Tensor, learner: Tensor) -> Tensor:
    """`1 − cos(teacher, learner)` of the logit vectors; ignores their scale."""
    teacher, learner, _ = _both_allow(teacher, learner)
    return 1 - F.cosine_similarity(teacher, learner, dim=-1)


def _both_allow(teacher: Tensor, learner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both with 0 for the logits of classes that both mask, and how many classes are left."""
    masked = (teacher < MASKED) & (learner < MASKED)
    left = masked.shape[-1] - masked.sum(-1)
    return teacher.masked_fill(masked, 0), learner.masked_fill(masked, 0), left


#: Divergences between distributions; the temperature and its τ² apply.
PROBABILITY_DIVERGENCES: dict[str, Divergence] = {
    "kl": kl,
    "reverse_kl": reverse_kl,
    "symmetric_kl": symmetric_kl,
    "js": jensen_shannon,
}
#: Distances between raw logits; the temperature does not apply.
LOGIT_DISTANCES: dict[str, Divergence] = {"mse": mean_squared_error, "cosine": cosine_distance}
#: Every name a configuration may use. `renyi` takes its order from `alpha`.
DIVERGENCE_NAMES = (*PROBABILITY_DIVERGENCES, "renyi", *LOGIT_DISTANCES)


def between_probabilities(
    name: str, log_p: Tensor, log_q: Tensor, alpha: float | None = None
) -> Tensor:
    """The divergence of a name in `PROBABILITY_DIVERGENCES`, or of `renyi` with its order."""
    if alpha is not None:
        return renyi(log_p, log_q, alpha)
    return PROBABILITY_DIVERGENCES[name](log_p, log_q)


#: Divergences whose sum over teachers needs one product a peer, not one a pair.
SUMMABLE = ("kl", "reverse_kl", "symmetric_kl")


def summed_over_others(
    name: str, log_probs: Mapping[str, Tensor], teachers: Sequence[str], learners: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """The sum of each learner's divergences from all teachers other than itself, by learner.

    K products for K peers in place of K(K − 1). With `P = Σ p_j`, `H = Σ ⟨p_j, log p_j⟩` and
    `S = Σ log p_j` over a learner's n teachers, and q the learner,

        kl: `H − ⟨P, log q⟩`    reverse_kl: `⟨q, n log q − S⟩`    symmetric_kl: half of both.

    P, H and S of all teachers are computed once; a learner's own share is taken off again.
    Logarithms are those of ratios to the first teacher, which changes none of these, so that peers
    who agree lose no more digits than pair by pair. Teachers get no gradient.

    Args:
        name: one of `SUMMABLE`.
        log_probs: by peer, classes last.
        teachers: at least two.
    """
    origin = log_probs[teachers[0]].detach()
    # A ratio to a class that the first one masks would lose all digits of the others.
    origin = F.threshold(origin, MASKED, 0.0)
    pulls, pushes = name != "reverse_kl", name != "kl"
    p, h, apart = {}, {}, {}
    with torch.no_grad():
        for peer in teachers:
            ratio = log_probs[peer] - origin
            if pulls:
                p[peer] = log_probs[peer].exp()
                h[peer] = (p[peer] * ratio).sum(-1)
            if pushes:
                apart[peer] = ratio
        all_p, all_h, all_apart = (_total(parts) for parts in (p, h, apart))
    for learner in learners:
        ratio = log_probs[learner] - origin
        sums = []
        if pulls:
            rest_p = _less(all_p, p.pop(learner, None))
            sums.append(_less(all_h, h.get(learner)) - (ratio * rest_p).sum(-1))
        if pushes:
            count = len(teachers) - (learner in teachers)
            rest = _less(all_apart, apart.pop(learner, None))
            sums.append((log_probs[learner].exp() * (count * ratio - rest)).sum(-1))
        yield learner, sums[0] if len(sums) == 1 else 0.5 * (sums[0] + sums[1])


def _total(parts: Mapping[str, Tensor]) -> Tensor:
    """The sum of all; of none, an empty tensor that nobody reads."""
    first, *others = parts.values() or [torch.empty(0)]
    total = first.clone()
    for part in others:
        total += part
    return total


def _less(total: Tensor, part: Tensor | None) -> Tensor:
    """`total − part`, in the memory of the part."""
    return total if part is None else part.neg_().add_(total)
