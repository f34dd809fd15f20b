"""`peerlearn data`: data sets that have a name."""

from typing import Annotated

import typer

app = typer.Typer(help="List and download data sets.", no_args_is_help=True)
RootOption = Annotated[
    str | None,
    typer.Option(help="Folder of data sets.", show_default="$PEERLEARN_DATA, ~/.cache/peerlearn"),
]


@app.command("ls")
def list_all(root: RootOption = None) -> None:
    """List the data sets and where they are."""
    from peerlearn.cli.ls import list_data

    list_data(root)


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="As in `peerlearn ls data`.", show_default=False)],
    root: RootOption = None,
) -> None:
    """Download a data set, unless it is there, and print where it is."""
    from peerlearn.errors import unknown_name
    from peerlearn.systems.registry import RECIPES

    catalogues = {id(it): it for it in (recipe.task.catalogue for recipe in RECIPES.values())}
    kinds = [(it, it.names(root)) for it in catalogues.values()]
    for catalogue, names in kinds:
        if name in names:
            print(catalogue.get(name, root))
            return
    raise unknown_name("data set", name, {name for _, names in kinds for name in names})
