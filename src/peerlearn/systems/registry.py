"""Every system by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peerlearn.errors import InputError, unknown_name
from peerlearn.plain_yaml import read_yaml
from peerlearn.systems.discovery.recipe import DISCOVERY
from peerlearn.systems.dml.recipe import DML, FEW_LABELS
from peerlearn.systems.fit.recipe import FIT
from peerlearn.systems.graph.recipe import GML_GRAPH, GML_MLP, GML_NODE
from peerlearn.systems.recipe import Recipe
from peerlearn.systems.renyi.recipe import RENYI
from peerlearn.systems.styles.recipe import STYLES_CLASSIFY, STYLES_SEGMENT

ALL = (
    *(DML, FEW_LABELS, RENYI),
    *(GML_NODE, GML_GRAPH, GML_MLP),
    *(STYLES_CLASSIFY, STYLES_SEGMENT),
    DISCOVERY,
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in ALL}


def of_file(name: str) -> Recipe | None:
    """The recipe that a file names: also what `peerlearn.fit` trained, which no command begins."""
    return FIT if name == FIT.name else RECIPES.get(name)


def find_recipe(name_or_file: str) -> tuple[Recipe, Mapping[str, Any]]:
    """The recipe of a name or a YAML file, and the mapping it starts from.

    Raises InputError: neither a recipe, then it names the nearest one, nor a file that names one.
    """
    path, name, field, given = Path(name_or_file), name_or_file, None, None
    if path.suffix in (".yaml", ".yml"):
        given = read_yaml(path)
        if "recipe" not in given:
            raise InputError(f"{path}: no key 'recipe'; name the system, such as recipe: dml")
        name, field = str(given["recipe"]), f"{path}: recipe"
    elif path.exists():
        raise InputError(f"{name_or_file}: a recipe file ends in .yaml or .yml")
    recipe = RECIPES.get(name) if given is None else of_file(name)
    if recipe is None:
        raise unknown_name("recipe", name, RECIPES, field)
    return recipe, recipe.defaults() if given is None else given
