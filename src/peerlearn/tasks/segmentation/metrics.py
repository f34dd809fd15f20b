"""Everything that is measured on segmentations, batch by batch: pixels are counted, never kept."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.metrics.assessment import RowTensors, mean_metrics
from peerlearn.metrics.calibration import as_lists, calibration_error, means_of
from peerlearn.metrics.catalogue import ACCURACY, BRIER, ECE, NLL, Metric, fraction
from peerlearn.metrics.peers import phi
from peerlearn.tasks.segmentation.by_image import ImageSums, image_scores, sums_by_image
from peerlearn.tasks.segmentation.pixels import Counts, judge, read_outputs, read_truth, together

METRICS = (
    fraction("iou", "IoU", headline=True, selects=True, brief=0),  # most pixels are easy ones
    fraction("dice", "Dice", headline=True, selects=True, brief=2),
    ACCURACY,
    Metric("hd95", "HD95", "lower", unit="px", decimals=2, brief=5),
    ECE,
    NLL,
    BRIER,
)


class SegmentationAssessment:
    """Metrics of a cohort that segments, from pixels that are counted and let go of.

    Pixels are rows: `accuracy`, `nll`, `ece` and `brier` are those of `classification_metrics` over
    all pixels that count, or of `multilabel_metrics` where masks overlap. Over all images together:

    - `dice`: 2tp / (2tp + fp + fn) of each class, mean over the classes that occur in the truth or
      in the prediction, background among them. `iou`: tp / (tp + fp + fn), in the same way. So a
      class that is predicted and occurs nowhere counts 0, as in mmsegmentation, torchmetrics and
      scikit-learn.
    - `iou:NAME`, `dice:NAME`: of every class, whose mean the above are; NaN (null in files) of one
      that occurs neither in the truth nor in the prediction, about which nothing can be said.
    - `hd95`: mean of `hausdorff95` over images and classes, in pixels, without the classes that an
      image has neither in truth nor in prediction; one that only one of them has is as far as the
      image's diagonal. Pixels that do not count belong to no class.

    Where labels may be nowhere and none is found, that is right: dice and iou 1, hd95 0. A pixel
    with NaN logits is of no class: it counts as wrong, and makes nll, ece and brier NaN.

    Args:
        class_names: in the order of the logits.
        multilabel: masks may overlap: every label is a decision of its own (sigmoid).
        boundaries: measure `hd95`, which takes most of the time.
        members: peers whose mean and ensemble are measured; None for all.
        images: also keep the sums of every image, a few hundred numbers, for `row_scores`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        multilabel: bool = False,
        boundaries: bool = True,
        members: Collection[str] | None = None,
        images: bool = False,
    ) -> None:
        self.class_names, self.multilabel = tuple(class_names), multilabel
        self.boundaries, self.members = boundaries, members
        self._images: dict[str, list[ImageSums]] | None = {} if images else None
        self._peers: dict[str, Counts] = {}
        self._ensemble: Counts | None = None
        self._agreed: Counter[tuple[str, str]] = Counter()
        self._both_wrong: Counter[tuple[str, str]] = Counter()

    def add(self, logits: Mapping[str, Tensor], y: Tensor) -> None:
        """Count a batch.

        Shapes:
            logits: by peer, the same peers in every batch, (batch, classes, height, width), float.
            y: (batch, height, width), int, −1 where a pixel does not count; where masks overlap,
                (batch, labels, height, width), float, NaN there.

        Raises InputError: shapes, classes or peers do not fit.
        """
        if not logits or (self._peers and list(logits) != list(self._peers)):
            raise InputError(
                f"metrics: outputs of peers {', '.join(logits) or 'none'}; "
                f"earlier batches had {', '.join(self._peers) or 'none'}"
            )
        self._check(logits, y)
        truth = read_truth(y, len(self.class_names), self.boundaries)
        outputs = {peer: read_outputs(z, truth) for peer, z in logits.items()}
        judged = {peer: judge(output, truth) for peer, output in outputs.items()}
        for peer, found in judged.items():
            self._peers[peer] = found.counts.plus(self._peers.get(peer))
        mean = together([outputs[peer] for peer in self._chosen(outputs)])
        ensemble = judge(mean, truth)
        self._ensemble = ensemble.counts.plus(self._ensemble)
        if self._images is not None:
            for who, said in (outputs | {"ensemble": mean}).items():
                found = ensemble if who == "ensemble" else judged[who]
                self._images.setdefault(who, []).append(sums_by_image(said, found, truth))
        for a, b in combinations(judged, 2):
            self._agreed[a, b] += int((judged[a].decision == judged[b].decision).sum())
            self._both_wrong[a, b] += int((judged[a].wrong & judged[b].wrong).sum())

    def result(self) -> dict[str, Any]:
        """What was counted so far, in the form of `assess_classification`.

        Raises InputError: no pixel that counts was added.
        """
        if self._ensemble is None or not self._ensemble.pixels:
            raise InputError("metrics: no labelled pixel; nothing can be measured")
        peers = {peer: self._metrics(counts) for peer, counts in self._peers.items()}
        return {
            "peers": peers,
            "mean_peer": mean_metrics([peers[peer] for peer in self._chosen(peers)]),
            "ensemble": self._metrics(self._ensemble),
            "between_peers": self._between_peers(),
            "reliability": {
                who: as_lists(means_of(counts.bins))
                for who, counts in (self._peers | {"ensemble": self._ensemble}).items()
            },
        }

    def row_scores(self) -> RowTensors:
        """Of every image that was added; see `image_scores`. Empty unless `images` are kept."""
        told = self.class_names, self.boundaries
        return {who: image_scores(sums, *told) for who, sums in (self._images or {}).items()}

    def _chosen(self, peers: Iterable[str]) -> list[str]:
        return [peer for peer in peers if self.members is None or peer in self.members]

    def _check(self, logits: Mapping[str, Tensor], y: Tensor) -> None:
        classes, size = len(self.class_names), tuple(y.shape[-2:])
        labels = "classes, " if self.multilabel else ""
        expected = (classes, *size) if self.multilabel else size
        for peer, z in logits.items():
            if tuple(y.shape[1:]) != expected or tuple(z.shape) != (len(y), classes, *size):
                raise InputError(
                    f"metrics: peer {peer!r}: logits {tuple(z.shape)} and y {tuple(y.shape)}; "
                    f"expected (batch, classes, height, width) and (batch, {labels}height, width) "
                    f"with {classes} classes"
                )

    def _between_peers(self) -> dict[str, dict[str, float]]:
        agreement, error_correlation = {}, {}
        for (a, b), both_wrong in self._both_wrong.items():
            one, other = self._peers[a], self._peers[b]
            agreement[f"{a}~{b}"] = self._agreed[a, b] / one.decisions
            error_correlation[f"{a}~{b}"] = phi(both_wrong, one.wrong, other.wrong, one.decisions)
        return {"agreement": agreement, "error_correlation": error_correlation}

    def _metrics(self, counts: Counts) -> dict[str, float]:
        both = counts.found + counts.there
        dice = _fractions(2 * counts.hits, both)
        iou = _fractions(counts.hits, both - counts.hits)
        metrics = {
            "accuracy": (counts.decisions - counts.wrong) / counts.decisions,
            "dice": _mean(dice),
            "iou": _mean(iou),
            "nll": counts.nll / counts.pixels,
            "ece": calibration_error(means_of(counts.bins)),
            "brier": counts.brier / counts.pixels,
        }
        if self.boundaries:
            metrics["hd95"] = counts.distance / max(counts.regions, 1)
        for name, each in (("iou", iou), ("dice", dice)):
            classes = zip(self.class_names, each.tolist(), strict=True)
            metrics |= {f"{name}:{label}": value for label, value in classes}
        return metrics


def _fractions(part: Tensor, whole: Tensor) -> Tensor:
    return part.double() / whole  # NaN for a class that is neither there nor found


def _mean(fractions: Tensor) -> float:
    occurring = fractions[~fractions.isnan()]
    return occurring.mean().item() if len(occurring) else 1.0
