"""Every system by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peerlearn.engine.places import begun_in, located
from peerlearn.errors import InputError, unknown_name
from peerlearn.importing import refuse_code
from peerlearn.plain_yaml import read_yaml
from peerlearn.systems.backdoor.recipe import BACKDOOR
from peerlearn.systems.bayesian.recipe import BAYESIAN
from peerlearn.systems.discovery.recipe import DISCOVERY
from peerlearn.systems.dml.recipe import DML, FEW_LABELS
from peerlearn.systems.fit.recipe import FIT
from peerlearn.systems.graph.recipe import GML_GRAPH, GML_MLP, GML_NODE
from peerlearn.systems.music.recipe import MUSIC
from peerlearn.systems.recipe import Recipe
from peerlearn.systems.renyi.recipe import RENYI
from peerlearn.systems.styles.recipe import STYLES_CLASSIFY, STYLES_SEGMENT

ALL = (
    *(DML, FEW_LABELS, RENYI),
    *(GML_NODE, GML_GRAPH, GML_MLP),
    *(STYLES_CLASSIFY, STYLES_SEGMENT),
    BAYESIAN,
    DISCOVERY,
    BACKDOOR,
    MUSIC,
)
WRITTEN = ("env.json", "metrics.jsonl", "results.json", "checkpoints", "cells")
"""What stands beside the `config.yaml` of a run or a comparison."""
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in ALL}


def of_file(name: str) -> Recipe | None:
    """The recipe that a file names: also what `peerlearn.fit` trained, which no command begins."""
    return FIT if name == FIT.name else RECIPES.get(name)


def find_recipe(name_or_file: str, trust: bool = False) -> tuple[Recipe, Mapping[str, Any]]:
    """The recipe of a name or a YAML file, and the mapping it starts from.

    Of the `config.yaml` of a run or a comparison, paths are where they were when it was begun, from
    whatever folder it is read; and such a folder is data: code that it names needs `trust`.

    Raises InputError: neither a recipe, then it names the nearest one, nor a file that names one;
    or code that is not trusted.
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
    if given is None:
        return recipe, recipe.defaults()
    if is_of_run(path):
        if not trust:
            refuse_code(given, path)
        given = located(given, begun_in(path.parent), recipe.task.catalogue)
    return recipe, given


def is_of_run(file: Path) -> bool:
    """Whether a file is the configuration that a run or a comparison has written."""
    return file.name == "config.yaml" and any((file.parent / each).exists() for each in WRITTEN)
