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
    from peerlearn.data.segmentation import get_segmentation_dataset, segmentation_dataset_names
    from peerlearn.errors import unknown_name

    graphs = [*graph_dataset_names("node", root), *graph_dataset_names("graph", root)]
    kinds = (
        (dataset_names(root), get_dataset),
        (graphs, get_graph_dataset),
        (segmentation_dataset_names(root), get_segmentation_dataset),
    )
    for names, get_one in kinds:
        if name in names:
            print(get_one(name, root))
            return
    raise unknown_name("data set", name, {name for names, _ in kinds for name in names})
