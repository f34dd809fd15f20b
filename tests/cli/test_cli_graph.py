"""The verbs on graphs: a user's file trained, measured, put to use, and its mistakes named."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_graph_files import (
    NAMES,
    NODES,
    TINY_GRAPHS,
    TINY_NODES,
    graph_arrays,
    node_arrays,
    with_value,
)

from peerlearn.models import MODELS
from peerlearn.systems.registry import RECIPES
from peerlearn.tasks.graphs.models import GRAPH_MODELS

MEASURED = ("peers", "mean_peer", "ensemble", "between_peers", "reliability")
TASKS = {
    "nodes": ("gml-node", TINY_NODES, node_arrays),
    "graphs": ("gml-graph", TINY_GRAPHS, graph_arrays),
}


def block(path: Path) -> dict:
    (arm,) = json.loads(path.read_text())["arms"].values()
    return {key: arm[key] for key in MEASURED}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def refused(said, *expected: str) -> None:
    assert said.status == 2, said
    assert said.err.startswith("peerlearn: ")
    assert "Traceback" not in said.err
    for part in expected:
        assert part in said.err


@pytest.fixture(params=list(TASKS))
def task(request, cli, tmp_path):
    """A run on a user's file of either task, in `run`; returns (recipe, arrays)."""
    name, tiny, arrays = TASKS[request.param]
    np.savez(tmp_path / "mine.npz", **arrays())
    assert cli("run", name, *tiny, "--data", "mine.npz", "--out", "run").status == 0
    return name, arrays


@pytest.fixture
def node_run(cli, tmp_path):
    """A run on a user's graph, in `run`; its file is deleted."""
    np.savez(tmp_path / "mine.npz", **node_arrays())
    assert cli("run", "gml-node", *TINY_NODES, "--data", "mine.npz", "--out", "run").status == 0
    (tmp_path / "mine.npz").rename(tmp_path / "new.npz")


# Lists -----------------------------------------------------------------------------------------


