"""Segmentation: cross-entropy of pixels, overlap of regions, or both."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.objectives.base import Objective, PeerView, cross_entropy
from peerlearn.validation import Spec

DICE_EPS = 1e-5
"""Added above and below every Dice fraction: no division by 0, no gradient without bound."""


class Segmentation(Spec, Objective):
    """Cross-entropy and soft Dice over the pixels that have a label.

    `ce` and `dice` for one class a pixel read a softmax; for masks that overlap (multi-label) every
    label is a sigmoid of its own, and its cross-entropy is called `bce`. A batch without any
    labelled pixel gives 0.
    """

    terms: Literal["ce", "dice", "ce+dice", "bce", "bce+dice"] = Field(
        "ce+dice",
        alias="loss",
        description="cross-entropy, soft Dice or their sum; bce where masks overlap",
    )
    dice_weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="factor of soft Dice")
    class_weights: tuple[float, ...] | None = Field(
        None, description="factors of the classes in the cross-entropy; null: 1 each"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="probability spread evenly over classes in the cross-entropy"
    )

    @field_validator("class_weights")
    @classmethod
    def _weights_weigh(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights is not None and not (
            all(math.isfinite(w) and w >= 0 for w in weights) and any(weights)
        ):
            raise ValueError("expected numbers from 0 up, not all of them 0")
        return weights

    @property
    def reads_labels(self) -> bool:
        return True

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer.

        Shapes:
            output.logits: (batch, C, height, width).
            targets: int64 (batch, height, width), −1 where a pixel does not count; or float
                (batch, C, height, width) of 0 and 1 for masks that overlap, NaN where it does not.
            result: scalar, fp32.

        Raises InputError: logits of another size than the targets, a loss for the other kind of
        targets, or not as many weights as classes.
        """
        logits = view.output.logits
        targets, labelled = view.labels()
        self._check(logits, targets)
        parts = []
        if self.terms != "dice":
            weights = None if self.class_weights is None else logits.new_tensor(self.class_weights)
            parts.append(cross_entropy(logits, targets, labelled, self.label_smoothing, weights))
        if "dice" in self.terms:
            parts.append(self.dice_weight * soft_dice_loss(logits, targets, labelled))
        return torch.stack(parts).sum()

    def _check(self, logits: Tensor, targets: Tensor) -> None:
        multilabel = targets.is_floating_point()
        expected = targets.shape if multilabel else (len(targets), -1, *targets.shape[1:])
        found = logits.shape if multilabel else (len(logits), -1, *logits.shape[2:])
        if tuple(found) != tuple(expected):
            raise InputError(
                f"segmentation: logits of shape {tuple(logits.shape)} do not fit targets of shape "
                f"{tuple(targets.shape)}; a network must give one logit a class for every pixel"
            )
        if multilabel and self.terms.startswith("ce"):
            raise InputError(
                f"objective.loss: {self.terms!r} is for one class a pixel, but these masks may "
                f"overlap; allowed: dice, bce, bce+dice. Did you mean 'b{self.terms}'?"
            )
        if not multilabel and self.terms.startswith("bce"):
            raise InputError(
                f"objective.loss: {self.terms!r} is for masks that overlap, but these have one "
                f"class a pixel; allowed: ce, dice, ce+dice. Did you mean {self.terms[1:]!r}?"
            )
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise InputError(
                f"objective.class_weights: {len(self.class_weights)} numbers for "
                f"{logits.shape[1]} classes"
            )


def soft_dice_loss(logits: Tensor, targets: Tensor, labelled: Tensor) -> Tensor:
    """1 − mean over classes of 2 Σ p g / (Σ p² + Σ g²), sums over all labelled pixels of a batch.

    The mean is over the classes that have a pixel in the batch. A class that is nowhere has no
    region to overlap with; pixels taken for it are missing from the overlap of their own class, or,
    where masks may overlap, are left to the cross-entropy. Without any class, 0.
    Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, with `DICE_EPS`.

    Shapes:
        logits: (batch, C, ...), in fp32.
        targets: int64 (batch, ...), or float of the shape of logits; see `Segmentation`.
        labelled: bool (batch, ...), `labelled_rows(targets)`. Returns a scalar.
    """
    pixels = [0, *range(2, logits.ndim)]
    counted = labelled.unsqueeze(1)
    if targets.is_floating_point():
        p, g = logits.sigmoid(), targets.nan_to_num() * counted
    else:
        classes = torch.arange(logits.shape[1], device=logits.device)
        p = F.softmax(logits, 1)
        g = targets.unsqueeze(1) == classes.view(-1, *[1] * (targets.ndim - 1))
    p = p * counted
    size = g.sum(pixels)  # = Σ g², for g is 0 or 1
    overlap = (p * g).sum(pixels)
    dice = (2 * overlap + DICE_EPS) / (p.square().sum(pixels) + size + DICE_EPS)
    present = size > 0
    return ((1 - dice) * present).sum() / present.sum().clamp_min(1)
