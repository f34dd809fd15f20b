"""The recipes on graphs: what peers share, what training may see, resume, the second head."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_graphs import (
    CLASSES,
    GRAPHS,
    NODES,
    StopAt,
    graph_arrays,
    graph_trainer,
    node_arrays,
    plain,
    weights,
    write,
)

from peerlearn.engine.files import load_state
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.results import one_seed
from peerlearn.systems.registry import find_recipe
from peerlearn.tasks.graphs.models.auxiliary import sizes

SAMPLED = ["fanout=[2, 2]", "transfer.weighting=sample", "unlabelled_per_batch=4"]
ARRAYS = {"gml-node": node_arrays, "gml-graph": graph_arrays, "gml-mlp": node_arrays}


def mean(summary: dict) -> float:
    return summary["accuracy"]


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    return write(tmp_path / "nodes.npz", node_arrays())


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    return write(tmp_path / "graphs.npz", graph_arrays())


def run(trainer: Trainer) -> Trainer:
    trainer.run()
    return trainer


# What training may see -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("gml-node", []),
        ("gml-node", ["auxiliary.task=degree"]),
        ("gml-node", SAMPLED),
        ("gml-mlp", []),
        ("gml-graph", []),
    ],
)
def test_labels_outside_train_do_not_influence_training(
    tmp_path: Path, recipe: str, options: list[str]
) -> None:
    arrays = ARRAYS[recipe]()
    column = np.where(np.arange(GRAPHS) < 20, 0, 1 + np.arange(GRAPHS) % 2)
    split = column if recipe == "gml-graph" else arrays["split"][0]
    arrays = arrays | {"split": split}
    arrays.pop("fold", None)
    hidden = split != 0
    turned = arrays | {"y": np.where(hidden, (arrays["y"] + 1) % CLASSES, arrays["y"])}
    made = [
        run(graph_trainer(recipe, write(tmp_path / f"{name}.npz", it), *options))
        for name, it in (("true", arrays), ("turned", turned))
    ]
    assert weights(made[0]) == weights(made[1])
    seen = turned | {"y": (arrays["y"] + 1) % CLASSES}
    other = run(graph_trainer(recipe, write(tmp_path / "seen.npz", seen), *options))
    assert weights(other) != weights(made[0])


def test_nodes_without_a_label_teach_where_all_rows_do(nodes: Path) -> None:
    """`data.labels` and `data.train_size` leave the same labels; the graph stays whole."""
    few = [
        run(graph_trainer("gml-node", nodes, f"data.{key}=9")) for key in ("labels", "train_size")
    ]
    assert weights(few[0]) == weights(few[1])
    (batch,) = few[0].stages[0].loader.epoch(0)
    assert (batch.x.num_nodes, int((batch.y >= 0).sum())) == (NODES, 9)
    alone = run(graph_trainer("gml-node", nodes, "data.labels=9", "transfer.rows=labelled"))
    assert weights(alone) != weights(few[0])


def test_graphs_without_a_label_stay_in_the_batches(graphs: Path) -> None:
    kept, left = (
        graph_trainer("gml-graph", graphs, f"data.{key}=9").stages[0].loader
        for key in ("labels", "train_size")
    )
    labels = torch.cat([batch.y for batch in kept.epoch(0)])
    assert (labels >= 0).sum() == 9
    assert len(labels) > 9
    labels = torch.cat([batch.y for batch in left.epoch(0)])
    assert labels.bincount().tolist() == [3, 3, 3]


def test_edges_prove_themselves_on_validation_nodes_and_never_on_those_of_test(
    tmp_path: Path,
) -> None:
    options = [
        "transfer.proven={ends: teacher, least: 0.3}", "transfer.weight_schedule=constant",
        "transfer.gate=through", "epochs=12", "lr=0.05",
    ]  # fmt: skip
    split = node_arrays()["split"][0]
    made = {}
    for name, part in (("true", -1), ("test", 2), ("val", 1)):
        y = node_arrays()["y"]
        y = np.where(split == part, (y + 1) % CLASSES, y)
        path = write(tmp_path / f"{name}.npz", node_arrays(y=y, split=split))
        made[name] = weights(run(graph_trainer("gml-node", path, *options)))
    assert made["true"] == made["test"]
    assert made["true"] != made["val"]
    path = tmp_path / "true.npz"
    alone = run(
        graph_trainer("gml-node", path, "transfer=none", "objective.entropy=0", *options[3:])
    )
    shut = run(graph_trainer("gml-node", path, *options, "transfer.proven.least=0.99"))
    peers = {name: it for name, it in weights(shut).items() if name.startswith("peers.")}
    assert peers == weights(alone), "peers whom nobody teaches do not train as alone"


# Cohorts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "sampled"),
    [("gml-node", False), ("gml-node", True), ("gml-mlp", False), ("gml-graph", False)],
)
def test_invariant_7_equal_seeds_give_equal_weights_and_batches_in_every_arm(
    tmp_path: Path, recipe: str, sampled: bool
) -> None:
    path = write(tmp_path / "mine.npz", ARRAYS[recipe]())
    seen = []
    for arm, own in find_recipe(recipe)[1]["arms"].items():
        by_sample = {"transfer.weighting": "sample"} if arm in ("full", "open", "weighting") else {}
        trainer = graph_trainer(
            recipe, path, f"arm={arm}", f"arms.{arm}={json.dumps(own | by_sample)}",
            *(SAMPLED[:1] if sampled else []),
        )  # fmt: skip
        start = {key: value for key, value in weights(trainer).items() if key.startswith("peers.")}
        batches = [
            (batch.index.tolist(), batch.x.edge_index.tolist(), batch.x.x.tolist())
            for epoch in range(2)
            for batch in trainer.stages[0].loader.epoch(epoch)
        ]
        seen.append((start, batches))
    assert all(other == seen[0] for other in seen[1:])


def test_two_peers_of_one_architecture_start_apart_and_teach_each_other(nodes: Path) -> None:
    arguments = "arguments: {hidden: 6, dropout: 0}"
    peers = [f"peers.{name}={{model: gcn, {arguments}}}" for name in ("gcn", "two")]
    options = [*peers, "peers.gat=null", "peers.sage=null", "epochs=60", "lr=0.05"]
    trainer = graph_trainer("gml-node", nodes, *options)
    start = weights(trainer)
    key = "peers.{}.operators.0.projection.weight"
    assert start[key.format("gcn")] != start[key.format("two")]
    result = trainer.run()
    assert {(edge["from"], edge["to"]) for edge in result.block["edges"]} == {
        ("gcn", "two"),
        ("two", "gcn"),
    }
    assert result.block["mean_peer"]["accuracy"] > 0.6


def test_other_peers_change_nothing_where_nobody_teaches(nodes: Path, graphs: Path) -> None:
    """Operators are shared, dropout is keyed by peer: each computes what it would alone."""
    for recipe, data in (("gml-node", nodes), ("gml-graph", graphs)):
        several = weights(run(graph_trainer(recipe, data, "transfer=none")))
        rest = [f"peers.{name}=null" for name in find_recipe(recipe)[1]["peers"] if name != "gcn"]
        alone = weights(run(graph_trainer(recipe, data, "transfer=none", *rest)))
        assert alone == {key: value for key, value in several.items() if key in alone}


def test_students_without_edges_learn_from_teachers_with_edges(nodes: Path) -> None:
    trainer = graph_trainer("gml-mlp", nodes)
    assert [(edge["from"], edge["to"]) for edge in trainer.cohort.transfer.edges()] == [
        ("gcn", "mlp")
    ]
    taught = weights(run(trainer))
    alone = weights(run(graph_trainer("gml-mlp", nodes, "arm=independent")))
    changed = {key.split(".")[1] for key in taught if taught[key] != alone[key]}
    assert changed == {"mlp"}


# Interruption --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "options", "step"),
    [
        ("gml-node", ["transfer.weighting=class"], 1),
        ("gml-node", ["transfer.weighting=class", "transfer.temperature=learned"], 2),
        ("gml-node", [*SAMPLED, "auxiliary.task=degree"], 4),
        ("gml-graph", ["auxiliary.task=degree"], 5),
    ],
)
def test_invariant_4_resumed_run_equals_uninterrupted(
    tmp_path: Path, recipe: str, options: list[str], step: int
) -> None:
    path = write(tmp_path / "mine.npz", ARRAYS[recipe]())
    words = [*options, "evaluation.select=best", "evaluation.metric=nll"]
    whole = graph_trainer(recipe, path, *words, folder=tmp_path / "whole")
    expected = whole.run()
    cut = graph_trainer(recipe, path, *words, folder=tmp_path / "cut")
    cut.observe = StopAt(step)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = graph_trainer(recipe, path, *words, folder=tmp_path / "cut")
    result = again.run(resume=True)
    assert weights(again) == weights(whole)
    assert result.selected == expected.selected
    assert {k: v for k, v in result.block.items() if k not in ("cost", "sizes")} == {
        k: v for k, v in expected.block.items() if k not in ("cost", "sizes")
    }
    ends = [
        load_state(tmp_path / folder / "checkpoints/last/state.safetensors")
        for folder in ("whole", "cut")
    ]
    for end in ends:
        history = end["progress"].pop("history")
        end["progress"] |= {"seconds": 0, "history": [{**it, "seconds": 0} for it in history]}
    for key in ("progress", "peers", "teaching", "run", "selected"):
        assert plain(ends[0][key]) == plain(ends[1][key]), key


def test_learned_class_weights_are_told_by_peer_and_class(nodes: Path) -> None:
    trainer = graph_trainer("gml-node", nodes, "transfer.weighting=class", "epochs=5", "lr=0.1")
    block = trainer.run().block
    assert set(block["class_weights"]) == {"gcn", "gat", "sage"}
    graph, _ = next(iter(trainer.task.rows["test"]()))
    for peer, weighting in trainer.cohort.transfer.entries[0].weightings.items():
        told = block["class_weights"][peer]
        assert list(told) == list(trainer.task.info.class_names)
        trainer.cohort.eval()
        with torch.no_grad():
            expected = weighting(trainer.cohort(graph)[peer].logits)
        assert list(told.values()) == pytest.approx(expected.tolist())
        assert sum(told.values()) == pytest.approx(len(told))  # softmax weights have mean 1
        assert max(abs(weight - 1) for weight in told.values()) > 1e-4
    assert one_seed(block)["class_weights"]["gcn"].keys() == block["class_weights"]["gcn"].keys()


def test_no_class_weights_are_told_where_none_were_learned(nodes: Path) -> None:
    for weighting in ("none", "sample"):
        trainer = graph_trainer("gml-node", nodes, f"transfer.weighting={weighting}")
        assert "class_weights" not in trainer.run().block


def test_the_checkpoint_holds_the_weighting(nodes: Path, tmp_path: Path) -> None:
    trainer = graph_trainer("gml-node", nodes, "transfer.weighting=class", folder=tmp_path / "run")
    start = {key: value for key, value in weights(trainer).items() if "transfer." in key}
    trainer.run()
    saved = load_state(tmp_path / "run/checkpoints/last/state.safetensors")["teaching"]["transfer"]
    assert {f"transfer.{key}" for key in saved} == set(start)
    assert {tuple(value.shape) for key, value in saved.items() if key.endswith("chi")} == {
        (NODES, 16)
    }
    assert any(value.flatten().tolist() != start[f"transfer.{key}"] for key, value in saved.items())


# The second head -----------------------------------------------------------------------------


def test_a_second_head_changes_no_first_weight_and_no_first_output(nodes: Path) -> None:
    one, two = (
        graph_trainer("gml-node", nodes, f"auxiliary.task={task}") for task in ("none", "degree")
    )
    (batch,) = one.stages[0].loader.epoch(0)
    outputs, both = one.cohort.eval()(batch.x), two.cohort.eval()(batch.x)
    for name, peer in two.cohort.peers.items():
        first = plain(peer.network.state_dict())
        assert first == plain(one.cohort.peers[name].state_dict())
        assert set(peer.state_dict()) - {f"network.{key}" for key in first} == {
            "head.weight", "head.bias", "bounds",
        }  # fmt: skip
        assert torch.equal(both[name].logits, outputs[name].logits)


def test_the_second_head_is_asked_for_degrees_in_equal_buckets(nodes: Path) -> None:
    trainer = graph_trainer("gml-node", nodes, "auxiliary={task: degree, buckets: 4}")
    (batch,) = trainer.stages[0].loader.epoch(0)
    output = trainer.cohort(batch.x)["gcn"]
    senders, receivers = batch.x.edge_index
    degree = receivers[senders != receivers].bincount(minlength=NODES)
    target = output.features["auxiliary_target"]
    assert output.features["auxiliary"].shape == (NODES, 4)
    for low, high in zip(range(3), range(1, 4), strict=True):
        assert degree[target == low].max() < degree[target == high].min()
    assert target.bincount(minlength=4).max() <= NODES / 2


def test_a_sampled_graph_asks_for_the_degrees_of_the_whole_one(nodes: Path) -> None:
    trainer = graph_trainer("gml-node", nodes, *SAMPLED)
    (whole,) = graph_trainer("gml-node", nodes).stages[0].loader.epoch(0)
    for batch in trainer.stages[0].loader.epoch(0):
        assert torch.equal(sizes(batch.x), sizes(whole.x)[batch.index])


def test_where_graphs_are_classified_the_second_head_is_asked_for_their_sizes(
    graphs: Path,
) -> None:
    trainer = graph_trainer("gml-graph", graphs, "auxiliary.task=degree")
    batch = next(trainer.stages[0].loader.epoch(0))
    assert sizes(batch.x).tolist() == batch.x.graph_of.bincount().tolist()
    output = trainer.cohort(batch.x)["gin"]
    assert output.features["auxiliary"].shape == (len(batch.y), 5)


def test_the_second_task_is_learned(nodes: Path) -> None:
    """The loss falls by more than what it adds with an untrained head."""

    def missed(trainer: Trainer) -> float:
        (batch,) = trainer.stages[0].loader.epoch(0)
        features = trainer.cohort.eval()(batch.x)["gcn"].features
        logits = features["auxiliary"]
        return torch.nn.functional.cross_entropy(logits, features["auxiliary_target"]).item()

    words = ["auxiliary={task: degree, weight: 1, buckets: 3}", "lr=0.05", "epochs=60"]
    trainer = graph_trainer("gml-node", nodes, *words, "peers.gcn.arguments.dropout=0")
    before = missed(trainer)
    assert missed(run(trainer)) < 0.9 * before


@pytest.mark.parametrize(
    ("recipe", "options", "expected"),
    [
        ("gml-node", ["fanout=[2]"], "transfer.weighting: 'class' holds a row for every node"),
        ("gml-node", ["fanout=[2]"], "use weighting: sample, or none"),
        ("gml-graph", ["transfer.weighting=class"], "transfer.weighting: 'class' needs batches"),
        (
            "gml-node",
            ["unlabelled_per_batch=2"],
            "unlabelled_per_batch: belongs to sampled",
        ),
        (
            "gml-node",
            ["transfer.weighting=none", "transfer.teacher_ema=0.9", "transfer.teacher_view=1"],
            "transfer.teacher_view: 1; graphs have one view, number 0",
        ),
        ("gml-node", ["peers.gat.view=1"], "peers.gat.view: 1; graphs have one view, number 0"),
        (
            "gml-node",
            ["fanout=[2]", "transfer=none"],
            "fanout: 1 hops, but peers.gcn has 2 layers; give one number",
        ),
        (
            "gml-node",
            ["fanout=[0, 2]", "transfer=none"],
            r"fanout: \[0, 2\]; allowed: neighbours a node",
        ),
        (
            "gml-node",
            ["auxiliary.task=degree", "peers.gcn.arguments={layers: 1}"],
            "peers.gcn.model: an auxiliary head reads the last hidden layer .* found 1 layer",
        ),
        (
            "gml-node",
            ["auxiliary.task=degre"],
            "auxiliary.task: found 'degre'. Did you mean",
        ),
        (
            "gml-node",
            ["data.labels=2"],
            "data.labels: 2 is less than one labelled row",
        ),
        (
            "gml-node",
            ["data.train_size=90"],
            "data.train_size: 90 rows .*; allowed: up to 20",
        ),
    ],
)
def test_options_that_do_not_fit_say_the_way_out(
    tmp_path: Path, recipe: str, options: list[str], expected: str
) -> None:
    path = write(tmp_path / "mine.npz", ARRAYS[recipe]())
    with pytest.raises(InputError, match=expected):
        graph_trainer(recipe, path, *options)