def first_words(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def test_ls_models_says_which_recipes_the_graph_networks_are_for(cli):
    rows, graph_recipes = (
        ", ".join(name for name, recipe in RECIPES.items() if recipe.task.models is models)
        for models in (MODELS, GRAPH_MODELS)
    )
    images, graphs = cli("ls", "models").out.split(f"for {graph_recipes}\n")
    assert images.startswith(f"for {rows}\n")
    assert set(GRAPH_MODELS.names) <= set(first_words(graphs))
    assert not set(GRAPH_MODELS.names) & set(first_words(images))
    assert "hidden=64" in graphs


def test_ls_data_shows_embedded_public_and_own_graphs_by_task(cli, tmp_path, monkeypatch):
    (tmp_path / "graphs").mkdir()
    np.savez(tmp_path / "mine.npz", **node_arrays())
    np.savez(tmp_path / "graphs" / "many.npz", **graph_arrays())
    monkeypatch.setenv("PEERLEARN_DATA", str(tmp_path))
    images, nodes, graphs = re.split(
        r"for gml-node, gml-mlp\n|for gml-graph\n", cli("ls", "data").out
    )
    assert {"digits", "cifar10"} <= set(first_words(images))
    assert "mine" not in first_words(images)
    assert {"digits-knn", "cora", "mine"} <= set(first_words(nodes))
    assert {"digits-grid", "mutag", "many"} <= set(first_words(graphs))
    assert str(tmp_path / "graphs" / "many.npz") in graphs
    assert "2,708" in nodes


def test_data_get_finds_graphs(cli, tmp_path):
    (tmp_path / "graphs" / "MUTAG").mkdir(parents=True)
    (tmp_path / "graphs" / "MUTAG" / "MUTAG_A.txt").touch()
    said = cli("data", "get", "mutag", "--root", tmp_path)
    assert said == (0, f"{tmp_path / 'graphs' / 'MUTAG'}\n", "")
    refused(cli("data", "get", "coar"), "unknown data set 'coar'. Did you mean 'cora'?")
    refused(cli("data", "get", "digits-knn"), "there is nothing to download")


def test_validate_says_what_would_be_trained_and_all_that_is_wrong(cli, tmp_path):
    np.savez(tmp_path / "mine.npz", **node_arrays())
    cli("cp", "gml-node", "mine.yaml")
    said = cli("validate", "mine.yaml", "--data", "mine.npz")
    assert said.status == 0
    assert "mine: 3 classes, nodes of one graph, 6 features" in said.out
    assert "(20 train, 20 val, 20 test)" in " ".join(said.out.split())
    wrong = ["epochs=no", "peers.gcn.model=gcm", "data.fature=x"]
    said = cli("validate", "gml-node", *wrong)
    refused(
        said, "unknown model 'gcm'", "epochs: ", "data.fature: unknown key. Did you mean 'features'"
    )
    said = cli("validate", "gml-node", "peers.gcn.model=gcm", "peers.gat.model=gta", "data=coar")
    refused(said, "unknown model 'gcm'. Did you mean 'gcn'?", "unknown model 'gta'", "'coar'")


# A finished run --------------------------------------------------------------------------------


def test_eval_gives_the_numbers_of_the_run_again(cli, tmp_path, task):
    expected = block(tmp_path / "run" / "results.json")
    assert cli("eval", "run", "--out", "own.json").status == 0
    assert block(tmp_path / "own.json") == expected
    (tmp_path / "mine.npz").rename(tmp_path / "other.npz")
    assert cli("eval", "run", "--data", "other.npz", "--out", "other.json").status == 0
    assert block(tmp_path / "other.json") == expected


def test_eval_matches_classes_by_name_and_features_by_training(cli, tmp_path, task):
    _, arrays = task
    made = arrays()
    changes = {"y": 2 - made["y"], "class_names": NAMES[::-1]}
    if "x" in made:
        changes["y"] = with_value(changes["y"], -1, made["train_mask"].nonzero()[0][0])
    np.savez(tmp_path / "other.npz", **arrays(**changes))
    assert cli("eval", "run", "--data", "other.npz", "--out", "other.json").status == 0
    assert block(tmp_path / "other.json") == block(tmp_path / "run" / "results.json")


def test_predict_writes_a_row_for_every_node_or_graph(cli, tmp_path, task):
    """Accuracy computed from the csv is that of results.json: weights, features, order."""
    name, arrays = task
    made = arrays()
    test = made["test_mask"] if name == "gml-node" else made["split"] == 2
    bare = {key: made[key] for key in ("x", "node_label", "edge_index", "ptr") if key in made}
    np.savez(tmp_path / "new.npz", **bare)
    (tmp_path / "mine.npz").unlink()
    measured = block(tmp_path / "run" / "results.json")
    for who in (*measured["peers"], "ensemble"):
        said = cli("predict", "run", "new.npz", "--peer", who)
        assert said.status == 0
        assert said.out.splitlines()[0] == "input,row,label,probability"
        found = rows(said.out)
        assert [int(row["row"]) for row in found] == list(range(len(made["y"])))
        labels = np.array([row["label"] for row in found])
        expected = measured["ensemble"] if who == "ensemble" else measured["peers"][who]
        accuracy = np.mean(labels[test] == NAMES[made["y"]][test])
        assert accuracy == pytest.approx(expected["accuracy"]["mean"])
    assert cli("predict", "run", "new.npz").err.endswith(
        tuple(f"by peer {peer}\n" for peer in measured["peers"])
    )


def test_several_files_are_read_one_after_the_other(cli, tmp_path, node_run):
    small = {"x": node_arrays()["x"][:2], "edge_index": np.array([[0], [1]])}
    np.savez(tmp_path / "small.npz", **small)
    found = rows(cli("predict", "run", "small.npz", "new.npz", "--probabilities").out)
    assert [row["input"] for row in found] == ["small.npz"] * 2 + ["new.npz"] * NODES
    assert list(found[0]) == ["input", "row", "label", "probability", "ant", "bee", "cat"]
    assert sum(float(found[0][name]) for name in NAMES) == pytest.approx(1, abs=1e-5)


def test_sampled_runs_predict_with_all_neighbours(cli, tmp_path):
    np.savez(tmp_path / "mine.npz", **node_arrays())
    words = ["fanout=[3,3]", "transfer.weighting=sample", "--data", "mine.npz", "--out"]
    assert cli("run", "gml-node", *TINY_NODES, *words, "run").status == 0
    few = cli("predict", "run", "mine.npz", "--probabilities").out
    config = tmp_path / "run" / "config.yaml"
    config.write_text(re.sub(r"fanout:\n- 3\n- 3\n", "fanout: null\n", config.read_text()))
    assert "fanout: null" in config.read_text()
    for sampled, whole in zip(
        rows(few), rows(cli("predict", "run", "mine.npz", "--probabilities").out), strict=True
    ):
        assert [float(sampled[name]) for name in NAMES] == pytest.approx(
            [float(whole[name]) for name in NAMES], abs=1e-4
        )


def test_a_student_of_gml_mlp_serves_without_edges(cli, tmp_path):
    np.savez(tmp_path / "mine.npz", **node_arrays())
    words = [*TINY_NODES, "peers.mlp.arguments={hidden: 6}"]
    words += ["transfer.edges=[{from: [gcn, gat], to: mlp}]", "auxiliary.task=degree"]
    assert cli("run", "gml-mlp", *words, "--data", "mine.npz", "--out", "run").status == 0
    np.savez(tmp_path / "rows.npz", x=node_arrays()["x"])
    without = rows(cli("predict", "run", "rows.npz", "--peer", "mlp").out)
    whole = rows(cli("predict", "run", "mine.npz", "--peer", "mlp").out)
    assert [row["label"] for row in without] == [row["label"] for row in whole]
    for who in ("gcn", "ensemble"):
        said = cli("predict", "run", "rows.npz", "--peer", who)
        refused(said, "rows.npz: array 'edge_index' is missing, but peer 'gcn' reads edges")


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": np.ones((4, 5))}, "x: 5 columns, but the run was trained on 6"),
        ({"x": np.full((4, 6), np.nan)}, "x: 24 values are NaN"),
        ({"x": None}, "array 'x' is missing. Found: edge_index"),
        ({"edge_index": np.array([[0], [9]])}, "from 0 to 9; allowed: 0 to 3"),
        ({"ptr": np.array([0, 4])}, "holds many graphs ('ptr')"),
        ({"nodes": np.ones(4)}, "unknown array 'nodes'"),
    ],
)
def test_graphs_of_another_kind_cannot_be_labelled(cli, tmp_path, node_run, arrays, expected):
    made = {"x": np.ones((4, 6)), "edge_index": np.array([[0], [1]])} | arrays
    np.savez(tmp_path / "odd.npz", **{key: v for key, v in made.items() if v is not None})
    refused(cli("predict", "run", "new.npz", "odd.npz", "--out", "p.csv"), "odd.npz: ", expected)
    assert not (tmp_path / "p.csv").exists()


