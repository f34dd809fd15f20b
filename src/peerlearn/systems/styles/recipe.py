"""Learning styles (Niyaz, Sambyal, Bathula 2023): one teacher, two students, mixed knowledge."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _styles_classify_task() -> type[Any]:
    from peerlearn.systems.styles.tasks import StylesClassify

    return StylesClassify


def _styles_segment_task() -> type[Any]:
    from peerlearn.systems.styles.tasks import StylesSegment

    return StylesSegment


STYLES_CLASSIFY = Recipe(
    name="styles-classify",
    title="Learning styles, classification",
    summary="One teacher, two students: predictions and feature maps, mixed; classification",
    find_task=_styles_classify_task,
    system="styles",
)
STYLES_SEGMENT = Recipe(
    name="styles-segment",
    title="Learning styles, segmentation",
    summary="One teacher, two students: predictions and feature maps, mixed; segmentation",
    find_task=_styles_segment_task,
    system="styles",
)
