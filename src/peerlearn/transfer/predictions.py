"""Prediction (response) knowledge: what a peer's logits say, in the form edges compare.

Class scores become log-probabilities in fp32 whatever the training precision, because divergences
subtract numbers that differ in the last digits of a 16-bit float.

Shape suffixes: R rows (batch, or batch and pixels, or nodes), C classes, T teachers.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.transfer.outputs import PeerOutput

#: softmax: one class a row. sigmoid: every label on its own (multi-label).
OutputForm = Literal["softmax", "sigmoid"]


def class_last(logits: Tensor) -> Tensor:
    """Move the class dimension, second in the field's layouts, to the end."""
    return logits.movedim(1, -1) if logits.ndim > 2 else logits


def log_probabilities(
    logits: Tensor, temperature: float = 1.0, form: OutputForm = "softmax"
) -> Tensor:
    """Log-probabilities of logits at a temperature, in fp32.

    Shapes:
        logits: (R, C), or (batch, C, ...) with further dimensions such as pixels.
        result: (R, C) for softmax, class dimension last; (R, C, 2) for sigmoid, where the last
            dimension holds the two outcomes of each label, so that every divergence applies.
    """
    scaled_RC = class_last(logits).float() / temperature
    if form == "softmax":
        return F.log_softmax(scaled_RC, dim=-1)
    return torch.stack([F.logsigmoid(scaled_RC), F.logsigmoid(-scaled_RC)], dim=-1)


def mean_log_probabilities(log_probs_TRC: Tensor) -> Tensor:
    """Log of the mean probability over the first dimension: the ensemble's prediction."""
    return torch.logsumexp(log_probs_TRC, dim=0) - math.log(len(log_probs_TRC))


class Predictions:
    """The log-probabilities of one batch's outputs, each computed once however many edges ask."""

    def __init__(self, outputs: Mapping[str, PeerOutput]) -> None:
        self.outputs = outputs
        self._known: dict[tuple[str, float, OutputForm], Tensor] = {}

    def logits(self, peer: str) -> Tensor:
        """Logits of `peer` in fp32, class dimension last."""
        return class_last(self.outputs[peer].logits).float()

    def log_probs(self, peer: str, temperature: float, form: OutputForm) -> Tensor:
        """Log-probabilities of `peer`; see `log_probabilities`."""
        key = (peer, temperature, form)
        if key not in self._known:
            self._known[key] = log_probabilities(
                self.outputs[peer].logits, temperature=temperature, form=form
            )
        return self._known[key]
