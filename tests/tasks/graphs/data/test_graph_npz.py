"""The user's graph `.npz`: what is accepted, and what each mistake is answered with."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data import GraphDataSpec, load_graphs_dataset, load_node_dataset

NODES = 24
LABELS = np.arange(NODES) % 3
FEATURES = np.random.default_rng(0).random((NODES, 5))
RING = np.stack([np.arange(NODES), (np.arange(NODES) + 1) % NODES])


def mask(first, last):
    flags = np.zeros(NODES, bool)
    flags[first:last] = True
    return flags


def node_arrays(**changes):
    made = {
        "x": FEATURES, "y": LABELS, "edge_index": RING,
        "train_mask": mask(0, 9), "val_mask": mask(9, 15), "test_mask": mask(15, 24),
    }  # fmt: skip
    return {key: value for key, value in (made | changes).items() if value is not None}


def graphs_arrays(**changes):
    """Twenty graphs, paths of 2 and 3 nodes in turn."""
    sizes = np.array([2, 3] * 10)
    ptr = np.append(0, sizes.cumsum())
    ends = np.concatenate([np.arange(first, last - 1) for first, last in pairwise(ptr)])
    made = {
        "edge_index": np.stack([ends, ends + 1]), "ptr": ptr, "y": np.arange(20) // 2 % 2,
        "node_label": np.arange(50) % 4, "fold": np.arange(20) % 5,
    }  # fmt: skip
    return {key: value for key, value in (made | changes).items() if value is not None}


@pytest.fixture
def load(tmp_path):
    def load(arrays, **options):
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays)
        reader = load_graphs_dataset if "ptr" in arrays else load_node_dataset
        return reader(GraphDataSpec(name=str(path), **options))

    return load


def with_value(array, value, *where):
    array = array.copy()
    array[where] = value
    return array


def test_a_node_file_becomes_a_graph_and_its_split(load):
    data = load(node_arrays(class_names=np.array(["cat", "dog", "elk"])))
    assert data.name == "mine"
    assert (data.classes, data.class_names) == (3, ("cat", "dog", "elk"))
    assert torch.equal(data.graph.x, torch.from_numpy(FEATURES).float())
    assert data.y.tolist() == LABELS.tolist()
    assert data.train.tolist() == list(range(9))
    assert data.val.tolist() == list(range(9, 15))
    assert data.test.tolist() == list(range(15, 24))
    assert data.rest().tolist() == list(range(9, 24))
    assert data.targets("val").tolist() == [
        label if 9 <= node < 15 else UNLABELLED for node, label in enumerate(LABELS)
    ]


def test_labels_of_any_number_type_become_classes(load):
    for dtype in ("u1", "i2", "f4"):
        data = load(node_arrays(y=LABELS.astype(dtype)[:, None]))
        assert data.y.dtype == torch.int64
        assert data.y.tolist() == LABELS.tolist()


def test_a_split_array_says_the_same_as_masks_and_split_index_chooses_its_row(load):
    rows = np.stack([np.repeat([0, 1, 2], 8), np.repeat([2, 1, 0], 8)]).astype(np.uint8)
    rows[:, 5] = 255
    arrays = node_arrays(train_mask=None, val_mask=None, test_mask=None, split=rows)
    first, second = load(arrays), load(arrays, split_index=1)
    assert first.train.tolist() == second.test.tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert first.test.tolist() == second.train.tolist() == list(range(16, 24))
    columns = {f"{part}_mask": (rows == number).T for number, part in enumerate(("train", "val"))}
    masked = load(node_arrays(**columns, test_mask=(rows == 2).T), split_index=1)
    assert masked.train.tolist() == second.train.tolist()


def test_missing_val_is_held_out_of_train_and_only_of_it(load):
    data = load(node_arrays(val_mask=None, train_mask=mask(0, 15)), val_size=3)
    assert sorted([*data.train.tolist(), *data.val.tolist()]) == list(range(15))
    assert data.y[data.val].sort().values.tolist() == [0, 1, 2]


def test_a_random_split_takes_its_share_of_each_class_and_ignores_masks(load):
    def split(**options):
        return load(node_arrays(), split="random", **options)

    data = split(labels_per_class=2, val_per_class=3)
    assert data.y[data.train].bincount().tolist() == [2, 2, 2]
    assert data.y[data.val].bincount().tolist() == [3, 3, 3]
    together = torch.cat([data.train, data.val, data.test])
    assert together.sort().values.tolist() == list(range(NODES))
    more = split(labels_per_class=4, val_per_class=3)
    assert torch.equal(more.val, data.val)
    assert set(data.train.tolist()) < set(more.train.tolist())
    other = split(labels_per_class=2, val_per_class=3, split_seed=1)
    assert not torch.equal(other.train, data.train)


def test_unlabelled_nodes_stay_in_the_graph_and_leave_the_split(load):
    y = LABELS.copy()
    y[[2, 10, 20]] = -1
    data = load(node_arrays(y=y))
    assert data.graph.num_nodes == NODES
    assert 2 not in data.train
    assert 10 not in data.val
    assert 20 not in data.test
    assert len(data.train) + len(data.val) + len(data.test) == NODES - 3
    assert 2 in data.rest()


def test_edges_are_kept_as_given_each_once_and_symmetric_where_asked(load):
    ends = np.array([[0, 0, 3, 4, 4], [1, 1, 3, 2, 2]])
    data = load(node_arrays(edge_index=ends))
    assert data.graph.edge_index.tolist() == [[0, 4, 3], [1, 2, 3]]
    both = load(node_arrays(edge_index=ends), directed="symmetric")
    assert both.graph.edge_index.tolist() == [[1, 0, 4, 3, 2], [0, 1, 2, 3, 4]]
    assert both.graph.transposed("gcn") is both.graph.operator("gcn")


def test_a_graph_without_edges_is_a_table_of_its_nodes(load):
    data = load(node_arrays(edge_index=np.empty((2, 0))))
    assert data.graph.edge_index.shape == (2, 0)
    assert torch.equal(data.graph.operator("gcn").to_dense(), torch.eye(NODES))


def test_features_of_few_values_are_kept_sparse_and_others_dense(load):
    wide = np.zeros((NODES, 200), np.uint8)
    wide[np.arange(NODES), np.arange(NODES)] = 3
    data = load(node_arrays(x=wide))
    assert data.graph.sparse_features
    assert torch.equal(data.graph.x.to_dense(), torch.from_numpy(wide).float())
    assert not load(node_arrays(x=wide[:, :50])).graph.sparse_features
    assert not load(node_arrays(x=wide + 1)).graph.sparse_features


@pytest.mark.parametrize("width", [6, 300])
def test_rows_of_words_are_divided_by_their_sum(load, width):
    words = np.zeros((NODES, width), np.uint8)
    words[:, 1] = words[::2, 4] = 1
    words[3] = 0

    def rows(x, **options):
        x = load(node_arrays(x=x), **options).graph.x
        return x.to_dense() if x.layout == torch.sparse_csr else x

    normalised = rows(words)
    assert normalised[0, [1, 4]].tolist() == [0.5, 0.5]
    assert normalised[1, 1] == 1
    assert not normalised[3].any()
    assert rows(words, row_normalise=False)[0, 1] == 1
    assert rows(words * 2)[0, 1] == 2
    assert rows(words * 2, row_normalise=True)[0, 1] == 0.5


def test_degrees_serve_as_features_where_asked(load):
    ends = np.array([[0, 1, 2, 0], [5, 5, 5, 6]])
    data = load(node_arrays(x=None, edge_index=ends), features="degree")
    assert data.graph.x.shape == (NODES, 4)
    assert data.graph.x.argmax(1)[[4, 5, 6]].tolist() == [0, 3, 1]


def test_a_file_of_graphs_becomes_their_union(load):
    data = load(graphs_arrays(), val_size=2)
    assert len(data) == 20
    assert data.ptr.tolist()[:3] == [0, 2, 5]
    assert torch.equal(data.x.argmax(1), torch.arange(50) % 4)
    assert data.test.tolist() == [0, 5, 10, 15]
    assert sorted([*data.train.tolist(), *data.val.tolist()]) == [
        graph for graph in range(20) if graph % 5
    ]
    assert data.y[data.val].sort().values.tolist() == [0, 1]


def test_the_fold_is_chosen_and_graphs_without_one_always_train(load):
    fold = (np.arange(20) % 5).astype(np.uint8)
    fold[:2] = 255
    data = load(graphs_arrays(fold=fold), fold_index=1)
    assert data.test.tolist() == [6, 11, 16]
    assert {0, 1} <= {*data.train.tolist(), *data.val.tolist()}


@pytest.mark.parametrize("options", [{}, {"split": "random"}])
def test_folds_are_drawn_stratified_where_there_are_none(load, options):
    fold = None if not options else graphs_arrays()["fold"]
    tests = []
    for index in range(10):
        data = load(graphs_arrays(fold=fold), fold_index=index, **options)
        assert data.y[data.test].sort().values.tolist() == [0, 1]
        tests += data.test.tolist()
    assert sorted(tests) == list(range(20))


def test_graphs_may_bring_a_split_of_their_own(load):
    split = np.repeat([0, 1, 2], [12, 4, 4])
    data = load(graphs_arrays(fold=None, split=split))
    assert data.train.tolist() == list(range(12))
    assert data.test.tolist() == list(range(16, 20))


def test_unlabelled_graphs_train_and_are_not_tested(load):
    y = graphs_arrays()["y"].copy()
    y[[0, 1]] = -1
    data = load(graphs_arrays(y=y), val_size=2)
    assert 0 not in data.test
    assert 1 in data.train


def test_node_labels_features_and_degrees_stand_side_by_side(load):
    x = np.arange(50.0)[:, None] + 2
    both = load(graphs_arrays(x=x)).x
    assert both.shape == (50, 5)
    assert torch.equal(both[:, 4], torch.arange(50.0) + 2)
    assert load(graphs_arrays(x=x), features="label").x.shape == (50, 4)
    assert load(graphs_arrays(x=x), features="given").x.shape == (50, 1)
    degrees = load(graphs_arrays(node_label=None), directed="symmetric").x
    assert degrees[:5].argmax(1).tolist() == [1, 1, 1, 2, 1]
    two = np.stack([np.arange(50) % 4, np.arange(50) % 2 * 7], 1)
    assert load(graphs_arrays(node_label=two)).x.shape == (50, 6)


WRONG_NODES = {
    "unknown": ({"edge_idx": RING, "edge_index": None}, {}, "unknown array 'edge_idx'.*'edge_ind"),
    "weights": ({"edge_weight": RING[0]}, {}, "unknown array 'edge_weight'"),
    "no x": ({"x": None}, {}, "array 'x' is missing. Found: y, edge_index"),
    "no edges": ({"edge_index": None}, {}, "array 'edge_index' is missing"),
    "no y": ({"y": None}, {}, "array 'y' is missing"),
    "half a split": ({"test_mask": None}, {}, "'test_mask' is missing, but there is 'train_mask'"),
    "two splits": ({"split": LABELS}, {}, "holds both 'split' and 'train_mask'"),
    "transposed": (
        {"edge_index": RING.T}, {}, r"edge_index: shape \(24, 2\); allowed: \(2,E\).*Transpose it",
    ),
    "edge axes": ({"edge_index": RING[0]}, {}, r"edge_index: shape \(24,\); allowed"),
    "edge type": ({"edge_index": RING * 0.5}, {}, "edge_index: dtype float64; allowed: whole"),
    "missing node": (
        {"edge_index": with_value(RING, NODES, 1, 7)}, {},
        "1 edges name nodes that do not exist: edge 7 goes from 7 to 24; allowed: 0 to 23",
    ),
    "negative node": ({"edge_index": with_value(RING, -1, 0, 0)}, {}, "edge 0 goes from -1 to 1"),
    "x rows": ({"x": FEATURES[:9]}, {}, "x has 9 rows, but there are 24 nodes"),
    "x axes": ({"x": FEATURES[:, 0]}, {}, r"x: shape \(24,\); allowed: \(N,F\)"),
    "x text": ({"x": FEATURES.astype(str)}, {}, "x: dtype <U.*allowed: numbers"),
    "x objects": ({"x": FEATURES.astype(object)}, {}, "'x' holds pickled"),
    "x nan": (
        {"x": with_value(FEATURES, np.nan, 7, slice(2))}, {},
        "x: 2 values are NaN or infinite, the first in row 7",
    ),
    "x sparse nan": (
        {"x": with_value(np.zeros((NODES, 200)), np.nan, 7, 4)}, {},
        "x: 1 values are NaN or infinite, the first in row 7",
    ),
    "x overflow": ({"x": FEATURES * 1e300}, {}, "x: .*infinite"),
    "y float": ({"y": LABELS + 0.5}, {}, "y: 24 labels are wrong: row 0 holds 0.5.*whole number"),
    "y below": ({"y": with_value(LABELS, -2, 5)}, {}, "y: .*row 5 holds -2.*or -1 for a row"),
    "y nan": ({"y": with_value(LABELS * 1.0, np.nan, 5)}, {}, "y: .*row 5 holds nan"),
    "y axes": ({"y": np.zeros((NODES, 3))}, {}, r"y: shape \(24, 3\); allowed: \(N,\)"),
    "y objects": ({"y": LABELS.astype(complex)}, {}, "y: dtype complex128; allowed: whole"),
    "text outside names": (
        {"y": np.array(["a", "b", "c"])[LABELS], "class_names": np.array(["a", "b"])}, {},
        "y: label 'c' is not in class_names",
    ),
    "one class": ({"y": LABELS * 0}, {}, "y: only class 0 occurs"),
    "no label": ({"y": LABELS * 0 - 1}, {}, "y: there is no label"),
    "mask rows": ({"val_mask": mask(9, 15)[:9]}, {}, r"val_mask: shape \(9,\); allowed: \(24,\)"),
    "mask type": ({"val_mask": FEATURES[:, 0]}, {}, "val_mask: float64 values; allowed: true"),
    "mask values": ({"val_mask": LABELS}, {}, "val_mask: int64 values; allowed: true and false"),
    "empty mask": ({"val_mask": mask(0, 0)}, {}, "val_mask: marks no nodes"),
    "empty train": ({"train_mask": mask(0, 0)}, {}, "train_mask: marks no nodes"),
    "blank train": (
        {"y": np.where(mask(0, 9), -1, LABELS)}, {}, "train_mask: none of its 9 nodes has a label",
    ),
    "blank test": (
        {"y": np.where(mask(15, 24), -1, LABELS)}, {}, "test_mask: none of its 9 nodes has a label",
    ),
    "overlap": (
        {"test_mask": mask(13, 24)}, {}, "val_mask and test_mask share 2 nodes, the first is 13",
    ),
    "train in test": ({"train_mask": mask(0, 24)}, {}, "train_mask and val_mask share 6 nodes"),
    "names": ({"class_names": np.array(["a"])}, {}, "has no name: class_names has 1;"),
    "index": ({}, {"split_index": 1}, "data.split_index: 1, but .*train_mask holds 1; .*0 to 0"),
    "label features": ({}, {"features": "label"}, "data.features: label.*'node_label'.*given"),
    "classes too small": (
        {}, {"split": "random"},
        "data.labels_per_class: 20 \\+ data.val_per_class: 30 .*class 0 has 8; allowed: up to 7",
    ),
}  # fmt: skip

SPLIT = {"train_mask": None, "val_mask": None, "test_mask": None}
WRONG_SPLITS = {
    "shape": ({"split": LABELS[:5]}, {}, r"split: int64 of shape \(5,\); allowed: .*\(R,24\)"),
    "type": ({"split": LABELS * 1.0}, {}, "split: float64 of shape"),
    "value": ({"split": LABELS + 1}, {}, "split: 8 values are wrong, the first is 3"),
    "no train": ({"split": LABELS.clip(1)}, {}, r"split 0 \(train\): marks no nodes"),
    "index": (
        {"split": np.stack([LABELS] * 3)}, {"split_index": 3},
        "data.split_index: 3, but .*split holds 3; allowed: 0 to 2",
    ),
}  # fmt: skip

GRAPHS = graphs_arrays()
WRONG_GRAPHS = {
    "unknown": ({"nodelabel": LABELS, "node_label": None}, {}, "'nodelabel'.*'node_label'"),
    "no y": ({"y": None}, {}, "array 'y' is missing"),
    "ptr falls": (
        {"ptr": with_value(GRAPHS["ptr"], 9, 2)}, {},
        "ptr: falls from 9 to 7 at graph 2; allowed: ascending",
    ),
    "ptr start": ({"ptr": GRAPHS["ptr"] + 1}, {}, "ptr: begins with 1; allowed: 0"),
    "ptr length": ({"ptr": GRAPHS["ptr"][:-1]}, {}, r"ptr: int64 of shape \(20,\).*\(21,\)"),
    "ptr type": ({"ptr": GRAPHS["ptr"] * 1.0}, {}, "ptr: float64"),
    "empty graph": (
        {"ptr": with_value(GRAPHS["ptr"], 2, 2)}, {},
        "ptr: 1 graphs have no node, the first is graph 1",
    ),
    "crossing": (
        {"edge_index": with_value(GRAPHS["edge_index"], 4, 1, 0)}, {},
        "1 edges join two graphs, such as node 0 of graph 0 and node 4 of graph 1",
    ),
    "missing node": (
        {"edge_index": with_value(GRAPHS["edge_index"], 50, 1, 3)}, {}, "edge 3 goes .* to 50",
    ),
    "labels of nodes": (
        {"node_label": np.arange(49)}, {}, "node_label has 49 rows, but there are 50 nodes",
    ),
    "label type": ({"node_label": np.arange(50) * 0.5}, {}, "node_label: dtype float64"),
    "fold shape": ({"fold": np.zeros(3, int)}, {}, r"fold: int64 of shape \(3,\); allowed"),
    "fold type": ({"fold": np.zeros(20)}, {}, "fold: float64"),
    "one fold": ({"fold": np.zeros(20, int)}, {}, "fold: 1 folds; at least two"),
    "no such fold": (
        {}, {"fold_index": 5}, "data.fold_index: 5 is none of the folds of the file.*0, 1, 2, 3, 4",
    ),
    "no such drawn fold": ({"fold": None}, {"fold_index": 10}, "none of the drawn folds"),
    "blank fold": (
        {"y": np.where(GRAPHS["fold"] == 0, -1, GRAPHS["y"])}, {},
        "fold 0: none of its 4 graphs has a label",
    ),
    "too much val": ({}, {"val_size": 15}, "data.val_size: 15 would hold out 15 rows"),
    "given features": ({}, {"features": "given"}, "data.features: given.*'x'.*degree, label"),
}  # fmt: skip


def cases():
    for base, table in ((node_arrays(), WRONG_NODES), (node_arrays(**SPLIT), WRONG_SPLITS)):
        for name, (changes, options, message) in table.items():
            yield pytest.param(base | changes, options, message, id=f"node: {name}")
    for name, (changes, options, message) in WRONG_GRAPHS.items():
        yield pytest.param(GRAPHS | changes, options, message, id=f"graphs: {name}")


@pytest.mark.parametrize(("arrays", "options", "message"), list(cases()))
def test_mistakes_are_told_in_one_line_that_names_their_place(load, arrays, options, message):
    arrays = {key: value for key, value in arrays.items() if value is not None}
    with pytest.raises(InputError, match=message) as caught:
        load(arrays, **options)
    said = str(caught.value)
    assert "mine.npz" in said or said.startswith("data.")
    assert "\n" not in said


def test_a_file_for_the_other_task_is_recognised(tmp_path):
    np.savez(tmp_path / "many.npz", **graphs_arrays())
    np.savez(tmp_path / "one.npz", **node_arrays())
    with pytest.raises(InputError, match=r"many\.npz: holds many graphs"):
        load_node_dataset(GraphDataSpec(name=str(tmp_path / "many.npz")))
    with pytest.raises(InputError, match=r"one\.npz: array 'ptr' is missing.*task on nodes"):
        load_graphs_dataset(GraphDataSpec(name=str(tmp_path / "one.npz")))


def test_labels_that_are_texts_are_classes_in_their_order(load):
    names = np.array(["10", "9", "x"])
    data = load(node_arrays(y=names[LABELS]))
    assert data.class_names == ("10", "9", "x")
    assert data.y.tolist() == LABELS.tolist()
    assert load(node_arrays(y=np.array(["10", "9", "8"])[LABELS])).class_names == ("8", "9", "10")
    blank = load(node_arrays(y=np.where(np.arange(NODES) == 20, "", names[LABELS])))
    assert blank.y[20] == UNLABELLED
    assert 20 not in blank.test
    ordered = load(node_arrays(y=names[LABELS], class_names=np.array(["x", "9", "10"])))
    assert ordered.class_names == ("x", "9", "10")
    assert ordered.y.tolist() == (2 - LABELS).tolist()
    graphs = load(graphs_arrays(y=np.array(["no", "yes"])[np.arange(20) // 2 % 2]))
    assert graphs.class_names == ("no", "yes")


def test_without_a_split_nodes_are_held_out_and_that_is_told(load):
    data = load(node_arrays(train_mask=None, val_mask=None, test_mask=None), val_size=0.25)
    assert [len(part) for part in (data.train, data.val, data.test)] == [14, 4, 6]
    assert any("no split is given" in line for line in data.account.lines())


def test_what_was_read_is_told(load):
    ends = np.concatenate([RING[:, :20], RING[::-1, :20], [[3, 4], [3, 5]], [[0], [1]]], 1)
    y = with_value(LABELS, -1, 7)
    assert load(node_arrays(edge_index=ends, y=y)).account.lines() == [
        "24 nodes, 41 edges; 3 nodes without an edge; 1 edge from a node to itself; "
        "2 edges twice or more; 1 node without a label",
    ]
    lines = load(graphs_arrays()).account.lines()
    assert lines[0] == "20 graphs, 50 nodes, 30 edges"
    assert "no edge goes both ways" in lines[1]
