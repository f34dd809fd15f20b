"""torch-geometric's `Data` objects, and its loaders of public data, which are replaced here."""

import subprocess
import sys
import types
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError, RunError
from peerlearn.tasks.graphs.data import (
    GraphDataSpec,
    graphs_dataset_from_data,
    load_graphs_dataset,
    load_node_dataset,
    node_dataset_from_data,
)
from peerlearn.tasks.graphs.data import geometric as public

NODES = 12


@pytest.fixture
def geometric():
    return pytest.importorskip("torch_geometric.data")


def mask(first, last):
    flags = torch.zeros(NODES, dtype=torch.bool)
    flags[first:last] = True
    return flags


def node_data(geometric, **changes):
    made = {
        "x": torch.arange(NODES * 3.0).view(NODES, 3) + 2,
        "y": torch.arange(NODES) % 2,
        "edge_index": torch.tensor([[0, 1, 4], [1, 0, 9]]),
        "train_mask": mask(0, 4), "val_mask": mask(4, 8), "test_mask": mask(8, 12),
    }  # fmt: skip
    return geometric.Data(**(made | changes))


def graph_list(geometric, with_x=True):
    return [
        geometric.Data(
            x=torch.full((2 + number % 2, 3), number + 2.0) if with_x else None,
            edge_index=torch.tensor([[0, 1], [1, 0]]),
            y=torch.tensor([[number // 2 % 2]]),
            num_nodes=2 + number % 2,
        )
        for number in range(20)
    ]


def test_data_becomes_a_node_task(geometric):
    given = node_data(geometric)
    data = node_dataset_from_data(given)
    assert torch.equal(data.graph.x, given.x)
    assert data.graph.edge_index.T.tolist() == [[1, 0], [0, 1], [4, 9]]
    assert torch.equal(data.y, given.y)
    assert data.val.tolist() == [4, 5, 6, 7]


def test_several_splits_of_data_are_columns_and_sparse_features_stay_sparse(geometric):
    masks = {f"{part}_mask": torch.stack([mask(*a), mask(*b)], 1) for part, a, b in (
        ("train", (0, 4), (8, 12)), ("val", (4, 8), (4, 8)), ("test", (8, 12), (0, 4)),
    )}  # fmt: skip
    x = torch.zeros(NODES, 200)
    x[:, 7] = 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layouts = (x, x.to_sparse_csr(), x.to_sparse_coo())
    for sparse in layouts:
        data = node_dataset_from_data(
            node_data(geometric, x=sparse, **masks), GraphDataSpec(name="mine", split_index=1)
        )
        assert data.train.tolist() == [8, 9, 10, 11]
        assert data.graph.sparse_features
        assert torch.equal(data.graph.x.to_dense(), x)
    assert data.name == "mine"


def test_data_with_faults_is_refused_like_a_file(geometric):
    with pytest.raises(InputError, match="data: array 'x' is missing"):
        node_dataset_from_data(node_data(geometric, x=None))
    with pytest.raises(InputError, match="data: train_mask and test_mask share 1 nodes"):
        node_dataset_from_data(node_data(geometric, test_mask=mask(3, 4)))


def test_a_list_of_data_becomes_a_graph_task(geometric):
    items = graph_list(geometric)
    data = graphs_dataset_from_data(items)
    union = geometric.Batch.from_data_list(items)
    assert torch.equal(data.x, union.x)
    assert torch.equal(data.ptr, union.ptr)
    assert torch.equal(data.y, union.y[:, 0])
    found, wanted = (set(map(tuple, e.T.tolist())) for e in (data.edge_index, union.edge_index))
    assert found == wanted
    assert len(data.test) == 2
    assert graphs_dataset_from_data(graph_list(geometric, with_x=False)).num_features == 2


def test_a_split_by_position_is_kept(geometric):
    split = {"train": torch.arange(12), "valid": torch.arange(12, 16), "test": torch.arange(16, 20)}
    data = graphs_dataset_from_data(graph_list(geometric), split=split)
    assert (data.train.tolist(), data.val.tolist()) == (list(range(12)), [12, 13, 14, 15])
    for wrong, message in (
        ({"dev": torch.arange(2)}, "split: 'dev'; allowed"),
        ({"test": torch.tensor([20])}, "test names a graph outside 0 to 19"),
    ):
        with pytest.raises(InputError, match=message):
            graphs_dataset_from_data(graph_list(geometric), split=split | wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "graph 3 has no y"),
        ({"edge_index": None}, "graph 3 has no edge_index"),
        ({"y": torch.zeros(1, 12)}, r"graph 3: y of shape \(1, 12\); allowed: one class"),
        ({"x": None}, "graph 3 and graph 0 do not agree on having x"),
        ({"x": torch.ones(3, 4)}, r"graph 3: x of shape \(3, 4\), but of graph 0 \(2, 3\)"),
        (
            {"edge_index": torch.tensor([[0], [3]])},
            "graph 3: edge_index names nodes 0 to 3; allowed: 0 to 2",
        ),
    ],
)
def test_a_graph_of_the_list_with_a_fault_is_named(geometric, change, message):
    items = graph_list(geometric)
    for key, value in change.items():
        setattr(items[3], key, value)
    with pytest.raises(InputError, match=message):
        graphs_dataset_from_data(items)
    with pytest.raises(InputError, match="an empty list"):
        graphs_dataset_from_data([])


def test_public_graphs_come_through_the_loaders_of_torch_geometric(
    geometric, monkeypatch, tmp_path
):
    import torch_geometric.datasets

    asked = []

    def planetoid(root, name):
        asked.append((root, name))
        return [node_data(geometric)]

    def tu(root, name, use_node_attr):
        asked.append((root, name))
        assert use_node_attr
        return graph_list(geometric)

    monkeypatch.setattr(torch_geometric.datasets, "Planetoid", planetoid)
    monkeypatch.setattr(torch_geometric.datasets, "TUDataset", tu)
    spec = GraphDataSpec(name="pubmed", root=str(tmp_path))
    assert load_node_dataset(spec).train.tolist() == [0, 1, 2, 3]
    assert len(load_graphs_dataset(GraphDataSpec(name="imdb-binary", root=str(tmp_path)))) == 20
    folder = str(tmp_path / "graphs")
    assert asked == [(folder, "PubMed"), (folder, "IMDB-BINARY")]


class Molecules(list):
    """What `ogb` gives: a list of `Data` with a split, atoms being rows of categories."""

    def __init__(self, name, root):
        assert name == "ogbg-molhiv"
        # What ogb stores and reads back has to pass torch's check of classes.
        import torch_geometric.data as geometric

        path = f"{root}.pt"
        torch.save(graph_list(geometric)[0], path)
        torch.load(path, weights_only=True)
        items = graph_list(geometric)
        for item in items:
            item.x = (item.x % 2).long()
        super().__init__(items)

    def get_idx_split(self):
        parts = {"train": (0, 12), "valid": (12, 16), "test": (16, 20)}
        return {part: torch.arange(*ends) for part, ends in parts.items()}


def test_molecules_come_through_ogb_with_atoms_as_categories(geometric, monkeypatch, tmp_path):
    ogb = types.ModuleType("ogb.graphproppred")
    ogb.PygGraphPropPredDataset = Molecules
    monkeypatch.setitem(sys.modules, "ogb", types.ModuleType("ogb"))
    monkeypatch.setitem(sys.modules, "ogb.graphproppred", ogb)
    data = load_graphs_dataset(GraphDataSpec(name="ogbg-molhiv", root=str(tmp_path)))
    assert data.num_features == 6
    assert data.x[0].tolist() == [1, 0, 1, 0, 1, 0]
    assert data.x[2].tolist() == [0, 1, 0, 1, 0, 1]
    assert data.test.tolist() == [16, 17, 18, 19]


def test_a_failed_download_is_a_failed_run_that_names_the_place(geometric, monkeypatch, tmp_path):
    import torch_geometric.datasets

    def broken(*args, **options):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(torch_geometric.datasets, "Planetoid", broken)
    with pytest.raises(RunError, match=r"pubmed: could not be .*graphs \(no route to host\)"):
        load_node_dataset(GraphDataSpec(name="pubmed", root=str(tmp_path)))


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch, tmp_path):
    absent = "torch_geometric"

    def without(name):
        if name.startswith(absent):
            raise ImportError(name)
        return SimpleNamespace()

    monkeypatch.setattr(public, "import_module", without)
    with pytest.raises(InputError, match=r'pubmed: .*pip install "peerlearn\[graph\]"'):
        load_node_dataset(GraphDataSpec(name="pubmed", root=str(tmp_path)))
    absent = "ogb"
    with pytest.raises(InputError, match=r"ogbg-molhiv: .*pip install ogb"):
        load_graphs_dataset(GraphDataSpec(name="ogbg-molhiv", root=str(tmp_path)))


