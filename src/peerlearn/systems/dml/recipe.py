"""Deep Mutual Learning (Zhang, Xiang, Hospedales, Lu; CVPR 2018)."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _classification_task() -> type[Any]:
    from peerlearn.tasks.classification.task import ClassificationTask

    return ClassificationTask


DML = Recipe(
    name="dml",
    title="Deep mutual learning",
    summary="Deep mutual learning: every peer learns from every other peer's predictions",
    find_task=_classification_task,
)
FEW_LABELS = Recipe(
    name="dml-few-labels",
    title="Mutual learning with few labels",
    summary="Few labels, many rows without: every peer learns from the others' sharpened mean",
    find_task=_classification_task,
    system="dml",
    own_data=(
        "On data of your own, where some rows have a label and the others have -1 for it:",
        "    peerlearn compare dml-few-labels --data PATH data.labels=null \\",
        "        --arms mutual,independent --seeds 0-4 --out runs/mine",
        "  Where all rows have one, data.labels=100 in its place shows what 100 labels would do.",
        "  Then ship one network:",
        "    peerlearn export runs/mine/cells/mutual/seed-0 --peer best --out best.pt2",
    ),
)
