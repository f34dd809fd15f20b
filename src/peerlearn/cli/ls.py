"""`peerlearn ls`, `cp` and `data`: what there is to run, to train on and to train."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from peerlearn.data.catalogue import Description

data = typer.Typer(help="List and download data sets.", no_args_is_help=True)


def ls(
    topic: Annotated[
        str | None, typer.Argument(metavar="[recipes|data|models]", show_default=False)
    ] = None,
) -> None:
    """List the recipes, the data sets or the models."""
    from peerlearn.errors import unknown_name

    topics = {"recipes": list_recipes, "data": list_data, "models": list_models}
    if topic is not None and topic not in topics:
        raise unknown_name("topic", topic, topics)
    topics[topic or "recipes"]()
    if topic is None:
        print(
            "\nlook at one: peerlearn validate dml     train it: peerlearn run dml\n"
            "make it yours: peerlearn cp dml my.yaml\n"
            "data sets: peerlearn ls data            models: peerlearn ls models"
        )


def list_recipes() -> None:
    """Print every recipe with the arms that `compare` sets against each other."""
    from peerlearn.cli.screen import console, table
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
        _print_datasets(described, things)
        print()
    print(
        "your own: --data FILE.npz, with rows (x_train, y_train, x_test, y_test), masks in place "
        "of labels, nodes (x, y,\nedge_index, split) or graphs (edge_index, ptr, y, x or "
        "node_label), or pairs (user, item); a csv with user and item;\nor a folder train/CLASS/, "
        "train/images/ beside train/masks/, or one of raw graph files"
    )


def _print_datasets(datasets: Iterable["Description"], things: str | None) -> None:
    """Print some data sets: of `things`, or of rows with a shape for train and for test."""
    from peerlearn.cli.screen import console, table

    rows = []
    for it in datasets:
        shape = [] if things else ["×".join(map(str, it.shape or ()))]
        counts = " + ".join(map(_number, it.rows or ()))
        rows.append([it.name, it.about, _number(it.classes), *shape, counts, it.place])
    counted = [things] if things else ["shape", "train + test"]
    columns = ["data", "what it is", "classes", *counted, "where"]
    console().print(table(columns, rows, whole=() if things else counted))


def list_models() -> None:
    """Print every model with its arguments."""
    from peerlearn.cli.screen import console, table

    for models, recipes in _recipes_by(lambda task: task.models):
        rows = []
        for it in models.describe():
            arguments = (f"{name}={value}" for name, value in it.arguments.items())
            rows.append([it.name, it.summary, ", ".join(arguments)])
        print(f"for {recipes}")
        console().print(table(["model", "what it is", "arguments"], rows))
        print()
    print(
        "use one: peers.b.model=resnet8     its arguments: peers.b.arguments.NAME=VALUE\n"
        "your own: peers.b.model=python:package.module:function\n"
        "timm's, for images: peers.b.model=timm:NAME"
    )


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


def cp(
    recipe: Annotated[str, typer.Argument(help="A recipe of `peerlearn ls`.", show_default=False)],
    dest: Annotated[Path, typer.Argument(help="A new .yaml file.", show_default=False)],
) -> None:
    """Copy a recipe's YAML, with its comments, to change it and run it."""
    from peerlearn.errors import InputError, unknown_name
    from peerlearn.files import write_text
    from peerlearn.systems.registry import RECIPES

    if recipe not in RECIPES:
        raise unknown_name("recipe", recipe, RECIPES)
    if dest.suffix not in (".yaml", ".yml"):
        raise InputError(f"{dest}: a recipe file ends in .yaml or .yml")
    if dest.exists():
        raise InputError(f"{dest}: exists and is never overwritten; choose another name")
    write_text(dest, RECIPES[recipe].default_text())
    print(f"{dest}: yours to change\ncheck it: peerlearn validate {dest}")


RootOption = Annotated[
    str | None,
    typer.Option(help="Folder of data sets.", show_default="$PEERLEARN_DATA, ~/.cache/peerlearn"),
]


@data.command("ls")
def list_all(root: RootOption = None) -> None:
    """List the data sets and where they are."""
    list_data(root)


@data.command("get")
def get(
    name: Annotated[str, typer.Argument(help="As in `peerlearn ls data`.", show_default=False)],
    root: RootOption = None,
) -> None:
    """Download a data set, unless it is there, and print where it is."""
    from peerlearn.errors import unknown_name

    kinds = [(it, it.names(root)) for it, _ in _recipes_by(lambda task: task.catalogue)]
    for catalogue, names in kinds:
        if name in names:
            print(catalogue.get(name, root))
            return
    raise unknown_name("data set", name, {name for _, names in kinds for name in names})
