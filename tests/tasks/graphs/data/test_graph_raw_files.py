"""The raw layouts of Planetoid, TU and OGB, from files that these tests write."""

import gzip
import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch
from scipy import sparse as sp

from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data import GraphDataSpec, load_graphs_dataset, load_node_dataset


def planetoid_parts(x, y, edges, order, labelled, known):
    """The files of a data set whose test nodes come in `order`, all of them >= `known`."""
    one_hot = np.zeros((len(y), y.max() + 1), np.int32)
    one_hot[y >= 0, y[y >= 0]] = 1
    graph = defaultdict(list)
    for sender, receiver in edges:
        graph[sender].append(receiver)
    parts = {"graph": graph}
    for prefix, rows in (("", slice(labelled)), ("all", slice(known)), ("t", order)):
        parts[f"{prefix}x"] = sp.csr_matrix(x[rows].astype(np.float32))
        parts[f"{prefix}y"] = one_hot[rows]
    return parts


def write_planetoid(folder, parts, order, name="toy"):
    folder.mkdir(parents=True, exist_ok=True)
    for part, content in parts.items():
        (folder / f"ind.{name}.{part}").write_bytes(pickle.dumps(content, 2))
    (folder / f"ind.{name}.test.index").write_text("".join(f"{node}\n" for node in order))


NODES = 12
FEATURES = (np.arange(NODES * 4).reshape(NODES, 4) % 5 == 0) * 2.0
LABELS = np.arange(NODES) % 2
EDGES = [(0, 1), (1, 0), (1, 2), (5, 9), (9, 11), (3, 3), (0, 1)]
ORDER = np.array([11, 8, 9])


def toy_parts(**changes):
    # Nodes 10 and below 8 are known or missing: 10 is skipped by the test index, as in CiteSeer.
    return planetoid_parts(FEATURES, LABELS, EDGES, ORDER, 4, 8) | changes


def test_planetoid_puts_test_rows_where_the_index_says_and_blanks_where_it_skips(tmp_path):
    write_planetoid(tmp_path, toy_parts(), ORDER)
    data = load_node_dataset(GraphDataSpec(name=str(tmp_path)))
    expected = FEATURES.copy()
    expected[10] = 0
    assert np.array_equal(data.graph.x.numpy(), expected)
    assert data.y.tolist() == [-1 if node == 10 else node % 2 for node in range(NODES)]
    assert data.train.tolist() == [0, 1, 2, 3]
    assert data.val.tolist() == [4, 5, 6, 7]
    assert data.test.tolist() == [8, 9, 11]
    assert set(map(tuple, data.graph.edge_index.T.tolist())) == {
        (0, 1), (1, 0), (1, 2), (2, 1), (5, 9), (9, 5), (9, 11), (11, 9),
    }  # fmt: skip


def test_planetoid_files_are_found_in_the_raw_folder_of_a_name(tmp_path):
    write_planetoid(tmp_path / "graphs" / "CiteSeer" / "raw", toy_parts(), ORDER, "citeseer")
    data = load_node_dataset(GraphDataSpec(name="citeseer", root=str(tmp_path)))
    assert (data.name, data.graph.num_nodes) == ("citeseer", NODES)


@pytest.mark.parametrize(
    ("changes", "order", "message"),
    [
        ({"ally": np.eye(2)}, ORDER, r"toy\.allx: has 8 rows, but ally has 2"),
        ({"tx": sp.csr_matrix((3, 9))}, ORDER, r"toy\.tx: has 9 columns, but allx has 4"),
        ({"ty": np.zeros((3, 5))}, ORDER, r"toy\.ty: has 5 columns, but ally has 2"),
        ({"x": np.arange(4)}, ORDER, r"toy\.x: expected a matrix"),
        ({"graph": [1, 2]}, ORDER, r"toy\.graph: expected a dict"),
        ({"graph": {0: [12]}}, ORDER, r"toy\.graph: names node 12; allowed: 0 to 11"),
        ({"graph": {0: ["a"]}}, ORDER, r"toy\.graph: expected lists of node numbers"),
        ({}, [11, 8], r"toy\.test\.index: 2 nodes in 2 lines; expected one for each of 3"),
        ({}, [11, 8, 8], r"toy\.test\.index: 2 nodes in 3 lines"),
        ({}, [11, 8, 7], r"toy\.test\.index: names node 7, which is a row of allx"),
        ({}, [11, 8, "x"], r"toy\.test\.index: not a table of numbers"),
    ],
)
def test_planetoid_files_that_do_not_fit_are_refused(tmp_path, changes, order, message):
    write_planetoid(tmp_path, toy_parts(**changes), order)
    with pytest.raises(InputError, match=message):
        load_node_dataset(GraphDataSpec(name=str(tmp_path)))


