"""`peerlearn ls`: what there is to run, to train on and to train."""

from typing import Annotated

import typer

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
    from peerlearn.cli.tables import console, table
    from peerlearn.data import describe_datasets

    rows = (
        [
            it.name,
            it.about,
            "" if it.classes is None else str(it.classes),
            "" if it.shape is None else "×".join(map(str, it.shape)),
            "" if it.rows is None else " + ".join(f"{count:,}" for count in it.rows),
            it.place,
        ]
        for it in describe_datasets(root)
    )
    columns = ["data", "what it is", "classes", "shape", "train + test", "where"]
    console().print(table(columns, rows, whole=("shape", "train + test")))
    print("\nyour own: --data FILE.npz (x_train, y_train, x_test, y_test) or a folder train/CLASS/")


def list_models() -> None:
    """Print every model with its arguments."""
    from peerlearn.cli.tables import console, table
    from peerlearn.models import describe_models

    rows = (
        [it.name, it.summary, ", ".join(f"{name}={value}" for name, value in it.arguments.items())]
        for it in describe_models()
    )
    console().print(table(["model", "what it is", "arguments"], rows))
    print(
        "\nuse one: peers.b.model=resnet8     its arguments: peers.b.arguments.NAME=VALUE\n"
        "your own: peers.b.model=python:package.module:function"
    )
