"""A few test images with what every peer makes of them, to be looked at.

Shape suffixes: B images, P peers, L labels or classes, H height, W width.
"""

from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.loaders import evaluation_batches
from peerlearn.engine.evaluate import Forward
from peerlearn.report.pictures import visible
from peerlearn.tasks.segmentation.data.masks import IGNORED, MaskSplit, SegmentationDataset

IMAGES = 6
LONGEST_SIDE = 256
NO_LABEL = "no label"  # where masks overlap, pixels may have none


def gallery(
    forward: Forward,
    *,
    split: MaskSplit,
    data: SegmentationDataset,
    batch_size: int,
    members: Collection[str] | None = None,
    images: int = IMAGES,
) -> dict[str, NDArray[Any]]:
    """Images spread evenly over a split, their truth, and the class maps that peers predict.

    Args:
        forward: runs the trained peers over rows.
        split: of `data`, to take so many `images` from, where there are so many.
        data: what the peers were trained on.
        batch_size: images a forward.
        members: peers of the ensemble; None for all.

    Returns:
        `index` (B,) of the images in the split; `images` uint8 (B, H, W) or (B, H, W, 3);
        `truth` uint8 (B, H, W), 255 where a pixel does not count; `who`, the names of the peers
        and `ensemble`, and `predicted` uint8 (P + 1, B, H, W) in their order; `class_names`.
        Large images keep every second, third, ... row and column. Where masks overlap, a pixel
        shows the last of its labels.
    """
    index = spread(len(split), images)
    few = split.select(index)
    rows = partial(evaluation_batches, few, batch_size, data.mean, data.std)
    maps: dict[str, list[Tensor]] = {}
    for logits, _ in forward(rows):
        p = {name: z.sigmoid() if data.multilabel else z.softmax(1) for name, z in logits.items()}
        chosen = [each for name, each in p.items() if members is None or name in members]
        p["ensemble"] = torch.stack(chosen).mean(0)
        for name, p_BLHW in p.items():
            shown = topmost(p_BLHW > 0.5) if data.multilabel else p_BLHW.argmax(1)
            maps.setdefault(name, []).append(shown.to(torch.uint8))
    x, y = few.x, few.y
    step = -(-max(x.shape[-2:]) // LONGEST_SIDE)
    thin = (..., slice(None, None, step), slice(None, None, step))
    return {
        "index": index.numpy(),
        "images": visible(x[thin]),
        "truth": true_classes(y)[thin].numpy(),
        "predicted": torch.stack([torch.cat(parts) for parts in maps.values()])[thin].numpy(),
        "who": np.array(list(maps)),
        "class_names": np.array([*data.class_names, *([NO_LABEL] if data.multilabel else [])]),
    }


def spread(rows: int, wanted: int) -> Tensor:
    """Numbers of at most `wanted` rows, the middles of equal parts of all."""
    count = min(rows, wanted)
    return torch.tensor([(2 * part + 1) * rows // (2 * count) for part in range(count)])


def true_classes(masks: Tensor) -> Tensor:
    """Stored masks as class maps, uint8 (B, H, W)."""
    if masks.ndim == 3:
        return masks.to(torch.uint8)
    unknown = (masks == IGNORED).any(1)
    return topmost(masks == 1).masked_fill(unknown, IGNORED)


def topmost(labels_BLHW: Tensor) -> Tensor:
    """The last label of every pixel; L where it has none."""
    count = labels_BLHW.shape[1]
    numbers_L11 = torch.arange(1, count + 1, device=labels_BLHW.device)[:, None, None]
    last_BHW = (labels_BLHW * numbers_L11).amax(1)
    return torch.where(last_BHW > 0, last_BHW - 1, count).to(torch.uint8)
