"""Prediction (response) knowledge: what a peer's logits say, in the form edges compare.

Class scores become log-probabilities in fp32 whatever the training precision, because divergences
subtract numbers that differ in the last digits of a 16-bit float.

Pixels' classes stay second in memory, where a softmax over them is several times as fast; what
the functions here give are views of it with the classes last.

Shape suffixes: R rows (batch, or batch and pixels, or nodes), C classes, T teachers.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.transfer.outputs import PeerOutput, in_fp32

#: softmax: one class a row. sigmoid: every label on its own (multi-label).
OutputForm = Literal["softmax", "sigmoid"]


def class_last(logits: Tensor) -> Tensor:
    """The view with the class dimension, second in the field's layouts, at the end."""
    return logits.movedim(1, -1) if logits.ndim > 2 else logits


def class_second(logits_RC: Tensor) -> Tensor:
    """The view with the last dimension back where `class_last` took it from."""
    return logits_RC.movedim(-1, 1) if logits_RC.ndim > 2 else logits_RC


def stacked(predictions_RC: Sequence[Tensor]) -> Tensor:
    """Predictions of several peers, with a new first dimension (T, R, C)."""
    if len(predictions_RC) == 1:
        return predictions_RC[0].unsqueeze(0)
    in_memory = torch.stack([class_second(each) for each in predictions_RC])
    return in_memory.movedim(2, -1) if in_memory.ndim > 3 else in_memory


def log_probabilities(
    logits: Tensor, temperature: float | Tensor = 1.0, form: OutputForm = "softmax"
) -> Tensor:
    """Log-probabilities of logits at a temperature, in fp32.

    Shapes:
        logits: (R, C), or (batch, C, ...) with further dimensions such as pixels.
        temperature: one for all rows, or (R, 1).
        result: (R, C) for softmax, class dimension last; (R, C, 2) for sigmoid, where the last
            dimension holds the two outcomes of each label, so that every divergence applies.
    """
    return _log_probabilities(class_last(in_fp32(logits)), temperature, form)


def _log_probabilities(logits_RC: Tensor, temperature: float | Tensor, form: OutputForm) -> Tensor:
    scaled_RC = logits_RC / temperature
    if form == "softmax":
        return class_last(F.log_softmax(class_second(scaled_RC), dim=1))
    return torch.stack([F.logsigmoid(scaled_RC), F.logsigmoid(-scaled_RC)], dim=-1)


def mean_log_probabilities(log_probs_TRC: Tensor) -> Tensor:
    """Log of the mean probability over the first dimension: the ensemble's prediction."""
    return torch.logsumexp(log_probs_TRC, dim=0) - math.log(len(log_probs_TRC))


class Predictions:
    """The log-probabilities of one batch's outputs, each computed once however many edges ask.

    Args:
        outputs: by peer.
        weightings: by peer, modules that give weights of logits (see `LogitWeighting`); empty
            where logits count as they are.
    """

    def __init__(
        self,
        outputs: Mapping[str, PeerOutput],
        weightings: Mapping[str, nn.Module] = MappingProxyType({}),
    ) -> None:
        self.outputs = outputs
        self.weightings = weightings
        self._logits: dict[str, Tensor] = {}
        self._log_probs: dict[tuple[str, float, OutputForm], Tensor] = {}

    def logits(self, peer: str) -> Tensor:
        """Weighted logits of `peer` in fp32, class dimension last."""
        if peer not in self._logits:
            logits = class_last(in_fp32(self.outputs[peer].logits))
            if peer in self.weightings:
                logits = self.weightings[peer](logits) * logits
            self._logits[peer] = logits
        return self._logits[peer]

    def log_probs(self, peer: str, temperature: float | Tensor, form: OutputForm) -> Tensor:
        """Log-probabilities of `peer`; see `log_probabilities`."""
        if isinstance(temperature, Tensor):  # of one learner's rows: nobody else will ask for it
            return _log_probabilities(self.logits(peer), temperature, form)
        key = (peer, temperature, form)
        if key not in self._log_probs:
            self._log_probs[key] = _log_probabilities(self.logits(peer), temperature, form)
        return self._log_probs[key]