def test_other_inputs_cannot_be_labelled(cli, tmp_path, node_run):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    for file, expected in (
        ("nwe.npz", "nwe.npz: no such file or folder. Did you mean new.npz?"),
        ("notes.txt", "notes.txt: allowed: an .npz file, or a folder of raw graph files"),
        ("empty", "empty: holds no graph data"),
    ):
        refused(cli("predict", "run", file), expected)
    refused(cli("predict", "run", "new.npz", "--peer", "gnc"), "--peer: unknown peer 'gnc'")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x": np.ones((NODES, 5))}, "x: 5 columns, but the run was trained on 6"),
        ({"class_names": np.array(["ant", "bee", "dog"])}, "classes dog are not those"),
        ({"class_names": None, "y": np.arange(NODES) % 4}, "4 classes, but the run was trained"),
    ],
)
def test_other_data_that_do_not_fit(cli, tmp_path, node_run, changes, expected):
    np.savez(tmp_path / "odd.npz", **node_arrays(**changes))
    refused(cli("eval", "run", "--data", "odd.npz"), "odd.npz: ", expected)


# A user's file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda a: {"x": a["x"][:9]}, "x has 9 rows, but there are 60 nodes"),
        (lambda a: {"x": a["x"][0]}, "x has 6 rows, but there are 60 nodes"),
        (lambda a: {"x": with_value(a["x"], np.nan, 7, 0)}, "x: 1 values are NaN or infinite, the"),
        (lambda a: {"edge_index": a["edge_index"].T}, "allowed: (2,E)"),
        (lambda a: {"edge_index": a["edge_index"].T}, "Transpose it."),
        (
            lambda a: {"edge_index": with_value(a["edge_index"], 60, 1, 2)},
            "edge_index: 1 edges name nodes that do not exist: edge 2 goes from",
        ),
        (lambda a: {"edge_index": a["edge_index"] * 1.0}, "edge_index: dtype float64; allowed"),
        (lambda a: {"y": a["y"] + 0.5}, "y: 60 labels are wrong: row 0 holds 0.5, which is not a"),
        (lambda a: {"y": np.eye(3)[a["y"]]}, "y: shape (60, 3); allowed: (N,)"),
        (lambda a: {"y": a["y"] * 0}, "y: only class 0 occurs; at least two"),
        (lambda a: {"y": a["y"] - 2}, "y: 20 labels are wrong: row 0 holds -2, which is not a"),
        (lambda a: {"train_mask": a["train_mask"] & False}, "train_mask: marks no nodes; at least"),
        (lambda a: {"test_mask": a["test_mask"] & False}, "test_mask: marks no nodes; at least"),
        (
            lambda a: {"val_mask": a["val_mask"] | a["train_mask"]},
            "train_mask and val_mask share 20 nodes, the first is",
        ),
        (lambda a: {"test_mask": a["test_mask"][:9]}, "test_mask: shape (9,); allowed: (60,)"),
        (lambda a: {"test_mask": None}, "array 'test_mask' is missing"),
        (lambda a: {"y": None}, "array 'y' is missing"),
        (lambda a: {"class_names": NAMES[:2]}, "has no name: class_names has 2"),
        (lambda a: {"y": a["y"].astype(object)}, "'y' holds pickled"),
    ],
)
def test_mistakes_in_a_node_file_are_named(cli, tmp_path, change, expected):
    np.savez(tmp_path / "mine.npz", **node_arrays(**change(node_arrays())))
    refused(cli("run", "gml-node", "--data", "mine.npz", "--out", "run"), "mine.npz: ", expected)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda a: {"ptr": a["ptr"][:-1]}, "ptr: int64 of shape (40,); allowed: whole numbers of"),
        (lambda a: {"ptr": None, "edge_index": a["edge_index"]}, "array 'ptr' is missing"),
        (lambda a: {"ptr": with_value(a["ptr"], 0, 1)}, "ptr: 1 graphs have no node"),
        (lambda a: {"node_label": a["node_label"][:-1]}, "node_label has"),
        (lambda a: {"node_label": a["node_label"] + 0.5}, "node_label: dtype float64; allowed"),
        (lambda a: {"y": a["y"] + 0.5}, "y: 40 labels are wrong"),
        (lambda a: {"split": a["split"] * 0}, "split 2 (test): marks no graphs"),
        (lambda a: {"edge_index": np.array([[0], [a["ptr"][1]]])}, "1 edges join two graphs"),
    ],
)
def test_mistakes_in_a_file_of_graphs_are_named(cli, tmp_path, change, expected):
    np.savez(tmp_path / "mine.npz", **graph_arrays(**change(graph_arrays())))
    refused(cli("run", "gml-graph", "--data", "mine.npz", "--out", "run"), "mine.npz: ", expected)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["gml-node", "gml-mlp", "gml-graph"])
