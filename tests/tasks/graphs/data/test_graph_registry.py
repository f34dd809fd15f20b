import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data import GraphDataSpec, load_graphs_dataset, load_node_dataset
from peerlearn.tasks.graphs.data.registry import GRAPH_SETS, NODE_SETS
from peerlearn.validation import validated


def node_file(path, nodes=9):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path, x=np.eye(nodes), y=np.arange(nodes) % 3, edge_index=np.array([[0], [1]]),
        split=np.arange(nodes) * 3 // nodes,
    )  # fmt: skip


def test_names_are_found_in_the_root_and_in_its_graphs_folder(tmp_path, monkeypatch):
    node_file(tmp_path / "mine.npz")
    node_file(tmp_path / "graphs" / "cora.npz", nodes=12)
    node_file(tmp_path / "images" / "other.npz")
    root = str(tmp_path)
    assert load_node_dataset(GraphDataSpec(name="mine", root=root)).graph.num_nodes == 9
    assert load_node_dataset(GraphDataSpec(name="cora", root=root)).graph.num_nodes == 12
    monkeypatch.setenv("PEERLEARN_DATA", root)
    assert load_node_dataset(GraphDataSpec(name="cora")).name == "cora"
    names = NODE_SETS.names()
    assert names[:4] == ("digits-knn", "cora", "citeseer", "pubmed")
    assert "mine" in names
    assert "other" not in names
    assert "mine" not in GRAPH_SETS.names()


def test_files_that_are_no_graphs_are_no_names(tmp_path):
    np.savez(tmp_path / "table.npz", x_train=np.zeros(3))
    (tmp_path / "broken.npz").write_text("no")
    assert not {"table", "broken"} & set(NODE_SETS.names(str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cra", "data.name: unknown graph data set or path 'cra'. Did you mean 'cora'"),
        ("digits-grid", "digits-grid: its labels are those of whole graphs.*allowed: digits-knn"),
        ("enzymes", "enzymes: its labels are those of whole graphs"),
        ("FOLDER/min.npz", r"min\.npz: no such file or folder. Did you mean .*/mine\.npz"),
        ("FOLDER/mine.csv", r"mine\.csv: a single table is no graph with labelled nodes"),
        ("FOLDER", "holds no graph data; expected nodes.csv and edges.csv, or the raw files of"),
    ],
)
def test_unknown_names_and_paths_are_told_with_the_nearest(tmp_path, name, message):
    node_file(tmp_path / "mine.npz")
    (tmp_path / "mine.csv").write_text("label,text\n")
    spec = GraphDataSpec(name=name.replace("FOLDER", str(tmp_path)), root=str(tmp_path / "none"))
    with pytest.raises(InputError, match=message):
        load_node_dataset(spec)


def test_names_of_node_tasks_are_recognised_by_graph_tasks(tmp_path):
    for name in ("pubmed", "digits-knn"):
        with pytest.raises(InputError, match="labels are those of nodes of one graph"):
            load_graphs_dataset(GraphDataSpec(name=name, root=str(tmp_path)))


def test_the_embedded_node_task_joins_alike_images():
    data = load_node_dataset(GraphDataSpec())
    assert (data.name, data.classes, data.graph.x.shape) == ("digits-knn", 10, (1797, 64))
    assert float(data.graph.x.max()) == 1
    assert (data.y != UNLABELLED).all()
    assert data.y[data.train].bincount().tolist() == [20] * 10
    assert data.y[data.val].bincount().tolist() == [30] * 10
    assert len(data.test) == 1297
    senders, receivers = data.graph.edge_index
    assert float((data.y[senders] == data.y[receivers]).double().mean()) > 0.9
    assert data.graph.transposed("gcn") is data.graph.operator("gcn")
    assert int(receivers.bincount().min()) >= 8


def test_the_embedded_graph_task_joins_inked_pixels_side_by_side():
    data = load_graphs_dataset(GraphDataSpec(name="digits-grid"))
    assert (len(data), data.classes, data.num_features) == (1797, 10, 3)
    assert [len(part) for part in (data.train, data.val, data.test)] == [1257, 180, 360]
    graph = data.select(torch.arange(3))
    ink, place = graph.x[:, 0], (graph.x[:, 1:] * 7).round()
    assert float(ink.min()) > 0
    senders, receivers = graph.edge_index
    assert float((place[senders] - place[receivers]).abs().max()) == 1
    assert (senders != receivers).all()
    here = graph.graph_of == 0
    distance = torch.cdist(place[here], place[here], p=float("inf"))
    assert int((distance == 1).sum()) == int(here[receivers].sum())


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "classes", "split"),
    [
        ("cora", 2708, 10556, 7, (140, 500, 1000)),
        ("citeseer", 3327, 9104, 6, (120, 500, 1000)),
        ("cornell", 183, 298, 5, (87, 59, 37)),
        ("texas", 183, 325, 5, (87, 59, 37)),
    ],
)
def test_published_node_tasks_have_their_published_sizes(
    shared_data, name, nodes, edges, classes, split
):
    data = load_node_dataset(GraphDataSpec(name=name, root=str(shared_data)))
    assert data.graph.num_nodes == nodes
    assert data.graph.edge_index.shape == (2, edges)
    assert data.classes == classes
    assert tuple(len(data.members(part)) for part in ("train", "val", "test")) == split
    assert data.graph.sparse_features
    sums = data.graph.x.to_dense().sum(1)
    assert torch.allclose(sums[sums > 0], torch.ones(()))


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "graphs", "test"),
    [("mutag", 188, 18), ("proteins", 1113, 111), ("nci1", 4110, 411), ("ptc_mr", 344, 34)],
)
def test_published_graph_tasks_have_their_published_folds(shared_data, name, graphs, test):
    spec = GraphDataSpec(name=name, root=str(shared_data))
    tested = []
    for fold in range(10):
        data = load_graphs_dataset(spec.model_copy(update={"fold_index": fold}))
        assert (len(data), len(data.test)) == (graphs, test)
        assert len(data.train) + len(data.val) == graphs - test
        tested += data.test.tolist()
    assert len(set(tested)) == len(tested) == 10 * test


def test_options_are_checked_with_their_names():
    assert validated(GraphDataSpec, "cora", "data").name == "cora"
    for given, message in (
        ({"fold": 1}, "data.fold: unknown key. Did you mean 'fold_index'"),
        ({"split": "publc"}, "data.split: found 'publc'. Did you mean 'public'"),
        ({"features": "degrees"}, "data.features: found 'degrees'. Did you mean 'degree'"),
        ({"directed": "no"}, "data.directed: found 'no'.*keep, symmetric"),
        ({"labels_per_class": 0}, "data.labels_per_class: input should be greater"),
        ({"val_size": 2.5}, "data.val_size: .*2.5 is neither"),
    ):
        with pytest.raises(InputError, match=message):
            validated(GraphDataSpec, given, "data")
