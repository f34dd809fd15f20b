"""`peerlearn ls`: what there is to run, to train on and to train."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from peerlearn.data.catalogue import Description
    from peerlearn.models.registry import ModelInfo

TOPICS = ("recipes", "data", "models")


def ls(
    topic: Annotated[
        str | None, typer.Argument(metavar="[recipes|data|models]", show_default=False)
    ] = None,
) -> None:
    """List the recipes, the data sets or the models."""
    from peerlearn.errors import unknown_name

    match topic:
        case None:
            list_recipes()
            print(
                "\nlook at one: peerlearn validate dml     train it: peerlearn run dml\n"
                "make it yours: peerlearn cp dml my.yaml\n"
                "data sets: peerlearn ls data            models: peerlearn ls models"
            )
        case "recipes":
            list_recipes()
        case "data":
            list_data()
        case "models":
            list_models()
        case _:
            raise unknown_name("topic", topic, TOPICS)


def list_recipes() -> None:
    """Print every recipe with the arms that `compare` sets against each other."""
    from peerlearn.cli.tables import console, table
    from peerlearn.systems.registry import RECIPES

    rows = (
        [recipe.name, recipe.summary, ", ".join(recipe.defaults().get("arms") or {})]
        for recipe in RECIPES.values()
    )
    console().print(table(["recipe", "what it is", "arms"], rows))


def list_data(root: str | None = None) -> None:
    """Print every data set that has a name, and where it is."""

    (plain, *special) = [
        (recipes, catalogue.describe(root), catalogue.things)
        for catalogue, recipes in _recipes_by(lambda task: task.catalogue)
    ]
    # Files of the first kind, plain rows, are those that are of no other kind.
    others = {it.place for _, described, _ in special for it in described} - {"embedded"}
    rows = tuple(it for it in plain[1] if it.place not in others)
    for recipes, described, things in ((plain[0], rows, plain[2]), *special):
        print(f"for {recipes}")
        print_datasets(described, things)
        print()
    print(
        "your own: --data FILE.npz, with rows (x_train, y_train, x_test, y_test), masks in place "
        "of labels, nodes (x, y,\nedge_index, split) or graphs (edge_index, ptr, y, x or "
        "node_label); or a folder train/CLASS/, train/images/ beside\ntrain/masks/, or one of raw "
        "graph files"
    )


def print_datasets(datasets: Iterable["Description"], things: str | None = None) -> None:
    """Print some data sets: of `things`, or of rows with a shape for train and for test."""
    from peerlearn.cli.tables import console, table

    rows = (
        [
            it.name,
            it.about,
            _number(it.classes),
            *([] if things else ["×".join(map(str, it.shape or ()))]),
            " + ".join(map(_number, it.rows or ())),
            it.place,
        ]
        for it in datasets
    )
    counted = [things] if things else ["shape", "train + test"]
    columns = ["data", "what it is", "classes", *counted, "where"]
    console().print(table(columns, rows, whole=() if things else counted))


def list_models() -> None:
    """Print every model with its arguments."""
    for models, recipes in _recipes_by(lambda task: task.models):
        print(f"for {recipes}")
        print_models(models.describe())
        print()
    print(
        "use one: peers.b.model=resnet8     its arguments: peers.b.arguments.NAME=VALUE\n"
        "your own: peers.b.model=python:package.module:function"
    )


def print_models(models: Iterable["ModelInfo"]) -> None:
    """Print some models with their arguments."""
    from peerlearn.cli.tables import console, table

    def arguments(it: "ModelInfo") -> str:
        return ", ".join(f"{name}={value}" for name, value in it.arguments.items())

    rows = ([it.name, it.summary, arguments(it)] for it in models)
    console().print(table(["model", "what it is", "arguments"], rows))


def _recipes_by(what: Callable[[Any], Any]) -> list[tuple[Any, str]]:
    """What tasks have, each with the names of the recipes of these tasks."""
    from peerlearn.systems.registry import RECIPES

    having: dict[int, tuple[Any, list[str]]] = {}
    for recipe in RECIPES.values():
        had = what(recipe.task)
        having.setdefault(id(had), (had, []))[1].append(recipe.name)
    return [(had, ", ".join(names)) for had, names in having.values()]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