def test_a_graph_without_edges_trains(cli, tmp_path, recipe):
    arrays, tiny = (
        (graph_arrays, TINY_GRAPHS) if recipe == "gml-graph" else (node_arrays, TINY_NODES)
    )
    tiny = [*tiny, *(["transfer.edges=[{from: gcn, to: mlp}]"] if recipe == "gml-mlp" else [])]
    np.savez(tmp_path / "mine.npz", **arrays(edge_index=np.empty((2, 0), np.int64)))
    assert cli("run", recipe, *tiny, "--data", "mine.npz", "--out", "run").status == 0
    assert cli("predict", "run", "mine.npz", "--peer", "ensemble").status == 0


def test_files_of_the_other_task_say_so(cli, tmp_path):
    np.savez(tmp_path / "nodes.npz", **node_arrays())
    np.savez(tmp_path / "graphs.npz", **graph_arrays())
    refused(cli("run", "gml-node", "--data", "graphs.npz"), "graphs.npz: holds many graphs ('ptr')")
    refused(cli("run", "gml-graph", "--data", "nodes.npz"), "nodes.npz: array 'ptr' is missing")


def test_class_weights_and_samples_exclude_each_other(cli, tmp_path):
    np.savez(tmp_path / "mine.npz", **node_arrays())
    words = ["--data", "mine.npz", "fanout=[5,5]"]
    said = cli("run", "gml-node", *TINY_NODES, "transfer.weighting=class", *words)
    refused(said, "transfer.weighting: 'class' holds a row for every node", "weighting: sample")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]
