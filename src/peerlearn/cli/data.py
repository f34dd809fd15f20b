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
    from peerlearn.data import dataset_names, get_dataset
    from peerlearn.data.graphs import get_graph_dataset, graph_dataset_names
    from peerlearn.errors import unknown_name

    images = dataset_names(root)
    graphs = [*graph_dataset_names("node", root), *graph_dataset_names("graph", root)]
    if name not in (*images, *graphs):
        raise unknown_name("data set", name, {*images, *graphs})
    print(get_dataset(name, root) if name in images else get_graph_dataset(name, root))
