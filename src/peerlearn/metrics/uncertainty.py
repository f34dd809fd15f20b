"""How unsure classifiers are, why, and whether that tells mistakes and strange rows.

Names are those of torch-uncertainty, in lower case.

Shape suffixes: S samples, K peers, N rows, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

COVERAGES = 50
"""Points of a risk–coverage curve."""
BINS = 40
"""Bins of a histogram of uncertainties."""
SCORES = {"entropy": "", "mutual_information": "_mi"}
"""By which rows are told apart, and how the names of such metrics end."""
NAN = float("nan")


class Uncertainty(NamedTuple):
    """Of rows, in nats, float64 (N,): `total` = `epistemic` + `aleatoric`.

    With p_s the probabilities of the samples of a network, or of the members of an ensemble:

    - `total`: H[mean p_s], the entropy of what is predicted.
    - `epistemic`: H[mean p_s] − mean H[p_s], the mutual information between prediction and
      weights, by which they disagree (BALD; Houlsby et al. 2011): not below 0, and 0 for one.
    - `aleatoric`: mean H[p_s], how unsure each of them is by itself.

    Where several labels can hold, every entropy is the sum of those of the labels.
    """

    total: Tensor
    epistemic: Tensor
    aleatoric: Tensor


class Spoken(NamedTuple):
    """What one peer says of rows: its mean probability, and the mean entropy of its samples.

    `samples` is how many samples there were, 1 of a peer that is not stochastic.
    """

    p_NC: Tensor
    entropy_N: Tensor
    samples: int


def spoken(logits_NC: Tensor, samples_SNC: Tensor | None = None, several: bool = False) -> Spoken:
    """What a peer says, from its logits and those of its samples, if it has any.

    Samples count as they are, whatever temperature the peer was calibrated by. `several` says
    whether several labels can hold at once.
    """
    z_SNC = logits_NC[None] if samples_SNC is None else samples_SNC
    total_NC, entropy_N = torch.zeros(()), torch.zeros(())
    for z_NC in z_SNC:  # one by one: float64 of all samples could be large
        p_NC = _probabilities(z_NC.double(), several)
        total_NC, entropy_N = total_NC + p_NC, entropy_N + entropy(p_NC, several)
    return Spoken(total_NC / len(z_SNC), entropy_N / len(z_SNC), len(z_SNC))


def uncertainty(several: Sequence[Spoken], labels: bool = False) -> Uncertainty:
    """Of one peer, or of several together, each of which counts as much.

    Of stochastic peers all samples are members. `labels` says whether several can hold at once.
    """
    p_NC = torch.stack([each.p_NC for each in several]).mean(0)
    aleatoric = torch.stack([each.entropy_N for each in several]).mean(0)
    total = entropy(p_NC, labels)
    if sum(each.samples for each in several) == 1:
        return Uncertainty(total, torch.zeros_like(total), total)
    # By Jensen's inequality not below 0, but for rounding.
    epistemic = (total - aleatoric).clamp(min=0)
    return Uncertainty(total, epistemic, total - epistemic)


def mutual_information(samples_SNC: Tensor) -> Tensor:
    """H[mean p] − mean H[p] over samples, in nats, (N,); see `Uncertainty`.

    Shapes: logits or log-probabilities (S, N, C).
    """
    return uncertainty([spoken(samples_SNC[0], samples_SNC)]).epistemic


def entropy(p_NC: Tensor, several: bool = False) -> Tensor:
    """−Σ p log p in nats, (N,); of several labels the sum over labels of yes and no."""
    if several:
        p_NC = torch.stack([p_NC, 1 - p_NC], -1).flatten(1)
    return torch.special.entr(p_NC).sum(1)  # 0 · log 0 = 0


def _probabilities(z_NC: Tensor, several: bool) -> Tensor:
    return logsigmoid(z_NC).exp() if several else z_NC.softmax(1)


# Answers that may be withheld -------------------------------------------------------------------


def selective_risks(confidence: Tensor, correct: Tensor) -> Tensor:
    """Share of mistakes among the 1, 2, … N rows that are most sure, float64 (N,).

    Rows of equal confidence share their mistakes evenly, so that their order does not count.
    """
    sure, order = confidence.double().sort(descending=True)
    wrong = 1 - correct[order].double()
    _, group, size = sure.unique_consecutive(return_inverse=True, return_counts=True)
    shared = torch.zeros(len(size), dtype=torch.float64).index_add(0, group, wrong) / size
    return shared[group].cumsum(0) / torch.arange(1, len(wrong) + 1)


def aurc(confidence: Tensor, correct: Tensor) -> float:
    """Area under the risk–coverage curve (Geifman & El-Yaniv 2017): lower is better.

    As in torch-uncertainty it is the trapezoid over coverages 1/N, 2/N, … 1, divided by 1 − 1/N, as
    if it began at 0. There rows of equal confidence count in the order in which they come; here
    they share their mistakes. The risk itself for one row; NaN where a confidence is.

    Shapes: confidence, correct: (N,).
    """
    return _area(selective_risks(confidence, correct)) if _are_numbers(confidence) else NAN


def _area(risks: Tensor) -> float:
    if len(risks) == 1:
        return risks.item()
    return ((risks[1:] + risks[:-1]) / 2).mean().item()


def risk_curve(confidence: Tensor, correct: Tensor) -> list[float]:
    """The risk at `coverages`: of at least that share of the rows, the most sure first."""
    if not _are_numbers(confidence):
        return [NAN] * COVERAGES
    risks = selective_risks(confidence, correct)
    rows = [-(-number * len(risks) // COVERAGES) for number in range(1, COVERAGES + 1)]
    return [risks[count - 1].item() for count in rows]


def coverages() -> list[float]:
    """1/50, 2/50, … 1."""
    return [number / COVERAGES for number in range(1, COVERAGES + 1)]


# Rows that are not like those of training -------------------------------------------------------


def auroc(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Chance that a row from outside scores higher than one from inside; ties count half."""
    return _ranked("roc_auc_score", inside, outside)


