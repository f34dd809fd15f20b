"""Peers that compute together: the same results as alone, random streams and hooks included."""

import pytest
import torch
from torch import nn

from peerlearn.data.graphs.graph import Graph
from peerlearn.models.graphs import (
    Ask,
    build_graph_model,
    forward_together,
    propagation,
    together,
)
from peerlearn.randomness import RandomStreams, derive_seed, keyed_generator, seeded_rng
from peerlearn.transfer.outputs import PeerOutput

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")

NODES, FEATURES, CLASSES = 40, 12, 3
PEERS = {
    "first": ("gcn", {"hidden": 8}),
    "second": ("gcn", {"hidden": 24, "layers": 3, "norm": "batch"}),
    "sage": ("sage", {"hidden": 8}),
    "other sage": ("sage", {"hidden": 8, "head": "linear"}),
    "gat": ("gat", {"hidden": 4, "heads": 2}),
    "gin": ("gin", {"hidden": 8}),
    "mlp": ("graph_mlp", {"hidden": 8}),
}


def graph(sparse: bool = True) -> Graph:
    generator = keyed_generator(0, "graph")
    x = (torch.rand(NODES, FEATURES, generator=generator) < 0.3).float()
    edges = torch.randint(NODES, (2, 120), generator=generator).unique(dim=1)
    return Graph(x.to_sparse_csr() if sparse else x, edges)


def networks() -> dict[str, nn.Module]:
    built = {}
    for name, (model, arguments) in PEERS.items():
        with seeded_rng(0, "weights", name):
            built[name] = build_graph_model(model, FEATURES, CLASSES, arguments)
    return built


def streams() -> RandomStreams:
    return RandomStreams(lambda name: derive_seed(7, "dropout", name))


def loss(output: PeerOutput) -> torch.Tensor:
    return (output.logits * torch.linspace(-1, 1, CLASSES)).square().sum()


@pytest.mark.parametrize("narrow", [0, 16, 1000])  # never, sometimes and always side by side
@pytest.mark.parametrize("sparse", [False, True])
def test_together_equals_each_alone_bit_for_bit(sparse, narrow, monkeypatch):
    monkeypatch.setattr(propagation, "NARROW", narrow)
    peers, alone = networks(), networks()
    given = graph(sparse)
    outputs = forward_together(peers, given, streams())
    assert list(outputs) == list(peers)
    torch.stack([loss(output) for output in outputs.values()]).sum().backward()
    for name, network in alone.items():
        torch.manual_seed(derive_seed(7, "dropout", name))
        output = network(given)
        assert torch.equal(outputs[name].logits, output.logits), name
        for key, states in output.features.items():
            assert torch.equal(outputs[name].features[key], states), (name, key)
        loss(output).backward()
        for key, parameter in network.named_parameters():
            assert torch.equal(peers[name].get_parameter(key).grad, parameter.grad), (name, key)
        for key, buffer in network.named_buffers():
            assert torch.equal(peers[name].get_buffer(key), buffer), (name, key)


def test_questions_about_one_operator_are_one_product(monkeypatch):
    products = []
    propagate = propagation.propagate
    monkeypatch.setattr(
        propagation,
        "propagate",
        lambda graph, kind, h: products.append((kind, h.shape[1])) or propagate(graph, kind, h),
    )

    def peer(*asks):
        for kind, columns in asks:
            answer = yield Ask(kind, torch.ones(NODES, columns))
            assert answer.shape == (NODES, columns)
        return PeerOutput(torch.zeros(NODES, CLASSES))

    wide = propagation.NARROW + 1
    together(
        {
            "a": peer(("gcn", 3), ("gcn", 2)),
            "b": peer(("gcn", 4), ("mean", 2), ("sum", 5)),
            "c": peer(("gcn", wide)),
            "d": peer(),
        },
        graph(),
    )
    assert products == [("gcn", 7), ("gcn", wide), ("gcn", 2), ("mean", 2), ("sum", 5)]


def test_every_turn_of_a_peer_runs_in_its_scope_and_products_do_not():
    inside, turns = [], []

    class Scope:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            inside.append(self.name)

        def __exit__(self, *_):
            inside.pop()

    def peer(name):
        for _ in range(2):
            turns.append((name, *inside))
            yield Ask("gcn", torch.ones(NODES, 1))
        turns.append((name, *inside))
        return PeerOutput(torch.zeros(NODES, 1))

    together({"a": peer("a"), "b": peer("b")}, graph(), Scope)
    assert turns == [(name, name) for _ in range(3) for name in "ab"]


def test_forward_hooks_run_as_in_a_call():
    given, peers = graph(), networks()
    seen, counted = [], []
    for name, network in peers.items():
        network.eval().register_forward_hook(lambda *_, name=name: counted.append(name))
    peers["first"].register_forward_hook(lambda *call: seen.append(call))
    peers["sage"].register_forward_hook(
        lambda network, inputs, keywords, output: PeerOutput(output.logits + 1), with_kwargs=True
    )
    outputs = forward_together(peers, given)
    assert counted == list(peers)
    network, inputs, output = seen[0]
    assert network is peers["first"] and inputs[0] is given and output is outputs["first"]
    assert torch.equal(outputs["sage"].logits, peers["sage"](given).logits)


class Users(nn.Module):
    """A module that knows nothing of asking."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Dropout(0.5), nn.Linear(FEATURES, CLASSES))

    def forward(self, graph):
        return self.layer(graph.x.to_dense())


def test_modules_that_cannot_share_are_called_on_their_own():
    given, peers = graph(), networks()
    called = []
    peers["first"].register_forward_pre_hook(lambda *_: called.append("first"))
    peers["user's"] = Users()
    outputs = forward_together(peers, given, streams())
    assert called == ["first"] and list(outputs) == list(peers)
    torch.manual_seed(derive_seed(7, "dropout", "user's"))
    assert torch.equal(outputs["user's"].logits, peers["user's"](given))
