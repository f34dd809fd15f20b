"""A network reads every file through the columns that its training data had."""

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data import (
    GraphDataSpec,
    graphs_dataset,
    load_node_dataset,
    node_dataset,
)
from peerlearn.tasks.graphs.data.arrays import unlabelled_graphs, unlabelled_nodes
from peerlearn.tasks.graphs.data.datasets import GraphInfo
from peerlearn.tasks.graphs.data.encoding import Encoding, encode

SPEC = GraphDataSpec()
EDGES = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]])
LABELS = np.array([[4, 0], [7, 1], [9, 0]])
X = np.array([[1.0, 0], [1, 1], [0, 0]])


def made(known=None, spec=SPEC, edges=EDGES, **arrays):
    x, encoding = encode(arrays, edges, 3, "my.npz", spec, known)
    return x.to_dense().tolist(), encoding


def test_the_encoding_tells_what_every_column_is():
    x, encoding = made(node_label=LABELS, x=X)
    assert x == [
        [1, 0, 0, 1, 0, 1, 0],
        [0, 1, 0, 0, 1, 0.5, 0.5],
        [0, 0, 1, 1, 0, 0, 0],
    ]
    assert encoding == Encoding(labels=((4, 7, 9), (0, 1)), x=2, row_normalise=True)
    assert (encoding.columns, encoding.arrays) == (7, ("node_label", "x"))
    assert made()[1] == Encoding(degrees=3)
    assert made(spec=GraphDataSpec(features="given"), node_label=LABELS, x=X)[1].labels == ()


def test_a_known_encoding_gives_the_same_columns_whatever_occurs():
    _, known = made(node_label=LABELS, x=X)
    x, same = made(known, node_label=LABELS[[2, 2, 2]], x=X * 3)
    assert same is known
    assert x == [[0, 0, 1, 1, 0, 1, 0], [0, 0, 1, 1, 0, 0.5, 0.5], [0, 0, 1, 1, 0, 0, 0]]
    plain = Encoding(x=2)
    assert made(plain, node_label=LABELS, x=X)[0] == X.tolist()


def test_degrees_above_those_of_training_share_the_last_column():
    known = Encoding(degrees=2)
    assert made(known)[0] == [[0, 1], [0, 1], [0, 1]]
    assert made(known, edges=EDGES[:, :0])[0] == [[1, 0], [1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"node_label": LABELS + 1, "x": X}, "node_label: node 0 has label 5, which .* 4, 7, 9"),
        ({"node_label": LABELS[:, :1], "x": X}, "node_label: 1 labels a node, .* trained on 2"),
        ({"node_label": LABELS, "x": X[:, :1]}, "x: 1 columns, but the run was trained on 2"),
        ({"node_label": LABELS, "x": X[:2]}, "x has 2 rows, but there are 3 nodes"),
        ({"node_label": LABELS}, "array 'x' is missing, from which the run took its features"),
    ],
)
def test_what_does_not_fit_is_named(arrays, expected):
    _, known = made(node_label=LABELS, x=X)
    with pytest.raises(InputError, match=f"my.npz: {expected}"):
        made(known, **arrays)


def node_arrays(**changes):
    y = np.arange(12) % 3
    arrays = {"x": np.eye(12)[:, :4], "y": y, "edge_index": EDGES.numpy(), "split": y}
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def graph_arrays(**changes):
    arrays = {
        "x": np.ones((24, 2)), "ptr": np.arange(0, 25, 2), "y": np.arange(12) % 2,
        "edge_index": np.array([[0, 1], [1, 0]]), "fold": np.arange(12) // 2 % 3,
    }  # fmt: skip
    return {key: value for key, value in (arrays | changes).items() if value is not None}


# What is kept of train ------------------------------------------------------------------------


def test_train_size_and_labels_keep_the_same_nodes_and_the_whole_graph():
    y = np.arange(30) % 3
    arrays = {"x": np.eye(30), "y": y, "edge_index": EDGES.numpy(), "split": np.arange(30) // 10}

    def kept(**options):
        return node_dataset(arrays, GraphDataSpec(**options), "my.npz")

    whole, few, blank = kept(), kept(train_size=6), kept(labels=6)
    assert few.train.tolist() == blank.train.tolist()
    assert set(few.train.tolist()) < set(whole.train.tolist())
    assert y[few.train].tolist().count(0) == 2
    assert few.graph.num_nodes == 30
    assert torch.equal(few.y, whole.y)
    assert (blank.y == UNLABELLED).sum() == 4
    for part in ("val", "test"):
        assert torch.equal(few.members(part), whole.members(part))
    assert set(kept(train_size=3).train.tolist()) < set(few.train.tolist())
    assert kept(train_size=6, split_seed=1).train.tolist() != few.train.tolist()
    assert set(kept(train_size=6, labels=3).train.tolist()) < set(few.train.tolist())


def test_labels_leave_graphs_in_train_and_train_size_does_not():
    def kept(**options):
        return graphs_dataset(graph_arrays(), GraphDataSpec(val_size=2, **options), "my.npz")

    whole, few, blank = kept(), kept(train_size=4), kept(labels=4)
    assert len(few.train) == 4
    assert blank.train.tolist() == whole.train.tolist()
    known = blank.train[blank.y[blank.train] != UNLABELLED]
    assert known.tolist() == few.train.tolist()
    assert whole.y[few.train].bincount().tolist() == [2, 2]
    assert torch.equal(blank.y[blank.test], whole.y[whole.test])


def test_nodes_and_graphs_validate_with_no_more_labels_than_they_train_with():
    y = np.tile(np.arange(3), 12)
    split = np.repeat([0, 1, 2], 12)

    def of_nodes(**options):
        arrays = node_arrays(x=np.eye(36)[:, :4], y=y, split=split)
        return node_dataset(arrays, GraphDataSpec(**options), "my.npz")

    def of_graphs(**options):
        return graphs_dataset(graph_arrays(), GraphDataSpec(val_size=4, **options), "my.npz")

    for kept, classes in ((of_nodes, 3), (of_graphs, 2)):
        whole, few = kept(), kept(labels=classes)
        more = kept(labels=classes, val_labels=classes + 1)
        assert sorted(few.y[few.val].tolist()) == list(range(classes))
        assert set(few.val.tolist()) < set(more.val.tolist()) < set(whole.val.tolist())
        assert torch.equal(kept(labels=classes, val_labels="all").val, whole.val)
        assert torch.equal(few.test, whole.test)
        assert f"val: {classes} of {len(whole.val)} rows are used" in few.account.notes[-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"train_size": 5}, "data.train_size: 5 rows asked for; allowed: up to 4"),
        ({"labels": 5}, "data.labels: 5 asked for; allowed: up to 4"),
        ({"labels": 2}, "data.labels: 2 is less than one labelled row for each of 3 classes"),
    ],
)
def test_what_cannot_be_kept_is_named(options, expected):
    y = np.array([0, 0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 1])
    split = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    with pytest.raises(InputError, match=expected):
        node_dataset(node_arrays(y=y, split=split), GraphDataSpec(**options), "my.npz")


