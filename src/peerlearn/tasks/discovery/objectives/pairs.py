"""Category discovery: classes that have labels, and new ones that only pairs of rows speak of.

Rows are paired: a batch of 2B rows holds one view of B images, then another view of the same
images. Logits hold those of the known classes first, then those of the new ones.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.objectives.base import Objective, PeerView, cross_entropy
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.discovery.objectives.part_dictionary import PartDictionary, PartSpec
from peerlearn.tasks.discovery.objectives.ranking_statistics import same_top_k
from peerlearn.transfer.outputs import PeerOutput, Schedule
from peerlearn.validation import Spec

INCREMENTAL = 0.05
"""Weight of the new classes' own labels, at the end of the ramp, in incremental discovery."""


class DiscoverySpec(Spec):
    """Which pairs of unlabelled images are taken for one class, and what else is asked of a peer.

    The defaults are AutoNovel (Han et al., ICLR 2020) on CIFAR-10; with `of: parts`, the local
    branch of dual ranking statistics (Zhao & Han, NeurIPS 2021).
    """

    pseudo_labels: Literal["ranking", "hard_cosine", "soft_cosine"] = Field(
        "ranking",
        description="a pair is of one class where: the same top_k features are the largest; the "
        "cosine is above the threshold; to the degree of the cosine",
    )
    of: Literal["pooled", "parts"] = Field(
        "pooled", description="what is compared: the pooled feature, or the bag of parts"
    )
    top_k: int = Field(5, ge=1, le=1 << 20, description="features compared by ranking")
    threshold: float = Field(0.9, ge=-1, le=1, description="of hard_cosine")
    criterion: Literal["bce", "positive"] = Field(
        "bce", description="cross-entropy of pairs, or only its term that draws pairs together"
    )
    pair_views: Literal[1, 2] = Field(
        2, description="views whose predictions are paired; 1: the first with itself"
    )
    consistency: float = Field(
        5.0, ge=0, description="λ, weight of the squared difference of views after the ramp"
    )
    ramp: float = Field(
        0.25, ge=0, le=1, description="fraction of the stage in which the weight rises"
    )
    incremental: bool = Field(
        False,
        description="the classifier of the known classes learns the new ones too, which another "
        "one tells apart (AutoNovel's incremental form)",
    )
    unlabelled_are_new: float = Field(
        0.0,
        ge=0,
        description="weight of telling unlabelled images, all of new classes, from the known ones; "
        "above 0 a labelled image is told from the new classes too",
    )
    parts: PartSpec = Field(PartSpec(), description="see PartSpec")

    @model_validator(mode="after")
    def _parts_suffice(self) -> "DiscoverySpec":
        if self.of == "parts" and self.pseudo_labels == "ranking" and self.top_k > self.parts.size:
            raise ValueError(f"top_k: {self.top_k} of a dictionary of {self.parts.size} parts")
        return self


