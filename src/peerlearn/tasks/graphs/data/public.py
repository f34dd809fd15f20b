"""Public graph data sets by name, through the loaders of torch-geometric and OGB."""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError, RunError
from peerlearn.tasks.graphs.data.geometric import graphs_arrays, node_arrays, split_array


class PublicSet(NamedTuple):
    """A published data set: what its loader calls it, and how many nodes or graphs it has."""

    folder: str
    about: str
    classes: int
    items: int


CITATIONS = {
    "cora": PublicSet("Cora", "papers that cite each other, by topic", 7, 2_708),
    "citeseer": PublicSet("CiteSeer", "papers that cite each other, by topic", 6, 3_327),
    "pubmed": PublicSet("PubMed", "papers on diabetes that cite each other", 3, 19_717),
}
TU = {
    "mutag": PublicSet("MUTAG", "molecules, mutagenic or not", 2, 188),
    "ptc_mr": PublicSet("PTC_MR", "molecules, carcinogenic in rats or not", 2, 344),
    "proteins": PublicSet("PROTEINS", "proteins, enzymes or not", 2, 1_113),
    "enzymes": PublicSet("ENZYMES", "enzymes by what they catalyse", 6, 600),
    "nci1": PublicSet("NCI1", "molecules active against lung cancer or not", 2, 4_110),
    "nci109": PublicSet("NCI109", "molecules active against ovarian cancer or not", 2, 4_127),
    "imdb-binary": PublicSet("IMDB-BINARY", "circles of actors by genre", 2, 1_000),
    "imdb-multi": PublicSet("IMDB-MULTI", "circles of actors by genre", 3, 1_500),
}
MOLECULES = {
    "ogbg-molbace": PublicSet("ogbg_molbace", "molecules that bind BACE-1 or not", 2, 1_513),
    "ogbg-molbbbp": PublicSet("ogbg_molbbbp", "molecules that enter the brain or not", 2, 2_039),
    "ogbg-molhiv": PublicSet("ogbg_molhiv", "molecules that inhibit HIV or not", 2, 41_127),
}
NODE_TASKS = tuple(CITATIONS)
GRAPH_TASKS = (*TU, *MOLECULES)
SETS = {**CITATIONS, **TU, **MOLECULES}


def fetch(name: str, root: Path) -> dict[str, Array]:
    """The arrays of a public data set of `SETS`, read from `root` or downloaded to it.

    Raises:
        InputError: torch-geometric, or OGB's package, is not installed.
        RunError: the data could not be downloaded or read.
    """
    datasets = _module(name, "torch_geometric.datasets", '"peerlearn[graph]"')
    ogb = _module(name, "ogb.graphproppred", "ogb") if name in MOLECULES else None
    try:
        if name in CITATIONS:
            return node_arrays(datasets.Planetoid(str(root), CITATIONS[name].folder)[0])
        if name in TU:
            found = datasets.TUDataset(str(root), TU[name].folder, use_node_attr=True)
            return graphs_arrays(found, name)
        return _molecules(ogb, name, root)
    except InputError:
        raise
    except Exception as error:  # whatever a loader can meet on its way through a network
        said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise RunError(f"{name}: could not be loaded or downloaded to {root} ({said}).") from error


def _molecules(ogb: Any, name: str, root: Path) -> dict[str, Array]:
    """Categories of atoms as labels, and OGB's scaffold split; see `ogb_csv`."""
    storage = import_module("torch_geometric.data.storage")
    data = import_module("torch_geometric.data.data")
    # OGB reads back what it has just written; torch 2.6 and later ask which classes may be in it.
    classes = [data.DataEdgeAttr, data.DataTensorAttr, storage.GlobalStorage]
    with torch.serialization.safe_globals(classes):
        found = ogb.PygGraphPropPredDataset(name, root=str(root))
    arrays = graphs_arrays(found, name)
    arrays["node_label"] = arrays.pop("x")
    arrays["split"] = split_array(found.get_idx_split(), len(arrays["y"]), name)
    return arrays


def _module(name: str, module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise InputError(f"{name}: loading it needs {module}: pip install {package}") from None
