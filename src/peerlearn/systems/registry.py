"""Every system by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peerlearn.errors import InputError, unknown_name
from peerlearn.systems.discovery.recipe import DISCOVERY
from peerlearn.systems.dml.recipe import DML
from peerlearn.systems.graph.recipe import GML_GRAPH, GML_MLP, GML_NODE
from peerlearn.systems.recipe import Recipe, load_recipe_file
from peerlearn.systems.renyi.recipe import RENYI
from peerlearn.systems.styles.recipe import STYLES_CLASSIFY, STYLES_SEGMENT

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        DML,
        RENYI,
        GML_NODE,
        GML_GRAPH,
        GML_MLP,
        STYLES_CLASSIFY,
        STYLES_SEGMENT,
        DISCOVERY,
    )
}


def find_recipe(name_or_file: str) -> tuple[Recipe, Mapping[str, Any]]:
    """The recipe of a name or a YAML file, and the mapping it starts from.

    Raises:
        InputError: neither a recipe nor a file; names the nearest recipe.
    """
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        given = load_recipe_file(path)
        return _known(str(given["recipe"]), f"{path}: recipe"), given
    if path.exists():
        raise InputError(f"{name_or_file}: a recipe file ends in .yaml or .yml")
    recipe = _known(name_or_file, None)
    return recipe, recipe.defaults()


def _known(name: str, field: str | None) -> Recipe:
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES, field)
    return RECIPES[name]
