"""Graph networks by name, and what is said of names and arguments that are wrong."""

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.models import MODELS
from peerlearn.models.arguments import argument_defaults
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models import GRAPH_MODELS, GraphNetwork


def test_every_network_is_described():
    infos = {info.name: info for info in GRAPH_MODELS.describe()}
    assert list(infos) == GRAPH_MODELS.names == ["gcn", "gat", "sage", "gin", "graph_mlp"]
    for name, info in infos.items():
        assert info.summary.endswith("."), name
        assert info.arguments == argument_defaults(GRAPH_MODELS.builders[name])
        assert isinstance(GRAPH_MODELS.build(name, 5, 2, info.arguments), GraphNetwork)
    assert not set(infos) & set(MODELS.names)


@pytest.mark.parametrize("name", ["gcn", "gat", "sage", "gin", "graph_mlp"])
def test_equal_seeds_give_equal_weights(name):
    networks = []
    for seed in (0, 0, 1):
        with seeded_rng(seed, "weights"):
            networks.append(GRAPH_MODELS.build(name, 5, 2).state_dict())
    first, second, third = networks
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], third[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("gccn", {}, r"peers.a.model: unknown model 'gccn'. Did you mean 'gcn'\?"),
        ("cnn", {}, "unknown model 'cnn'"),
        ("gcn", {"hiden": 3}, r"unknown gcn argument 'hiden'. Did you mean 'hidden'\?"),
        ("gcn", {"features": 3}, "unknown gcn argument 'features'"),
        ("gcn", {"hidden": 0}, "gcn argument hidden = 0: input should be greater"),
        ("gat", {"dropout": 1.0}, "gat argument dropout = 1.0: input should be less than 1"),
        ("gat", {"heads": 2.5}, "gat argument heads = 2.5: input should be a valid integer"),
        ("sage", {"readout": "median"}, "readout = 'median': input should be 'mean', 'sum'"),
        ("gin", {"norm": None}, "gin argument norm = None"),
        ("gin", {"jump": "cat", "head": "operator"}, "gin argument jump = 'cat': needs head"),
        (3, {}, "peers.a.model: 3: expected the name of a model"),
        ("gcn", 3, "arguments = 3: expected a mapping"),
        ("python:nothing_here:f", {}, "no module 'nothing_here'"),
    ],
)
def test_wrong_names_and_arguments_are_refused(name, arguments, said):
    with pytest.raises(InputError, match=said):
        GRAPH_MODELS.build(name, 5, 2, arguments, field="peers.a.model")


@pytest.mark.parametrize(("features", "classes"), [(0, 2), (5, 0), (5, 1.5)])
def test_wrong_sizes_are_refused(features, classes):
    with pytest.raises(InputError, match="expected a positive integer"):
        GRAPH_MODELS.build("gcn", features, classes)


def test_names_are_checked_without_building():
    GRAPH_MODELS.check("gat")
    GRAPH_MODELS.check("python:not.looked:into")
    with pytest.raises(InputError, match="unknown model 'resnet20'"):
        GRAPH_MODELS.check("resnet20", "peers.b.model")


def test_a_factory_of_the_user_is_given_what_the_data_decide(tmp_path, monkeypatch):
    (tmp_path / "my_graph_nets.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, features, classes, depth=1):\n"
        "        super().__init__()\n"
        "        self.depth, self.layer = depth, nn.Linear(features, classes)\n"
        "    def forward(self, graph):\n"
        "        return self.layer(graph.x)\n"
    )
    monkeypatch.chdir(tmp_path)
    network = GRAPH_MODELS.build("python:my_graph_nets:Net", 5, 2, {"depth": 4})
    graph = Graph(torch.ones(3, 5), torch.empty(2, 0, dtype=torch.int64))
    assert network.depth == 4 and network(graph).shape == (3, 2)
    with pytest.raises(InputError, match=r"unknown argument of .* 'deep'. Did you mean 'depth'"):
        GRAPH_MODELS.build("python:my_graph_nets:Net", 5, 2, {"deep": 4})
