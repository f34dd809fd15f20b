"""Graph operators against torch-geometric's, with equal weights, and on graphs with odd shapes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.gat import GATOperator, attend, head_edges
from peerlearn.tasks.graphs.models.propagation import propagate
from peerlearn.tasks.graphs.models.registry import (
    GRAPH_MODELS,
    GCNOperator,
    GINOperator,
    SAGEOperator,
)

pyg = pytest.importorskip("torch_geometric.nn")
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")

NODES, FEATURES, COLUMNS = 23, 9, 6
SHAPES = {"directed": (60, False), "with self-loops": (60, True), "no edges": (0, False)}


def edges(shape: str) -> torch.Tensor:
    """Random edges among all nodes but the last three, which are isolated."""
    count, loops = SHAPES[shape]
    drawn = torch.randint(NODES - 3, (2, count), generator=keyed_generator(0, "edges"))
    if loops:
        drawn = torch.cat([drawn, torch.arange(0, 10, 2).expand(2, -1)], 1)
    else:
        drawn = drawn[:, drawn[0] != drawn[1]]
    return drawn.unique(dim=1)


def features(columns: int = FEATURES) -> torch.Tensor:
    generator = keyed_generator(0, "features")
    x = torch.randn(NODES, columns, generator=generator)
    return x * (torch.rand(x.shape, generator=generator) < 0.4)


def graph(shape: str, sparse: bool, columns: int = FEATURES) -> Graph:
    x = features(columns)
    return Graph(x.to_sparse_csr() if sparse else x, edges(shape))


class Single(nn.Module):
    """An operator on its own, called with a graph."""

    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, graph: Graph, raw: bool = True) -> torch.Tensor:
        from peerlearn.tasks.graphs.models.features import input_features

        h = input_features(graph, 0.0)
        return self.operator(graph, h if raw else h.clone())


def gcn_pair(columns):
    own, other = GCNOperator(FEATURES, columns), pyg.GCNConv(FEATURES, columns)
    other.lin.weight.data = own.projection.weight.data.t().clone()
    return own, other, {"projection.weight": other.lin.weight, "bias": other.bias}


def sage_pair(columns):
    own, other = SAGEOperator(FEATURES, columns), pyg.SAGEConv(FEATURES, columns)
    other.lin_l.weight.data = own.neighbours.weight.data.t().clone()
    other.lin_r.weight.data = own.own.weight.data.t().clone()
    pairs = {"neighbours.weight": other.lin_l.weight, "own.weight": other.lin_r.weight}
    return own, other, pairs | {"bias": other.lin_l.bias}


def gat_pair(columns, concatenate):
    own = GATOperator(FEATURES, columns, heads=3, concatenate=concatenate)
    other = pyg.GATConv(FEATURES, columns, heads=3, concat=concatenate)
    other.lin.weight.data = own.projection.weight.data.t().clone()
    other.att_src.data = own.attention.data[None, :, :, 0].clone()
    other.att_dst.data = own.attention.data[None, :, :, 1].clone()
    return own, other, {"projection.weight": other.lin.weight, "bias": other.bias}


def gin_pair(columns):
    own = GINOperator(FEATURES, columns, inner=columns, norm="batch")
    first, last = nn.Linear(FEATURES, columns), nn.Linear(columns, columns)
    mlp = nn.Sequential(first, nn.BatchNorm1d(columns), nn.ReLU(), last)
    other = pyg.GINConv(mlp, train_eps=True)  # draws the weights of `mlp` anew
    first.weight.data = own.projection.weight.data.t().clone()
    last.load_state_dict(own.output.state_dict())
    own.eps.data.fill_(0.3)
    other.eps.data.fill_(0.3)
    pairs = {"projection.weight": first.weight, "eps": other.eps, "output.weight": last.weight}
    return own, other, pairs | {"norm.weight": mlp[1].weight}


PAIRS = {
    "gcn": gcn_pair,
    "sage": sage_pair,
    "gat": lambda columns: gat_pair(columns, True),
    "gat mean": lambda columns: gat_pair(columns, False),
    "gin": gin_pair,
}


def both(name: str, columns: int, shape: str):
    with seeded_rng(0, "weights"):
        own, other, pairs = PAIRS[name](columns)
    with torch.no_grad():
        for key in ("bias", "lin_l.bias", "nn.0.bias"):
            bias = dict(other.named_parameters()).get(key)
            if bias is not None:
                own.bias.copy_(torch.linspace(-1, 1, len(bias)))
                bias.copy_(own.bias)
    return Single(own), other, {f"operator.{key}": value for key, value in pairs.items()}


@pytest.mark.parametrize("columns", [COLUMNS, 2 * FEATURES])  # either order of multiplication
@pytest.mark.parametrize("input_", ["sparse", "dense", "dense and dropped"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PAIRS)
def test_operators_agree_with_torch_geometric_in_value_and_gradient(name, shape, input_, columns):
    own, other, pairs = both(name, columns, shape)
    given = graph(shape, input_ == "sparse")
    links = edges(shape)
    if name == "sage":  # a node is not its own neighbour
        links = links[:, links[0] != links[1]]
    out, expected = own(given, raw=input_ != "dense and dropped"), other(features(), links)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(expected.shape, generator=keyed_generator(0, "weights of the loss"))
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    for key, parameter in pairs.items():
        gradient = (
            parameter.grad.t() if parameter.ndim == 2 and "output" not in key else (parameter.grad)
        )
        found = own.get_parameter(key).grad.view(gradient.shape)
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-4, msg=key)
    if name.startswith("gat"):
        gradient = torch.stack([other.att_src.grad[0], other.att_dst.grad[0]], -1)
        torch.testing.assert_close(own.operator.attention.grad, gradient, rtol=1e-4, atol=1e-4)


def test_two_layers_of_gat_agree_with_torch_geometric():
    with seeded_rng(0, "weights"):
        own = GRAPH_MODELS.build("gat", FEATURES, 4, {"hidden": 5, "heads": 3, "last_heads": 2})
    layers = [*own.operators, own.head]
    others = [
        pyg.GATConv(FEATURES, 5, heads=3),
        pyg.GATConv(15, 4, heads=2, concat=False),
    ]
    for layer, other in zip(layers, others, strict=True):
        other.lin.weight.data = layer.projection.weight.data.t().clone()
        other.att_src.data = layer.attention.data[None, :, :, 0].clone()
        other.att_dst.data = layer.attention.data[None, :, :, 1].clone()
    hidden = F.elu(others[0](features(), edges("directed")))
    expected = others[1](hidden, edges("directed"))
    output = own.eval()(graph("directed", sparse=True))
    torch.testing.assert_close(output.features["hidden1"], hidden, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_of_attention_is_that_of_its_values(masked):
    edges_ = head_edges(graph("directed", sparse=False), heads=2)
    generator = keyed_generator(0, "attention")
    rows, count = 2 * NODES, len(edges_.senders)
    h = torch.randn(rows, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    scores = torch.randn(rows, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    mask = 2.0 * (torch.rand(count, dtype=torch.float64, generator=generator) < 0.5)
    function = lambda h, scores: attend(h, scores, edges_, 0.2, mask if masked else None)  # noqa: E731
    assert torch.autograd.gradcheck(function, (h, scores))


def test_attention_with_scores_far_apart_stays_finite():
    edges_ = head_edges(graph("directed", sparse=False), heads=1)
    h = torch.randn(NODES, 3, generator=keyed_generator(0, "h"), requires_grad=True)
    scores = torch.linspace(-900, 900, 2 * NODES).view(NODES, 2).requires_grad_()
    out = attend(h, scores, edges_, 0.2)
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(h.grad).all()
    assert torch.isfinite(scores.grad).all()
    # A softmax of weights, so no row leaves the range of what it averages.
    assert out.amax() <= h.amax() + 1e-5 and out.amin() >= h.amin() - 1e-5


@pytest.mark.parametrize("kind", ["gcn", "mean", "sum"])
def test_propagation_is_differentiable_twice(kind):
    given = graph("directed", sparse=False)
    h = torch.randn(NODES, 3, dtype=torch.float64, generator=keyed_generator(0, "h"))
    check = lambda h: propagate(given, kind, h).square()  # noqa: E731
    assert torch.autograd.gradcheck(check, h.requires_grad_())
    assert torch.autograd.gradgradcheck(check, h)


def test_a_node_without_neighbours_sees_only_itself():
    given = graph("directed", sparse=False)
    alone = Graph(given.x[-3:], torch.empty(2, 0, dtype=torch.int64))
    for name in ("gcn", "gat", "sage", "gin"):
        network = GRAPH_MODELS.build(name, FEATURES, 4).eval()
        torch.testing.assert_close(network(given).logits[-3:], network(alone).logits)
