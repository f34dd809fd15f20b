"""What the report is told of a recipe: its title, its metrics, and what its task adds."""

from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.section import Pages
from peerlearn.systems import segmentation_pages as segmentation
from peerlearn.systems.discovery import pages as discovery
from peerlearn.systems.registry import RECIPES

_TITLES = {
    "dml": "Deep mutual learning",
    "renyi": "Rényi mutual learning",
    "gml-node": "Graph mutual learning, nodes",
    "gml-graph": "Graph mutual learning, graphs",
    "gml-mlp": "Graph mutual learning, GNN to MLP",
    "styles-classify": "Learning styles, classification",
    "styles-segment": "Learning styles, segmentation",
    "discovery": "Category discovery",
}
_PAGES = {"styles-segment": segmentation.PAGES, "discovery": discovery.PAGES}


def title_of(recipe: str) -> str:
    """The recipe in words; its name where it is not known."""
    return _TITLES.get(recipe, recipe)


def pages_of(recipe: str) -> tuple[Catalogue, Pages]:
    """What a recipe measures and adds to the report; a classifier's where it is not known."""
    known = RECIPES.get(recipe)
    return known.metrics if known else Catalogue(CLASSIFICATION), _PAGES.get(recipe, Pages())
