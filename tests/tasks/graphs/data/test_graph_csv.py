"""A graph in two tables: what is read, what is told, and what is refused by file and line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.raw_files import read_graph_arrays
from peerlearn.tasks.graphs.data.registry import load_graphs_dataset, load_node_dataset
from peerlearn.tasks.graphs.data.spec import GraphDataSpec

NODES = """id,age,label,height,split
ann,1,bee,0.5,train
bob,2,ant,0.25,train
cem,3,bee,0,val
"d,e",4,ant,-1e1,test

eve,5,,2,
fay,6,ant,3,test
"""
EDGES = """target,source,weight
bob,ann,1.5
ann,bob,2
cem,"d,e",1
ann,bob,3
fay,fay,1
"""


def write(folder: Path, nodes: str | bytes = NODES, edges: str | bytes | None = EDGES) -> Path:
    for name, text in (("nodes.csv", nodes), ("edges.csv", edges)):
        if text is not None:
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def load(folder: Path, **spec):
    return load_node_dataset(GraphDataSpec(name=str(folder), **spec))


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_both_tables_become_a_graph(tmp_path: Path, bom: bytes) -> None:
    data = load(write(tmp_path, bom + NODES.encode(), bom + EDGES.encode()))
    assert data.graph.x.tolist() == [[1, 0.5], [2, 0.25], [3, 0], [4, -10], [5, 2], [6, 3]]
    assert data.class_names == ("ant", "bee")
    assert data.y.tolist() == [1, 0, 1, 0, -1, 0]
    assert sorted(data.graph.edge_index.T.tolist()) == [[0, 1], [1, 0], [3, 2], [5, 5]]
    parts = data.train, data.val, data.test
    assert [part.tolist() for part in parts] == [[0, 1], [2], [3, 5]]
    assert data.account.lines() == [
        "nodes.csv: 6 rows, 2 features",
        "edges.csv: 5 rows",
        "edges.csv: not read, for edges have no weights here: weight",
        "6 nodes, 4 edges; 1 node without an edge; 1 edge from a node to itself; "
        "1 edge twice or more; 1 node without a label",
        "y holds texts: 2 classes, named as typed",
    ]


def test_labels_that_are_numbers_are_classes_by_number(tmp_path: Path) -> None:
    nodes = NODES.replace("bee", "10").replace("ant", "9")
    data = load(write(tmp_path, nodes))
    assert data.class_names == ("9", "10")
    assert data.y.tolist() == [1, 0, 1, 0, -1, 0]


def many(rows: int = 60) -> str:
    lines = [f"n{i},{i % 3},{i / 7},{'ab'[i % 2]}" for i in range(rows)]
    return "\n".join(["id,one,two,label", *lines])


def test_without_a_split_rows_are_held_out(tmp_path: Path) -> None:
    edges = "source,target\n" + "\n".join(f"n{i},n{i + 1}" for i in range(50))
    data = load(write(tmp_path, many(), edges))
    assert [len(part) for part in (data.train, data.val, data.test)] == [49, 5, 6]
    assert len(torch.cat([data.train, data.val, data.test]).unique()) == 60
    assert (data.y[data.test] == 0).sum() == 3
    said = data.account.lines()
    assert any(line.startswith("no split is given: val and test are held out") for line in said)
    assert "no edge goes both ways; if edges have no direction, say data.directed=symmetric" in said
    other = load(tmp_path, split_seed=1, directed="symmetric")
    assert other.test.tolist() != data.test.tolist()
    assert not any("both ways" in line for line in other.account.lines())
    with pytest.raises(InputError, match="says nothing of train and test"):
        load_node_dataset(GraphDataSpec(name=str(tmp_path)), data.encoding)


def test_what_is_to_be_labelled_needs_ids_alone(tmp_path: Path) -> None:
    nodes = "id,age\nann,1\nbob,2\n"
    arrays = read_graph_arrays(write(tmp_path, nodes, edges=None))
    assert list(arrays) == ["x"]
    np.testing.assert_array_equal(arrays["x"], [[1], [2]])


@pytest.mark.parametrize(
    ("nodes", "edges", "said"),
    [
        (NODES.replace("id,", "ids,"), EDGES, r"nodes.csv, line 1: no column 'id'.*mean 'ids'"),
        (NODES.replace("label,", ""), EDGES, r"nodes.csv, line 1: no column 'label'"),
        (NODES.replace(",", ";"), EDGES, r"line 1: no column 'id'.*separated by commas"),
        (NODES.replace("age", "height"), EDGES, r"line 1: two columns 'height'"),
        (NODES.replace("bob,", "ann,"), EDGES, r"line 3: id 'ann' is that of line 2 too"),
        (NODES.replace("bob,", ","), EDGES, r"line 3: an empty id"),
        (NODES.replace("bob,2", "bob,old"), EDGES, r"line 3: age is 'old'; features are numbers"),
        (NODES.replace("bob,2", "bob,"), EDGES, r"line 3: age is ''; features are numbers"),
        (NODES.replace("bob,2", "bob,nan"), EDGES, r"line 3: age is 'nan'"),
        (NODES.replace("fay,6,", "fay,6,7,"), EDGES, r"line 8: 6 values; the header has 5"),
        (NODES.replace(",val", ",vall"), EDGES, r"line 4: split is 'vall'.*Did you mean 'val'"),
        (NODES.replace(",test", ","), EDGES, r"nodes.csv: column split has no test"),
        (NODES, EDGES.replace("cem,", "cen,"), r"edges.csv, line 4: target 'cen' is no.*'cem'"),
        (NODES, EDGES.replace("source", "from"), r"edges.csv, line 1: no column 'source'"),
        (NODES, None, r"edges.csv: no such file; a graph in tables is a folder with nodes.csv"),
        ("", EDGES, r"nodes.csv: is empty"),
        ("id,label\n", EDGES, r"nodes.csv: has a header and no row"),
        (b"id,label\n\xff\xfe,a\n", EDGES, r"nodes.csv: not a table in UTF-8"),
        ("id,label\na,x\nb,y\n", "source,target\n", r"array 'x' is missing.*data.features=degree"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_line(tmp_path: Path, nodes, edges, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(write(tmp_path, nodes, edges))


def test_a_single_table_points_to_the_folder(tmp_path: Path) -> None:
    lone = tmp_path / "links.csv"
    lone.write_text(EDGES)
    form = r"expected a folder with nodes.csv \(id, features …, label, split\) and edges.csv"
    with pytest.raises(InputError, match=form):
        load(lone)
    with pytest.raises(InputError, match=f"give the folder, {tmp_path}"):
        load(write(tmp_path) / "edges.csv")


def test_a_task_on_graphs_is_told_that_this_is_one_graph(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Without ptr this is one graph, for a task on nodes"):
        load_graphs_dataset(GraphDataSpec(name=str(write(tmp_path))))