# To be labelled --------------------------------------------------------------------------------


def test_nodes_to_label_are_all_test_and_need_neither_labels_nor_edges():
    data = unlabelled_nodes({"x": np.eye(12)[:, :4]}, Encoding(x=4), SPEC, "my.npz")
    assert data.test.tolist() == list(range(12))
    assert (len(data.train), len(data.val)) == (0, 0)
    assert (data.y == UNLABELLED).all()
    assert data.graph.edge_index.shape == (2, 0)
    whole = unlabelled_nodes(node_arrays(y=None, split=None), Encoding(x=4), SPEC, "my.npz")
    assert torch.equal(whole.graph.edge_index.sort().values, EDGES.sort().values)
    both = GraphDataSpec(directed="symmetric")
    turned = unlabelled_nodes(node_arrays(), Encoding(x=4), both, "my.npz")
    assert turned.graph.edge_index.shape[1] > whole.graph.edge_index.shape[1]


def test_nodes_of_degrees_are_counted_by_labels_or_edges():
    arrays = {"edge_index": EDGES.numpy()}
    assert len(unlabelled_nodes(arrays, Encoding(degrees=3), SPEC, "my.npz").test) == 3
    arrays["y"] = np.zeros(5, np.int64)
    assert len(unlabelled_nodes(arrays, Encoding(degrees=3), SPEC, "my.npz").test) == 5


def test_graphs_to_label_keep_their_order():
    data = unlabelled_graphs(graph_arrays(y=None, fold=None), Encoding(x=2), SPEC, "my.npz")
    assert data.test.tolist() == list(range(12))
    assert data.ptr.diff().tolist() == [2] * 12


@pytest.mark.parametrize(
    ("function", "arrays", "expected"),
    [
        (unlabelled_nodes, graph_arrays(), r"holds many graphs \('ptr'\)"),
        (unlabelled_nodes, node_arrays(x=np.ones((0, 4))), "holds no node"),
        (unlabelled_nodes, node_arrays(x=None), "array 'x' is missing"),
        (unlabelled_nodes, node_arrays(egde_index=X), "unknown array 'egde_index'. Did you mean"),
        (unlabelled_nodes, node_arrays(edge_index=EDGES.numpy() + 11), "edges name nodes that do"),
        (unlabelled_graphs, node_arrays(split=None), "array 'ptr' is missing"),
        (unlabelled_graphs, graph_arrays(ptr=np.arange(1)), "holds no graph"),
        (unlabelled_graphs, graph_arrays(ptr=np.array(3.0)), "ptr: float64 of shape"),
        (unlabelled_graphs, graph_arrays(edge_index=np.array([[1], [2]])), "join two graphs"),
    ],
)
def test_files_that_cannot_be_labelled(function, arrays, expected):
    with pytest.raises(InputError, match=f"my.npz: .*{expected}"):
        function(arrays, Encoding(x=4 if function is unlabelled_nodes else 2), SPEC, "my.npz")


# Info ------------------------------------------------------------------------------------------


def test_info_survives_its_file(tmp_path):
    for data in (
        node_dataset(node_arrays(), SPEC, "my.npz"),
        graphs_dataset(graph_arrays(), GraphDataSpec(name="my.npz", val_size=2), "my.npz"),
    ):
        info = GraphInfo.from_dataset(data)
        path = tmp_path / "data.json"
        path.write_text(info.model_dump_json())
        assert GraphInfo.load(path) == info
        assert info.num_features == data.num_features
    assert info.rows == {"train": 6, "val": 2, "test": 4}
    assert info.content == "12 graphs, 2 features, 2 edges"


def test_a_data_set_tells_its_encoding():
    data = load_node_dataset(SPEC)
    assert data.encoding == Encoding(x=64)
    again = load_node_dataset(SPEC, Encoding(x=64, row_normalise=True))
    assert torch.allclose(again.graph.x.sum(1), torch.ones(len(again.y)))
