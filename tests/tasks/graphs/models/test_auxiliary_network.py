"""A second head on a graph network leaves the network what it was."""

import pytest
import torch
from torch import nn

from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data import Graph
from peerlearn.tasks.graphs.models import GRAPH_MODELS, AuxiliaryNetwork
from peerlearn.tasks.graphs.models.auxiliary import sizes

EDGES = torch.tensor([[0, 1, 2, 3, 3, 4], [1, 2, 1, 1, 3, 0]])
STATES = torch.arange(15.0).view(5, 3)


def network(name="gcn", of_graphs=False, **arguments):
    torch.manual_seed(0)
    small = {"hidden": 4, "dropout": 0.0, **arguments}
    return AuxiliaryNetwork(GRAPH_MODELS.build(name, 3, 2, small), of_graphs, buckets=3)


def test_sizes_are_in_degrees_without_self_loops_or_nodes_of_graphs():
    assert sizes(Graph(STATES, EDGES)).tolist() == [1, 3, 1, 0, 0]
    assert sizes(Graph(STATES, EDGES, seeds=2)).tolist() == [1, 3]
    degree = torch.tensor([9, 8, 7, 6, 5])
    assert sizes(Graph(STATES, EDGES, seeds=3, degree=degree)).tolist() == [9, 8, 7]
    many = Graph(STATES, EDGES[:, :0], graph_of=torch.tensor([0, 0, 1, 1, 1]), graphs=2)
    assert sizes(many).tolist() == [2, 3]


def test_buckets_hold_equal_parts():
    both = network()
    both.divide(torch.arange(90).flip(0))
    assert both.bounds.tolist() == [30, 60]
    target = torch.bucketize(torch.arange(90.0), both.bounds, right=True)
    assert target.bincount().tolist() == [30, 30, 30]


@pytest.mark.parametrize("name", ["gcn", "gat", "sage", "gin", "graph_mlp"])
@pytest.mark.parametrize("of_graphs", [False, True])
def test_every_network_takes_a_second_head(name, of_graphs):
    both = network(name, of_graphs).eval()
    graph_of = torch.tensor([0, 0, 1, 1, 1]) if of_graphs else None
    graph = Graph(STATES, EDGES[:, :1], graph_of, graphs=2 if of_graphs else 1)
    output, alone = both(graph), both.network(graph)
    assert torch.equal(output.logits, alone.logits)
    assert output.features["auxiliary"].shape == (2 if of_graphs else 5, 3)
    assert output.features["auxiliary_target"].shape == output.features["auxiliary"].shape[:1]
    output.features["auxiliary"].sum().backward()
    assert all(p.grad is not None for p in both.network.operators[0].parameters() if p.ndim > 1)
    assert both.reads_edges == (name != "graph_mlp")


@pytest.mark.parametrize(
    ("inner", "found"),
    [(nn.Linear(3, 2), "Linear"), (GRAPH_MODELS.build("gcn", 3, 2, {"layers": 1}), "1 layer")],
)
def test_a_network_without_hidden_layer_has_no_place_for_it(inner, found):
    with pytest.raises(InputError, match=f"an auxiliary head reads .* found {found}"):
        AuxiliaryNetwork(inner, of_graphs=False, buckets=3)