def aupr(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Average precision of finding the rows from outside by high scores."""
    return _ranked("average_precision_score", inside, outside)


def fpr95(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Share of the rows from inside that score as high as 95 % of those from outside, or higher.

    The threshold is the highest that at least 95 % of the rows from outside reach.
    """
    if np.isnan(inside).any() or np.isnan(outside).any():
        return NAN
    reach = -(-19 * len(outside) // 20)  # 95 %, rounded up
    threshold = np.sort(outside)[-reach]
    return float((inside >= threshold).mean())


def _ranked(name: str, inside: NDArray[Any], outside: NDArray[Any]) -> float:
    import sklearn.metrics

    scores = np.concatenate([inside, outside])
    if np.isnan(scores).any():
        return NAN
    is_outside = np.repeat([0, 1], [len(inside), len(outside)])
    return float(getattr(sklearn.metrics, name)(is_outside, scores))


TOLD_APART = {"auroc": auroc, "aupr": aupr, "fpr95": fpr95}
"""What is measured of scores of rows from inside and outside."""


def bin_edges(classes: int) -> list[float]:
    """Edges of bins from 0 to log C nats, narrow near 0 (the square root of each is as wide)."""
    return (np.linspace(0, 1, BINS + 1) ** 2 * np.log(classes)).tolist()


def histogram(values: NDArray[Any], edges: Sequence[float]) -> list[float]:
    """Share of the values in each bin; those beyond the last edge are in the last bin."""
    inner = np.clip(values[~np.isnan(values)], edges[0], edges[-1])
    return (np.histogram(inner, edges)[0] / max(len(values), 1)).tolist()


def pointwise_mean(several: Sequence[Any]) -> Any:
    """Numbers in equal nests of mappings and lists, averaged; None where one of them is.

    Raises ValueError: nests that differ.
    """
    first = several[0]
    if isinstance(first, Mapping):
        if any(set(each) != set(first) for each in several):
            raise ValueError("not the same entries")
        return {key: pointwise_mean([each[key] for each in several]) for key in first}
    if isinstance(first, list):
        return [pointwise_mean(parts) for parts in zip(*several, strict=True)]
    if None in several or all(each == first for each in several):
        return None if None in several else first
    return float(np.mean(several))


def _are_numbers(values: Tensor) -> bool:
    return not bool(values.isnan().any())
