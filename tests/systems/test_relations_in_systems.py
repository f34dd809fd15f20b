"""Relation edges in the cohorts of every kind of recipe."""

from pathlib import Path
from typing import Any

import pytest
import torch
from overriding import parsed
from tiny_graphs import graph_arrays, graph_trainer, node_arrays, write

from peerlearn.systems.registry import find_recipe

RELATIONS = [
    "transfer.knowledge=relations",
    "transfer.weight_schedule=constant",
    "transfer.memory=50",
]
TINY = {
    "dml": ["data.train_size=64", "batch_size=32"],
    "styles-classify": ["data.train_size=64", "batch_size=32", "peers.teacher.arguments.width=8"],
    "styles-segment": [
        "data.train_size=8", "batch_size=4", "peers.teacher.arguments={width: 8, levels: 1}",
        "peers.s1.arguments.levels=1", "peers.s2.arguments.levels=1", "evaluation.batch_size=64",
    ],
}  # fmt: skip


def trainer(system: str, *overrides: str) -> Any:
    recipe, given = find_recipe(system)
    common = ["epochs=1", "precision=fp32", "threads=1"]
    return recipe.build(recipe.resolve(given, parsed(*common, *TINY[system], *overrides)))


def positions(made: Any) -> dict[str, int]:
    return {key: int(memory.position) for key, memory in memories(made).items()}


def memories(made: Any) -> dict[str, Any]:
    """By entry and peer, as `0:a`."""
    return {
        f"{number}:{key}": memory
        for number, entry in enumerate(made.cohort.transfer.entries)
        for key, memory in getattr(entry, "memories", {}).items()
    }


def taught(made: Any) -> dict[str, float]:
    """The transfer loss of every learner in the first epoch."""
    made.run()
    first = next(record for record in made.progress.history if record["event"] == "epoch")
    return {name: losses["transfer"] for name, losses in first["train"].items()}


@pytest.mark.parametrize("system", TINY)
def test_peers_of_images_teach_relations(system: str) -> None:
    made = trainer(system, *RELATIONS, "transfer.edges=all")
    assert min(taught(made).values()) > 0
    assert len(set(positions(made).values())) == 1


def test_relations_go_beside_predictions_and_features() -> None:
    edges = [
        "{from: teacher, to: s1}", "{from: teacher, to: s2, knowledge: features}",
        "{from: [s1, s2], to: [s1, s2], knowledge: relations, memory: 50}",
    ]  # fmt: skip
    options = ["transfer.weight_schedule=constant", f"transfer.edges=[{', '.join(edges)}]"]
    made = trainer("styles-classify", *options)
    losses = taught(made)
    assert losses["s1"] > 0 and losses["s2"] > 0 and losses["teacher"] == 0
    assert set(positions(made)) == {"2:s1", "2:s2"}


def test_memories_stand_still_in_a_stage_in_which_nobody_learns_from_them() -> None:
    options = [
        *RELATIONS,
        "transfer.edges=[{from: teacher, to: [s1, s2]}]",
        "stages.teacher.epochs=1",
    ]
    seen = []
    made = trainer("styles-classify", *options)
    made.observe = lambda event: seen.append((event["stage"], set(positions(made).values())))
    made.run()
    assert {n for stage, found in seen if stage == "teacher" for n in found} == {0}
    assert seen[-1][1] != {0} and len(seen[-1][1]) == 1


@pytest.mark.parametrize("memory", [25, 500], ids=["fewer slots than nodes", "more"])
def test_graph_networks_teach_relations_between_nodes(tmp_path: Path, memory: int) -> None:
    data = write(tmp_path / "nodes.npz", node_arrays())
    made = graph_trainer(
        "gml-node", data, *RELATIONS, f"transfer.memory={memory}", "transfer.layer=hidden1"
    )
    assert min(taught(made).values()) > 0
    assert len(set(positions(made).values())) == 1
    widths = {part.rows.shape[1] for part in memories(made).values()}
    assert len(widths) > 1, "networks of different width compare relations"


def test_graph_networks_teach_relations_between_graphs(tmp_path: Path) -> None:
    data = write(tmp_path / "graphs.npz", graph_arrays())
    made = graph_trainer("gml-graph", data, *RELATIONS, "transfer.layer=pooled")
    assert min(taught(made).values()) > 0
    assert all(torch.isfinite(tensor).all() for tensor in made.cohort.state_dict().values())