class DiscoveryObjective(nn.Module, Objective):
    """L = CE + pairs + w(r) · consistency, and what incremental discovery adds.

    - CE: of the known classes' logits, over labelled rows of the first view.
    - pairs: `pairwise_bce` of the new classes' predictions, over unlabelled rows; which pairs are
      of one class is read off the first view.
    - consistency: mean squared difference of the two views' predictions, of the known classes
      plus that of the new, over all rows; w(r) = λ exp(−5 (1 − min(r, R) / R)²).
    - incremental: CE and the known classes' part of the consistency are over all logits, and
      0.05 w(r) / λ times the cross-entropy of the unlabelled rows' first view joins, whose labels
      are their likeliest `clusters`: the logits of a classifier of the new classes alone, which
      then is what pairs and the new classes' consistency are about.
    - unlabelled_are_new: CE is over all logits, and that weight times the mean over unlabelled rows
      of the first view of −log Σ_new p joins, where p is over all logits and the sum runs over the
      new classes. Neither AutoNovel nor dual ranking statistics have it: there nothing asks what
      tells a new class from a known one. UNO's one softmax over both kinds does (Fini et al.,
      ICCV 2021).

    A term without rows is 0. Labels are read of the first view only. The public code of dual
    ranking statistics pairs the local branch's first view with itself, which `pair_views: 1` does
    too. A part dictionary is state: it changes in training mode and belongs into checkpoints.

    Where parts are compared, `channels` says how many the last stage's maps have, and `seed` is
    that of the part dictionary. Raises InputError: parts without channels.
    """

    def __init__(
        self, spec: DiscoverySpec, known: int, *, channels: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.spec = spec
        self.known = known
        self.parts: PartDictionary | None = None
        if spec.of == "parts":
            if channels is None:
                raise InputError(
                    "objective.of: parts are taken from maps; pass channels=, how many those of "
                    "the last stage have"
                )
            self.parts = PartDictionary(channels, spec.parts, seed)

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer on paired rows; without a progress the ramp is over.

        Shapes:
            output.logits: (2B, known + new).
            output.features: `pooled` (2B, D), or `map` (2B, D, height, width) where parts are
                compared; `clusters` (2B, new) if incremental.
            targets: int64 (2B,), −1 where unlabelled; the second view's are not read.
            result: scalar, fp32.

        Raises InputError: rows that are not paired, no logits of new classes, a missing feature.
        """
        output, progress, logits = view.output, view.progress, view.output.logits
        check_new_classes(logits, self.known)
        known = paired(self.scored(output), "logits")
        clusters = feature(output, "clusters") if self.spec.incremental else logits[:, self.known :]
        new = paired(clusters.float(), "logits")
        y, labelled = (paired(each, "targets")[0] for each in view.labels())
        loss = self._pairs(output, *new, ~labelled)
        weight = ramp_up(progress, self.spec.consistency, self.spec.ramp)
        if weight:
            loss = loss + weight * (consistency(*known) + consistency(*new))
        loss = loss + self._labels(logits[: len(y)], known[0], y, labelled)
        if not self.spec.incremental:
            return loss
        own_labels = torch.where(labelled, UNLABELLED, self.known + new[0].argmax(1))
        share = ramp_up(progress, INCREMENTAL, self.spec.ramp)
        return loss + share * cross_entropy(known[0], own_labels, ~labelled)

    def _labels(self, logits: Tensor, scored: Tensor, y: Tensor, labelled: Tensor) -> Tensor:
        """What labels say of the first view, and that rows without one are of no known class."""
        weight = self.spec.unlabelled_are_new
        if not weight:
            return cross_entropy(scored, y, labelled)
        new = F.log_softmax(logits[~labelled], 1)[:, self.known :].logsumexp(1)
        return cross_entropy(logits, y, labelled) - weight * new.sum() / max(len(new), 1)

    def _pairs(self, output: PeerOutput, first: Tensor, second: Tensor, rows: Tensor) -> Tensor:
        name = "pooled" if self.parts is None else "map"
        compared, _ = paired(feature(output, name), name)
        same = self.pseudo_labels(self.compared(PeerOutput(output.logits, {name: compared}))[rows])
        p = F.softmax(first[rows], 1)
        q = p if self.spec.pair_views == 1 else F.softmax(second[rows], 1)
        criterion = pairwise_bce if self.spec.criterion == "bce" else pairwise_positive
        return criterion(p, q, same)

    def scored(self, output: PeerOutput) -> Tensor:
        """The logits that labels are about."""
        return output.logits if self.spec.incremental else output.logits[:, : self.known]

    def compared(self, output: PeerOutput) -> Tensor:
        """What rows are compared by, (rows, D): pooled features, or their bags of parts."""
        if self.parts is None:
            return feature(output, "pooled").detach().float()
        bags: Tensor = self.parts(feature(output, "map"))
        return bags

    def pseudo_labels(self, features: Tensor) -> Tensor:
        """To what degree every two rows (M, D) are taken to be of one class; no gradient passes.

        The result is (M, M), bool, or float from 0 to 1 for `soft_cosine`.
        """
        features = features.detach()
        if self.spec.pseudo_labels == "ranking":
            return same_top_k(features, self.spec.top_k)
        cosines = cosine_similarities(features)
        if self.spec.pseudo_labels == "hard_cosine":
            return cosines > self.spec.threshold
        return cosines.clamp(0, 1)


def paired(rows: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """The rows of the first view, and those of the second; InputError for an odd number."""
    if len(rows) % 2:
        raise InputError(
            f"discovery: {what} of {len(rows)} rows; expected paired rows, one view of B images "
            "and then another view of the same images"
        )
    half = len(rows) // 2
    return rows[:half], rows[half:]


def check_new_classes(logits: Tensor, known: int) -> None:
    """Raise `InputError` where there is no logit beyond those of the known classes."""
    if logits.ndim != 2 or logits.shape[1] <= known:
        raise InputError(
            f"discovery: logits of shape {tuple(logits.shape)}; expected (rows, classes) with more "
            f"classes than the {known} known ones"
        )


def feature(output: PeerOutput, name: str) -> Tensor:
    """A feature by name; InputError where there is none of that name."""
    if name not in output.features:
        raise InputError(
            f"discovery: needs the feature {name!r}; this peer gives "
            f"{', '.join(output.features) or 'none'}"
        )
    return output.features[name]


EPS = 1e-7
"""Added under the logarithm, so that a pair which is certain has a finite loss."""


def cosine_similarities(features_MD: Tensor) -> Tensor:
    """Cosine of the angle between every two rows, (M, M); a row of zeros is at 0 to all."""
    unit_MD = F.normalize(features_MD, dim=1)
    return unit_MD @ unit_MD.T


def pairwise_bce(p_MC: Tensor, q_MC: Tensor, same_MM: Tensor) -> Tensor:
    """Binary cross-entropy of "rows i and j are of one class", mean over all ordered pairs.

    P_ij = ⟨p_i, q_j⟩, and the loss −s_ij log(P_ij + ε) − (1 − s_ij) log(1 − P_ij + ε). Han et al.,
    ICLR 2020, equation 2, where p and q are predictions (M, C) for two views of the same rows and s
    are targets (M, M) from 0 to 1, hard or soft. Without rows, 0.
    """
    together_MM = _together(p_MC, q_MC)
    s_MM = same_MM.to(together_MM.dtype)
    apart_MM = 1 - together_MM
    return _mean(-(s_MM * (together_MM + EPS).log() + (1 - s_MM) * (apart_MM + EPS).log()))


def pairwise_positive(p_MC: Tensor, q_MC: Tensor, same_MM: Tensor) -> Tensor:
    """−s_ij log(P_ij + ε) as in `pairwise_bce`: draws rows together, and none apart."""
    together_MM = _together(p_MC, q_MC)
    return _mean(-same_MM.to(together_MM.dtype) * (together_MM + EPS).log())


def consistency(logits: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of two predictions (M, C) of the same rows; gradients reach both.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017 (Π-model).
    """
    return _mean((F.softmax(logits, 1) - F.softmax(other, 1)).square())


def ramp_up(progress: float | None, weight: float, over: float) -> float:
    """w(r) = `weight` · exp(−5 (1 − min(r, R) / R)²): `weight` · e⁻⁵ at first, `weight` from R on.

    r is `progress`, the finished fraction of the stage, None for "the ramp is over"; R is `over`, a
    fraction of the stage too, and at 0 there is no ramp.
    """
    if progress is None or over == 0:
        return weight
    return Schedule(kind="sigmoid", over=over).at(progress, weight)


def _together(p_MC: Tensor, q_MC: Tensor) -> Tensor:
    """Probability that two rows are of one class; rounding may put a sum beyond 1."""
    return (p_MC @ q_MC.T).clamp(0, 1)


def _mean(cells: Tensor) -> Tensor:
    return cells.sum() / max(cells.numel(), 1)