def test_planetoid_files_that_are_missing_or_doubled_are_told(tmp_path):
    write_planetoid(tmp_path, toy_parts(), ORDER)
    (tmp_path / "ind.toy.ty").unlink()
    with pytest.raises(InputError, match=r"ind\.toy\.ty: no such file"):
        load_node_dataset(GraphDataSpec(name=str(tmp_path)))
    write_planetoid(tmp_path, toy_parts(), ORDER, "other")
    with pytest.raises(InputError, match=r"expected one data set.*ind\.other.*ind\.toy"):
        load_node_dataset(GraphDataSpec(name=str(tmp_path)))


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["cora", "citeseer"])
def test_published_graphs_survive_the_raw_layout(shared_data, tmp_path, name):
    with np.load(shared_data / "graphs" / f"{name}.npz") as file:
        arrays = dict(file)
    y, test = arrays["y"].astype(int), arrays["test_mask"].nonzero()[0]
    order = np.random.default_rng(0).permutation(test)
    parts = planetoid_parts(
        arrays["x"], y, arrays["edge_index"].T.tolist(), order,
        int(arrays["train_mask"].sum()), test.min(),
    )  # fmt: skip
    write_planetoid(tmp_path, parts, order, name)
    raw = load_node_dataset(GraphDataSpec(name=str(tmp_path)))
    kept = load_node_dataset(GraphDataSpec(name=name, root=str(shared_data)))
    assert torch.equal(raw.graph.x.to_dense(), kept.graph.x.to_dense())
    assert torch.equal(raw.graph.edge_index, kept.graph.edge_index)
    assert torch.equal(raw.y, kept.y)
    for part in ("train", "val", "test"):
        assert torch.equal(raw.members(part), kept.members(part))


def write_tables(base, **files):
    base.parent.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        lines = "".join(", ".join(map(str, np.atleast_1d(row))) + "\n" for row in rows)
        base.with_name(f"{base.name}_{name}.txt").write_text(lines)


