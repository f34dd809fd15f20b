"""Every documented option of the recipes on graphs changes the training, or is listed here."""

from pathlib import Path

import pytest
from every_option import assert_every_option_is_listed, assert_option_acts
from tiny_graphs import graph_arrays, graph_trainer, masks, node_arrays, weights, write

from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.graphs.config import GraphConfig, GraphsConfig, NodeConfig

RANDOM = ["data.split=random", "data.labels_per_class=4", "data.val_per_class=3"]
SAMPLED = ["fanout=[2, 2]", "transfer.weighting=none"]
DEGREE = ["auxiliary.task=degree"]

#: Options of both tasks: overrides before, and the change itself.
BOTH = {
    "data.name": ([], "data.name=other.npz"),
    "data.train_size": ([], "data.train_size=9"),
    "data.labels": ([], "data.labels=9"),
    "data.directed": ([], "data.directed=symmetric"),
    "data.features": ([], "data.features=degree"),
    "data.row_normalise": ([], "data.row_normalise=true"),
    "data.split": ([], "data.split=random"),
    "objective.function": (
        [],
        "objective.function=python:torch.nn.functional:multi_margin_loss",
    ),
    "objective.label_smoothing": ([], "objective.label_smoothing=0.1"),
    "objective.entropy": ([], "objective.entropy=0.5"),
    "objective.entropy_rows": (["data.labels=9"], "objective.entropy_rows=labelled"),
    "auxiliary.task": ([], "auxiliary.task=degree"),
    "auxiliary.weight": (DEGREE, "auxiliary.weight=1"),
    "auxiliary.buckets": (DEGREE, "auxiliary.buckets=3"),
}
NODES = BOTH | {
    "data.split": (RANDOM[1:], "data.split=random"),
    "data.split_index": ([], "data.split_index=1"),
    "data.labels_per_class": (RANDOM, "data.labels_per_class=5"),
    "data.val_per_class": (RANDOM, "data.val_per_class=5"),
    "data.split_seed": (RANDOM, "data.split_seed=1"),
    "data.val_size": (["data.name=no-val.npz"], "data.val_size=0.3"),
    "fanout": (["transfer.weighting=none"], "fanout=[2, 2]"),
    "unlabelled_per_batch": (SAMPLED, "unlabelled_per_batch=4"),
    "batch_size": (SAMPLED, "batch_size=4"),
}
GRAPHS = BOTH | {
    "data.split_index": (["data.name=splits.npz"], "data.split_index=1"),
    "data.fold_index": ([], "data.fold_index=1"),
    "data.split_seed": ([], "data.split_seed=1"),
    "data.val_size": ([], "data.val_size=0.3"),
    "labelled_per_batch": (["data.labels=9"], "labelled_per_batch=4"),
    "batch_size": ([], "batch_size=4"),
}
BLOCKS = ("data", "objective", "auxiliary")
OPTIONS = {"gml-node": NODES, "gml-graph": GRAPHS}
CONFIGS: dict[str, type[GraphConfig]] = {"gml-node": NodeConfig, "gml-graph": GraphsConfig}

#: Options that are tested elsewhere, or have no part in a task.
ELSEWHERE = {
    "data.val_labels": "which rows validate; tests/tasks/graphs/data/test_graph_encoding.py",
    "data.root": "where files are; tests/data/test_graph_registry.py",
    "data.classes": "labels that leave it open; tests/data/test_classes.py",
    **dict.fromkeys(RecipeConfig.model_fields, "tests/engine/test_options.py"),
}
NO_PART = {
    "gml-node": {"data.fold_index": "folds are of graphs"},
    "gml-graph": {
        "data.labels_per_class": "random splits of graphs are folds",
        "data.val_per_class": "random splits of graphs are folds",
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of both tasks."""
    made = tmp_path_factory.mktemp("graphs")
    for task, arrays in (("gml-node", node_arrays), ("gml-graph", graph_arrays)):
        (made / task).mkdir()
        write(made / task / "mine.npz", arrays())
        write(made / task / "other.npz", arrays(seed=1))
    column = node_arrays()["split"][0]
    write(made / "gml-node" / "no-val.npz", node_arrays(**masks(column) | {"val_mask": None}))
    rows = node_arrays()["split"][:, :40]
    write(made / "gml-graph" / "splits.npz", graph_arrays(fold=None, split=rows))
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_invariant_6_covers_every_documented_option(name: str) -> None:
    tables = OPTIONS[name], ELSEWHERE, NO_PART[name]
    assert_every_option_is_listed(CONFIGS[name], BLOCKS, *tables)


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in OPTIONS.items() for option in options]
)
def test_invariant_6_option_changes_the_training(
    name: str, option: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / name)

    def trained(*words: str) -> dict[str, list[float]]:
        trainer = graph_trainer(name, "mine.npz", *words)
        trainer.run()
        return weights(trainer)

    assert_option_acts(trained, OPTIONS[name], option)


@pytest.mark.parametrize("name", ["gml-node", "gml-graph"])
@pytest.mark.parametrize("probe", ["flatness=true", "noise=[0, 1]"])
def test_probes_of_the_engine_work_on_graphs(name: str, probe: str, folder: Path) -> None:
    trainer = graph_trainer(name, folder / name / "mine.npz", f"evaluation.{probe}", "epochs=1")
    curves = trainer.run().block[probe.partition("=")[0]]
    for peer in trainer.cohort.names:
        assert len(curves["peers"][peer]["mean"]) == len(curves["sigma"]) > 1