def test_torch_geometric_is_not_needed_for_anything_else():
    code = (
        "import sys; sys.modules['torch_geometric'] = None\n"
        "from peerlearn.tasks.graphs.data import *\n"
        "load_node_dataset(GraphDataSpec(name='digits-knn'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_scalars_and_numbers_of_half_precision_are_understood(geometric):
    data = node_dataset_from_data(
        node_data(geometric, x=torch.full((NODES, 3), 2.5, dtype=torch.bfloat16))
    )
    assert data.graph.x.dtype == torch.float32
    assert np.all(data.graph.x.numpy() == 2.5)


def test_a_class_may_be_a_plain_number(geometric):
    items = graph_list(geometric)
    wanted = graphs_dataset_from_data(items).y
    for item in items:
        item.y = int(item.y)
    assert torch.equal(graphs_dataset_from_data(items).y, wanted)


def test_lists_by_part_and_batches_are_read(geometric):
    items = graph_list(geometric)
    whole = graphs_dataset_from_data(items)
    parts = {"test": items[:4], "train": geometric.Batch.from_data_list(items[4:])}
    data = graphs_dataset_from_data(parts)
    assert torch.equal(data.y, whole.y)
    assert data.test.tolist() == [0, 1, 2, 3]
    assert sorted([*data.train.tolist(), *data.val.tolist()]) == list(range(4, 20))
    batch = graphs_dataset_from_data(geometric.Batch.from_data_list(items))
    assert torch.equal(batch.x, whole.x)
    with pytest.raises(InputError, match=r"batches of several graphs.*loader\.dataset"):
        graphs_dataset_from_data([geometric.Batch.from_data_list(items)])


def test_what_is_not_read_of_data_and_the_split_that_is_used_are_told(geometric):
    columns = {f"{part}_mask": mask(*at)[:, None].repeat(1, 3)
               for part, at in (("train", (0, 4)), ("val", (4, 8)), ("test", (8, 12)))}  # fmt: skip
    given = node_data(geometric, edge_weight=torch.ones(3), **columns)
    notes = node_dataset_from_data(given, GraphDataSpec(name="data", split_index=1)).account.notes
    assert "not read of the Data: edge_weight" in notes
    assert "split 1 of 3, counted from 0 (data.split_index)" in notes
    plain = " ".join(node_dataset_from_data(node_data(geometric)).account.notes)
    assert "not read" not in plain
    assert "split" not in plain
    items = graph_list(geometric)
    items[2].edge_attr = torch.ones(2, 4)
    assert "not read of the Data: edge_attr" in graphs_dataset_from_data(items).account.notes


def test_a_file_that_is_read_changes_nothing_of_what_torch_may_load(geometric, tmp_path):
    torch.save(node_data(geometric), tmp_path / "mine.pt")
    torch.serialization.add_safe_globals([geometric.Data])
    before = set(torch.serialization.get_safe_globals())
    public.read_saved(tmp_path / "mine.pt", "mine.pt")
    assert set(torch.serialization.get_safe_globals()) == before