def tu_files(**changes):
    """Ten graphs of 2 nodes, nodes of graph 1 listed last; classes -1 and 1."""
    indicator = [*(1 + np.arange(2, 20) // 2), 1, 1]
    made = {
        "A": [(1, 2), (2, 1), (19, 20), (20, 19), (3, 3)],
        "graph_indicator": indicator,
        "graph_labels": [-1, 1] * 5,
        "node_labels": [3, 5] * 10,
        "node_attributes": [(node, 0.5) for node in range(1, 21)],
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def test_tu_files_become_graphs_sorted_by_their_indicator(tmp_path):
    write_tables(tmp_path / "TOY", **tu_files())
    data = load_graphs_dataset(GraphDataSpec(name=str(tmp_path)))
    assert len(data) == 10
    assert data.y.tolist() == [0, 1] * 5
    assert data.class_names == ("-1", "1")
    # Columns: two node labels, then the attributes; node 19 of the file is the first one now.
    assert data.x[:3].tolist() == [[1, 0, 19, 0.5], [0, 1, 20, 0.5], [1, 0, 1, 0.5]]
    assert data.edge_index.T.tolist() == [[1, 0], [0, 1], [3, 2], [2, 3]]
    assert data.ptr.tolist() == list(range(0, 21, 2))
    assert len(data.test) == 1 or len(data.test) == 2


def test_tu_files_without_labels_and_attributes_use_degrees(tmp_path):
    write_tables(tmp_path / "raw" / "TOY", **tu_files(node_labels=None, node_attributes=None))
    data = load_graphs_dataset(GraphDataSpec(name=str(tmp_path)))
    assert data.x.argmax(1).tolist() == [1] * 4 + [0] * 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": [(1, 2), (2, 21)]}, r"TOY_A\.txt: line 2 joins 2 and 21; allowed: 1 to 20"),
        ({"A": [(1, 2, 3)]}, r"TOY_A\.txt: 3 numbers a line; allowed: 2"),
        ({"A": [(1, 19)]}, "1 edges join two graphs"),
        ({"graph_labels": None}, r"TOY_graph_labels\.txt: no such file"),
        ({"graph_labels": [0.5] * 10}, r"graph_labels\.txt: line 1 holds 0\.5; allowed: whole"),
        ({"graph_labels": []}, r"graph_labels\.txt: is empty"),
        ({"graph_indicator": [1] * 19 + [11]}, r"indicator\.txt: line 20 names graph 11; .*to 10"),
        ({"graph_indicator": [1, "a"]}, r"graph_indicator\.txt: not a table of numbers"),
        ({"node_labels": [1, 2]}, r"TOY_node_labels\.txt: 2 lines for 20 nodes"),
    ],
)
def test_tu_files_that_do_not_fit_are_refused(tmp_path, changes, message):
    write_tables(tmp_path / "TOY", **tu_files(**changes))
    with pytest.raises(InputError, match=message):
        load_graphs_dataset(GraphDataSpec(name=str(tmp_path)))


@pytest.mark.shared_data
def test_a_published_set_of_graphs_survives_the_raw_layout(shared_data, tmp_path):
    with np.load(shared_data / "graphs" / "mutag.npz") as file:
        arrays = dict(file)
    sizes = np.diff(arrays["ptr"])
    write_tables(
        tmp_path / "MUTAG",
        A=arrays["edge_index"].T + 1,
        graph_indicator=np.repeat(np.arange(len(sizes)), sizes) + 1,
        graph_labels=arrays["y"],
        node_labels=arrays["node_label"],
    )
    raw = load_graphs_dataset(GraphDataSpec(name=str(tmp_path)))
    kept = load_graphs_dataset(GraphDataSpec(name="mutag", root=str(shared_data)))
    for part in ("x", "edge_index", "ptr", "y"):
        assert torch.equal(getattr(raw, part), getattr(kept, part))


def write_ogb(folder, **changes):
    """Six molecules of two atoms and one bond."""
    files = {
        "raw/num-node-list": [2] * 6,
        "raw/num-edge-list": [1] * 6,
        "raw/edge": [(0, 1)] * 6,
        "raw/node-feat": [(5, 0), (6, 1)] * 6,
        "raw/graph-label": [0, 1] * 3,
        "split/scaffold/train": [4, 5],
        "split/scaffold/valid": [0, 1],
        "split/scaffold/test": [2, 3],
    } | changes
    for name, rows in files.items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.writelines(",".join(map(str, np.atleast_1d(row))) + "\n" for row in rows)


def test_molecules_of_ogb_are_read_with_their_scaffold_split(tmp_path):
    write_ogb(tmp_path / "graphs" / "ogbg_molbace")
    data = load_graphs_dataset(GraphDataSpec(name="ogbg-molbace", root=str(tmp_path)))
    assert data.y.tolist() == [0, 1] * 3
    assert (data.train.tolist(), data.val.tolist(), data.test.tolist()) == ([4, 5], [0, 1], [2, 3])
    assert data.x[:2].tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert data.edge_index[:, :4].T.tolist() == [[1, 0], [0, 1], [3, 2], [2, 3]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw/edge": [(0, 1)] * 5}, "5 edges and 6 labels do not fit"),
        ({"raw/graph-label": [(0, 1)] * 6}, "2 labels a graph; allowed: one"),
        ({"split/scaffold/test": [6]}, r"test\.csv\.gz: names graph 6; allowed: 0 to 5"),
        ({"raw/node-feat": [(5, 0)] * 11}, "node_label has 11 rows, but there are 12 nodes"),
    ],
)
def test_molecules_that_do_not_fit_are_refused(tmp_path, changes, message):
    write_ogb(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        load_graphs_dataset(GraphDataSpec(name=str(tmp_path)))


def test_a_damaged_archive_is_told(tmp_path):
    write_ogb(tmp_path)
    path = tmp_path / "raw" / "edge.csv.gz"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=r"edge\.csv\.gz: not a text file"):
        load_graphs_dataset(GraphDataSpec(name=str(tmp_path)))
