"""`peerlearn ls`: what there is to run, to train on and to train."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from peerlearn.data.catalogue import Description
    from peerlearn.models.registry import ModelInfo
    from peerlearn.systems.recipe import Reads

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
    from peerlearn.data import DATASETS
    from peerlearn.data.graphs import GRAPH_SETS, NODE_SETS
    from peerlearn.data.segmentation import MASK_SETS

    rows, nodes, graphs, masks = (
        it.describe(root) for it in (DATASETS, NODE_SETS, GRAPH_SETS, MASK_SETS)
    )
    others = {it.place for it in (*nodes, *graphs, *masks)} - {"embedded"}
    print(f"for {_recipes('rows')}")
    print_datasets(it for it in rows if it.place not in others)
    print(f"\nfor {_recipes('nodes')}")
    print_datasets(nodes, "nodes")
    print(f"\nfor {_recipes('graphs')}")
    print_datasets(graphs, "graphs")
    print(f"\nfor {_recipes('masks')}")
    print_datasets(masks)
    print(
        "\nyour own: --data FILE.npz, with rows (x_train, y_train, x_test, y_test), masks in place "
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
    from peerlearn.models import MODELS
    from peerlearn.models.graphs import GRAPH_MODELS
    from peerlearn.models.segmentation import SEGMENTATION_MODELS

    print(f"for {_recipes('rows')}")
    print_models(MODELS.describe())
    print(f"\nfor {_recipes('nodes', 'graphs')}")
    print_models(GRAPH_MODELS.describe())
    print(f"\nfor {_recipes('masks')}")
    print_models(SEGMENTATION_MODELS.describe())
    print(
        "\nuse one: peers.b.model=resnet8     its arguments: peers.b.arguments.NAME=VALUE\n"
        "your own: peers.b.model=python:package.module:function"
    )


def print_models(models: Iterable["ModelInfo"]) -> None:
    """Print some models with their arguments."""
    from peerlearn.cli.tables import console, table

    def arguments(it: "ModelInfo") -> str:
        return ", ".join(f"{name}={value}" for name, value in it.arguments.items())

    rows = ([it.name, it.summary, arguments(it)] for it in models)
    console().print(table(["model", "what it is", "arguments"], rows))


def _recipes(*reads: "Reads") -> str:
    """Names of the recipes whose peers read one of these."""
    from peerlearn.systems.registry import RECIPES

    return ", ".join(recipe.name for recipe in RECIPES.values() if recipe.reads in reads)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
