"""What single images add to metrics that are not means over images.

Dice, IoU and distances are ratios of sums over all images, and pixels of large images count as
those of small ones. So an image scores what it adds to the whole: of a metric R = Σ part / Σ whole

    score_i = R + n (part_i − R whole_i) / Σ whole

over n images. The mean over images is R exactly, the spread is what the delta method says of R over
draws of images, and where all images are alike in size it is the image's own part_i / whole_i. Of a
mean over classes it is the mean of their scores. Like any linear approximation it may leave the
range of the metric.

Shapes: n images, C classes, M pixels that count, BINS bins of a reliability diagram.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from peerlearn.metrics.calibration import BINS, equal_width
from peerlearn.tasks.segmentation.pixels import Judged, Outputs, Truth


class ImageSums(NamedTuple):
    """Sums over the pixels of every image, float64, as `Counts` has them of all images.

    Shapes: (n,), of classes (n, C), `bins` (n, 3, BINS): confidence, correctness, decisions.
    """

    pixels: Tensor
    decisions: Tensor
    wrong: Tensor
    nll: Tensor
    brier: Tensor
    bins: Tensor
    hits: Tensor
    found: Tensor
    there: Tensor
    distance: Tensor
    regions: Tensor


def sums_by_image(outputs: Outputs, judged: Judged, truth: Truth) -> ImageSums:
    """Of the images of a batch, of one network or several together."""
    images, classes = len(truth.counted), truth.classes
    pixels = truth.counted.flatten(1).sum(1)
    image_M = torch.arange(images).repeat_interleave(pixels)
    y, p, decision = truth.y, outputs.p, judged.decision
    if truth.multilabel:
        image = image_M.repeat_interleave(classes)
        label = torch.arange(classes).repeat(len(y))
        said, true = decision, y.flatten()
        cells = [image * classes + label for _ in range(3)]
        chosen = [said & true, said, true]
        brier = (p - y.double()).square().sum(1)
        nll = -outputs.log_likelihood.sum(1)
    else:
        image = image_M
        own = outputs.log_likelihood.exp()
        brier, nll = p.square().sum(1) - 2 * own + 1, -outputs.log_likelihood
        cells = [image * classes + of for of in (y, decision.clamp_min(0), y)]
        chosen = [~judged.wrong, decision >= 0, torch.ones_like(judged.wrong)]
    hits, found, there = (
        cell[rows].bincount(minlength=images * classes).view(images, classes)
        for cell, rows in zip(cells, chosen, strict=True)
    )
    binned = image * BINS + equal_width(judged.confidence)
    rows = torch.ones_like(judged.confidence)
    bins = [
        torch.bincount(binned, each.double(), images * BINS).view(images, BINS)
        for each in (judged.confidence, judged.came_true, rows)
    ]
    distances = judged.distances
    if distances is None:
        distances = torch.full((images, 1), torch.nan, dtype=torch.float64)
    return ImageSums(
        pixels.double(),
        image.bincount(minlength=images).double(),
        torch.bincount(image, judged.wrong.double(), images),
        torch.bincount(image_M, nll, images),
        torch.bincount(image_M, brier, images),
        torch.stack(bins, 1),
        hits.double(),
        found.double(),
        there.double(),
        distances.nansum(1),
        distances.isfinite().sum(1).double(),
    )


def image_scores(
    batches: Sequence[ImageSums], class_names: Sequence[str], boundaries: bool
) -> dict[str, Tensor]:
    """What every image scored, float32 (n,).

    Metrics by their names, as described above: `accuracy`, `dice`, `iou`, `nll`, `brier` and
    `hd95`. And what they, `ece` and the classes' metrics are made of:

    - `pixels` that count, `decisions`, and those that are `wrong`;
    - `regions`, whose distances `hd95` is the mean of;
    - by class, `intersection.CLASS` and `union.CLASS` in pixels;
    - by bin of confidence, 0 to 14, `confidence.BIN` and `right.BIN`, sums, and `decisions.BIN`.
    """
    it = ImageSums(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    union = it.found + it.there - it.hits
    scores = {
        "accuracy": _scores(it.decisions - it.wrong, it.decisions),
        "dice": _scores(2 * it.hits, union + it.hits, undefined=1.0),
        "iou": _scores(it.hits, union, undefined=1.0),
        "nll": _scores(it.nll, it.pixels),
        "brier": _scores(it.brier, it.pixels),
        "pixels": it.pixels,
        "decisions": it.decisions,
        "wrong": it.wrong,
    }
    if boundaries:
        scores |= {"hd95": _scores(it.distance, it.regions, undefined=0.0), "regions": it.regions}
    for number, name in enumerate(class_names):
        scores[f"intersection.{name}"] = it.hits[:, number]
        scores[f"union.{name}"] = union[:, number]
    for number in range(BINS):
        parts = zip(("confidence", "right", "decisions"), it.bins.unbind(1), strict=True)
        scores |= {f"{part}.{number}": values[:, number] for part, values in parts}
    return {name: values.float() for name, values in scores.items()}


def _scores(part: Tensor, whole: Tensor, undefined: float = torch.nan) -> Tensor:
    """(n,) from (n,), or (n, C) of which the mean over classes that occur; see the module."""
    part, whole = (each.view(len(each), -1) for each in (part, whole))
    total = whole.sum(0)
    occurs = total > 0
    if not occurs.any():
        return torch.full((len(part),), undefined, dtype=torch.float64)
    part, whole, total = part[:, occurs], whole[:, occurs], total[occurs]
    ratio = part.sum(0) / total
    return (ratio + len(part) * (part - ratio * whole) / total).mean(1)
