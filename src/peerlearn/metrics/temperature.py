"""The one number by which a network's logits are divided so that its confidences come true.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
Dividing by T > 0 changes no order of classes: accuracy stays as it is.

Shape suffixes: N rows, C classes.
"""

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from peerlearn.objectives.labels import labelled_rows
from peerlearn.transfer.outputs import LEFT_OUT

BOUNDS = (0.01, 100.0)
"""Between which a temperature is looked for."""


class Fitted(NamedTuple):
    """A temperature, and the negative log-likelihood of its rows without and with it."""

    temperature: float
    nll_before: float
    nll: float


def fit_temperature(logits_NC: Tensor, y: Tensor) -> Fitted:
    """The temperature T that minimises the mean NLL of softmax(z / T) over labelled rows.

    The NLL is convex in 1 / T. It has no minimum where every row is right, for ever sharper
    probabilities are ever better then, nor where the network does worse than chance: T is 1 then,
    which leaves the network as it is.

    Args:
        logits_NC: of one network.
        y: (N,) classes, −1 where unlabelled; or (N, C) of 0/1, NaN where unlabelled, where several
            labels can hold at once; then it is the sigmoid, and the NLL sums over labels.
    """
    known = labelled_rows(y)
    z_NC, y = logits_NC[known].double().clamp_min(LEFT_OUT), y[known]

    def nll(log_temperature: float) -> float:
        scaled_NC = z_NC / math.exp(log_temperature)
        if y.ndim == 1:
            return F.cross_entropy(scaled_NC, y).item()
        each_NC = F.binary_cross_entropy_with_logits(scaled_NC, y.double(), reduction="none")
        return each_NC.sum(1).mean().item()

    before = nll(0.0) if len(y) else math.nan
    if not len(y) or not _has_minimum(z_NC, y):
        return Fitted(1.0, before, before)
    from scipy.optimize import minimize_scalar  # slow to import, and few runs ask for it

    bounds = [math.log(bound) for bound in BOUNDS]
    found = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return Fitted(math.exp(found.x), before, nll(found.x))


def _has_minimum(z_NC: Tensor, y: Tensor) -> bool:
    """Whether some rows are wrong, and labels have more evidence than chance."""
    if y.ndim == 1:
        own_N = z_NC.gather(1, y[:, None])[:, 0]
        evidence_N = own_N - z_NC.mean(1)
        others_NC = z_NC.scatter(1, y[:, None], -math.inf)
        right = own_N > others_NC.amax(1)
    else:
        evidence_N = ((y - 0.5) * z_NC).sum(1)
        right = (z_NC > 0) == (y > 0.5)
    return bool(evidence_N.mean() > 0) and not bool(right.all())
