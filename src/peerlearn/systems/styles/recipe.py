"""Learning styles (Niyaz, Sambyal, Bathula 2023): one teacher, two students, mixed knowledge."""

from peerlearn.systems.recipe import Recipe
from peerlearn.systems.styles.tasks import StylesClassify, StylesSegment

STYLES_CLASSIFY = Recipe(
    name="styles-classify",
    title="Learning styles, classification",
    summary="One teacher, two students: predictions and feature maps, mixed; classification",
    task=StylesClassify,
    system="styles",
)
STYLES_SEGMENT = Recipe(
    name="styles-segment",
    title="Learning styles, segmentation",
    summary="One teacher, two students: predictions and feature maps, mixed; segmentation",
    task=StylesSegment,
    system="styles",
)
