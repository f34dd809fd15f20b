"""Accuracy under noise on what peers read."""

from typing import Any

import pytest
import torch
from overriding import parsed
from torch import nn

import peerlearn
from peerlearn.engine.probes import takes_no_noise, with_noise
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.graphs.data.graph import Graph


def test_noise_is_in_units_of_the_spread_of_the_data() -> None:
    x = 7 * torch.randn(200, 50, generator=keyed_generator(0, "x"))
    noise = with_noise(x, 0.5, keyed_generator(0, "noise")) - x
    assert noise.std() == pytest.approx(3.5, rel=0.05)
    assert with_noise(x, 0, keyed_generator(0, "noise")) is x


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_features_of_a_graph_become_dense_and_its_edges_stay() -> None:
    x = torch.eye(4).to_sparse_csr()
    graph = Graph(x, torch.tensor([[0, 1], [1, 2]]))
    noisy = with_noise(graph, 0.5, keyed_generator(0, "noise"))
    assert noisy.x.layout == torch.strided
    assert torch.equal(noisy.edge_index, graph.edge_index)
    assert not torch.equal(noisy.x, x.to_dense())


def test_accuracy_falls_from_what_the_report_says_to_chance() -> None:
    recipe, given = find_recipe("dml")
    quick = ["epochs=6", "batch_size=32", "threads=1", "evaluation.noise=[0, 0.5, 100]"]
    (arm,) = run_recipe(recipe, recipe.resolve(given, parsed(*quick)))["arms"].values()
    curves = arm["noise"]
    assert curves["sigma"] == [0, 0.5, 100]
    assert set(curves["peers"]) == {"a", "b", "ensemble"}
    for name, curve in curves["peers"].items():
        reported = arm["ensemble"] if name == "ensemble" else arm["peers"][name]
        assert curve["mean"][0] == reported["accuracy"]["mean"]
        assert curve["mean"][0] > curve["mean"][1] > curve["mean"][2]
        assert curve["mean"][2] < 0.25
        assert curve["std"][0] == 0 < curve["std"][1]


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.randint(9, (40, 5)), "whole numbers (torch.int64), ids of something"),
        ({"ids": torch.randint(9, (40, 5)), "mask": torch.ones(40, 5)}, "by name (ids, mask)"),
    ],
    ids=["ids", "by name"],
)
def test_inputs_that_take_no_noise_are_refused_before_training(x: Any, said: str) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.EmbeddingBag(9, 2)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            return self.embed(ids)

    cohort = peerlearn.Cohort({"a": Reader(), "b": Reader()})
    events: list[dict[str, Any]] = []
    with pytest.raises(InputError, match=r"evaluation.noise: found \[0.5\], but peers read"):
        peerlearn.fit(
            cohort,
            (x, torch.arange(40) % 2),
            epochs=1,
            evaluation={"noise": [0.5]},
            observe=events.append,
        )
    assert events == []
    assert said in takes_no_noise(x)
