"""What every graph network promises, in node and in graph tasks."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models import GRAPH_MODELS
from peerlearn.tasks.graphs.models.propagation import read_out

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")

FEATURES, CLASSES = 10, 4
SIZES = [5, 1, 12, 7, 1]

every_model = pytest.mark.parametrize("name", GRAPH_MODELS.names)
either_head = pytest.mark.parametrize("head", ["operator", "linear"])


def build(name: str, **arguments: Any) -> nn.Module:
    arguments = {"hidden": 6} | arguments
    if name == "graph_mlp":
        arguments.pop("head", None)
    with seeded_rng(0, "weights"):
        network = GRAPH_MODELS.build(name, FEATURES, CLASSES, arguments)
        for parameter in network.parameters():  # so that biases and eps count
            if parameter.ndim < 2:
                nn.init.normal_(parameter, std=0.5)
    return network


def single(nodes: int, key: int = 0) -> Graph:
    generator = keyed_generator(key, "graph", nodes)
    x = torch.randn(nodes, FEATURES, generator=generator)
    edges = torch.randint(nodes, (2, 2 * nodes), generator=generator)
    edges = edges[:, edges[0] != edges[1]].unique(dim=1)
    return Graph(x, edges)


def batch() -> tuple[Graph, list[Graph]]:
    """A disjoint union, and its graphs."""
    singles = [single(nodes, key) for key, nodes in enumerate(SIZES)]
    starts = torch.tensor([0, *SIZES]).cumsum(0).tolist()
    edges = [each.edge_index + start for each, start in zip(singles, starts, strict=False)]
    graph_of = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    x = torch.cat([each.x for each in singles])
    return Graph(x, torch.cat(edges, 1), graph_of, len(SIZES)), singles


@either_head
@every_model
def test_node_tasks_give_a_row_per_node(name, head):
    output = build(name, head=head, layers=3)(single(12))
    hidden = 3 if head == "linear" and name != "graph_mlp" else 2
    assert output.logits.shape == (12, CLASSES)
    assert list(output.features) == [f"hidden{n + 1}" for n in range(hidden)]
    assert all(states.shape[0] == 12 for states in output.features.values())


@either_head
@every_model
def test_graph_tasks_give_a_row_per_graph_that_does_not_see_the_others(name, head):
    network, (union, singles) = build(name, head=head).eval(), batch()
    output = network(union)
    assert output.logits.shape == (len(SIZES), CLASSES)
    assert list(output.features)[-1] == "pooled"
    assert output.features["pooled"].shape[0] == len(SIZES)
    for row, each in enumerate(singles):
        nodes = torch.zeros(each.num_nodes, dtype=torch.int64)
        alone = network(Graph(each.x, each.edge_index, nodes, 1))
        torch.testing.assert_close(alone.logits[0], output.logits[row], rtol=1e-5, atol=1e-5)


@either_head
@every_model
def test_the_order_of_nodes_and_edges_does_not_matter(name, head):
    given, network = single(12), build(name, head=head).eval()
    order = torch.randperm(12, generator=keyed_generator(0, "order"))
    place = order.argsort()
    shuffled = Graph(given.x[order], place[given.edge_index].flip(1))
    torch.testing.assert_close(
        network(shuffled).logits, network(given).logits[order], rtol=1e-5, atol=1e-5
    )
    nodes = torch.zeros(12, dtype=torch.int64)
    both = [Graph(each.x, each.edge_index, nodes, 1) for each in (given, shuffled)]
    logits = [network(each).logits for each in both]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "sum", "max"])
def test_readouts_agree_with_torch_geometric(kind):
    pool = pytest.importorskip("torch_geometric.nn.pool")
    theirs = "add" if kind == "sum" else kind
    union, _ = batch()
    union = Graph(union.x, union.edge_index, union.graph_of, len(SIZES) + 2)  # two without nodes
    results = []
    for function in (
        lambda h: read_out(union, h, kind),
        lambda h: getattr(pool, f"global_{theirs}_pool")(h, union.graph_of, union.graphs),
    ):
        h = union.x.clone().requires_grad_()
        rows = function(h)
        rows.square().sum().backward()
        results.append((rows, h.grad))
    assert results[0][0].shape == (len(SIZES) + 2, FEATURES)
    for own, other in zip(*results, strict=True):
        torch.testing.assert_close(own, other)


@every_model
def test_only_seeds_are_answered_for(name):
    given, network = single(12), build(name).eval()
    sampled = Graph(given.x, given.edge_index, seeds=5)
    output, whole = network(sampled), network(given)
    assert torch.equal(output.logits, whole.logits[:5])
    for key, states in output.features.items():
        assert torch.equal(states, whole.features[key][:5])


@pytest.mark.parametrize("nodes", [1, 3])
@every_model
def test_graphs_without_edges_train(name, nodes):
    given = Graph(torch.ones(nodes, FEATURES), torch.empty(2, 0, dtype=torch.int64))
    network = build(name, norm="batch")
    network(given).logits.square().sum().backward()
    for key, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
    assert torch.isfinite(network.eval()(given).logits).all()


def test_a_single_node_leaves_running_statistics_alone():
    network = build("gcn", norm="batch")
    network(Graph(torch.ones(1, FEATURES), torch.empty(2, 0, dtype=torch.int64)))
    assert network.norms[0].num_batches_tracked == 0
    network(single(2))
    assert network.norms[0].num_batches_tracked == 1


@pytest.mark.parametrize("head", ["operator", "linear"])
@every_model
def test_every_parameter_learns(name, head):
    network = build(name, head=head, norm="batch")
    F.cross_entropy(network(single(40)).logits, torch.arange(40) % CLASSES).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        # What comes just before a batch normalisation does not see a shift.
        if not key.endswith("bias"):
            assert parameter.grad.abs().sum() > 0, key


def another(argument: str, default: Any) -> Any:
    """A legal value that differs from the default."""
    if argument in ("hidden", "layers", "heads", "last_heads"):
        return default + 1
    if argument in ("dropout", "input_dropout", "attention_dropout"):
        return 0.3
    names = {
        "norm": ("none", "batch"),
        "head": ("operator", "linear"),
        "jump": ("none", "cat"),
        "readout": ("mean", "max"),
    }
    return next(name for name in names[argument] if name != default)


@pytest.mark.parametrize(
    ("name", "argument"),
    [(info.name, key) for info in GRAPH_MODELS.describe() for key in info.arguments],
)
def test_every_argument_changes_the_output(name, argument):
    defaults = {info.name: info.arguments for info in GRAPH_MODELS.describe()}[name]
    outputs = []
    for arguments in ({}, {argument: another(argument, defaults[argument])}):
        with seeded_rng(0, "weights"):
            network = GRAPH_MODELS.build(name, FEATURES, CLASSES, arguments)
        with seeded_rng(0, "dropout"):
            outputs.append(network(batch()[0]).logits)
    assert not torch.allclose(*outputs)


def test_dropout_is_for_training_only():
    given, network = single(12), build("gat")
    assert not torch.equal(network(given).logits, network(given).logits)
    network.eval()
    assert torch.equal(network(given).logits, network(given).logits)


@every_model
def test_lower_precision_is_taken(name):
    given, network = single(12), build(name).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(given).logits
        logits.float().square().sum().backward()
    torch.testing.assert_close(logits.float(), network(given).logits, rtol=0.1, atol=0.1)
    assert all(p.grad.dtype == torch.float32 for p in network.parameters() if p.grad is not None)


def test_jumping_connections_need_a_linear_head():
    with pytest.raises(ValueError, match="jump = 'cat': needs head = 'linear'"):
        build("gin", jump="cat", head="operator")


def test_a_perceptron_reads_features_alone_and_ignores_edges():
    given, network = single(12), build("graph_mlp").eval()
    logits = network(given.x).logits
    torch.testing.assert_close(logits, network(given).logits)
    assert torch.equal(network(Graph(given.x, given.edge_index.flip(0))).logits, logits)
    sparse = Graph(given.x.to_sparse_csr(), given.edge_index)
    torch.testing.assert_close(network(sparse).logits, logits, rtol=1e-5, atol=1e-5)
    rows = torch.export.Dim("rows")
    program = torch.export.export(network, (given.x[:3],), dynamic_shapes=({0: rows},))
    torch.testing.assert_close(program.module()(given.x).logits, logits)
