"""How alike two peers are: do they say the same, and do they err on the same rows?

Peers that agree less, and whose errors go together less, gain more as an ensemble.
Pairs are named "a~b", in the order of the peers. Shapes: N rows, C classes, L labels.
"""

import math
from collections.abc import Callable, Mapping
from itertools import combinations

from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.metrics.rows import labelled


def between_peers(outputs: Mapping[str, Tensor], y: Tensor) -> dict[str, dict[str, float]]:
    """Likeness of every pair of peers, over labelled rows.

    Outputs are log-probabilities by peer; multi-label logits where `y` has two dimensions, of which
    every one of the N · L decisions then counts as a row. `y` is as for `classification_metrics` or
    `multilabel_metrics`.

    Returns `agreement` and `error_correlation`, each a value by pair; empty for a single peer.

    Raises InputError: an output does not fit `y`, or no row is labelled.
    """
    if not outputs:
        raise InputError("between_peers: no peer given")
    return alike({peer: labelled(output, y) for peer, output in outputs.items()})


def alike(rows: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, dict[str, float]]:
    """`between_peers` of rows that `labelled` has checked, with their labels."""
    decided, wrong = {}, {}
    for peer, (output, y) in rows.items():
        several = y.ndim == 2
        decided[peer] = (output > 0).flatten() if several else output.argmax(1)
        wrong[peer] = (decided[peer] != (y.bool().flatten() if several else y)).double()
    return {"agreement": _pairwise(_same, decided), "error_correlation": _pairwise(_phi, wrong)}


def agreement(outputs: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of all rows, labelled or not, for which two peers predict the same class.

    Shapes: outputs: by peer (N, C): logits or log-probabilities.
    """
    return _pairwise(_same, {peer: output.argmax(1) for peer, output in outputs.items()})


def error_correlation(outputs: Mapping[str, Tensor], y: Tensor) -> dict[str, float]:
    """Phi coefficient between the error indicators of two peers, over labelled rows.

    φ = (n₁₁ n₀₀ − n₁₀ n₀₁) / √(n₁· n₀· n·₁ n·₀), the Pearson correlation of two 0/1 variables:
    1 where the peers err on the same rows, 0 where their errors have nothing to do with each
    other. It is undefined where a peer errs on no row or on all of them; 0 stands for that, as it
    does for the Matthews coefficient in scikit-learn.
    """
    return between_peers(outputs, y)["error_correlation"]


def _pairwise(
    measure: Callable[[Tensor, Tensor], float], by_peer: Mapping[str, Tensor]
) -> dict[str, float]:
    return {f"{a}~{b}": measure(by_peer[a], by_peer[b]) for a, b in combinations(by_peer, 2)}


def _same(a: Tensor, b: Tensor) -> float:
    return (a == b).double().mean().item()


def _phi(a: Tensor, b: Tensor) -> float:
    return phi(int(a @ b), int(a.sum()), int(b.sum()), len(a))


def phi(both: int, a: int, b: int, rows: int) -> float:
    """Phi coefficient of two 0/1 variables from counts: where both, a, and b are 1, and of all."""
    scale = math.sqrt(a * (rows - a)) * math.sqrt(b * (rows - b))
    return (rows * both - a * b) / scale if scale else 0.0
