"""Node features: sparse ones give what dense ones give, dropout is dropout, raw ones are shared."""

import pytest
import torch
import torch.nn.functional as F

from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models import GRAPH_MODELS, propagation
from peerlearn.tasks.graphs.models.features import (
    Projection,
    SparseFeatures,
    dropout,
    input_features,
    kept,
)

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")

NODES, COLUMNS = 50, 20


def dense() -> torch.Tensor:
    generator = keyed_generator(0, "features")
    x = torch.randn(NODES, COLUMNS, generator=generator)
    x = x * (torch.rand(x.shape, generator=generator) < 0.2)
    x[7], x[:, 3] = 0, 0  # a node without features, a feature that no node has
    return x


def graph(sparse: bool) -> Graph:
    edges = torch.randint(NODES, (2, 150), generator=keyed_generator(0, "edges")).unique(dim=1)
    return Graph(dense().to_sparse_csr() if sparse else dense(), edges)


def as_dense(sparse: SparseFeatures) -> torch.Tensor:
    offsets, columns, values = sparse.rows
    rows = torch.arange(NODES).repeat_interleave(offsets.diff())
    return torch.zeros(NODES, COLUMNS).index_put((rows, columns), values)


def test_sparse_and_dense_features_give_one_product_and_one_gradient():
    with seeded_rng(0, "weights"):
        projection = Projection(COLUMNS, 7)
    results = []
    for sparse in (True, False):
        projection.zero_grad()
        product = projection(input_features(graph(sparse), 0.0))
        product.square().sum().backward()
        results.append((product.detach(), projection.weight.grad))
    for sparse, plain in zip(*results, strict=True):
        torch.testing.assert_close(sparse, plain, rtol=1e-5, atol=1e-5)
    assert projection.weight.grad[3].abs().sum() == 0


def test_gradients_of_sparse_features_see_the_dropout_of_the_forward():
    with seeded_rng(0, "weights"):
        projection = Projection(COLUMNS, 7)
    with seeded_rng(0, "dropout"):
        dropped = input_features(graph(True), 0.5)
    projection(dropped).square().sum().backward()
    x, weight = as_dense(dropped), projection.weight.detach().clone().requires_grad_()
    (x @ weight).square().sum().backward()
    torch.testing.assert_close(projection.weight.grad, weight.grad, rtol=1e-5, atol=1e-5)
    assert 0 < (x != 0).sum() < (dense() != 0).sum()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.6, 0.999])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate):
    with seeded_rng(0, "dropout"):
        mask = kept(torch.empty(401, 1003), rate)
    chance = (mask > 0).float().mean().item()
    assert chance == pytest.approx(1 - rate, abs=5 * (rate * (1 - rate) / mask.numel()) ** 0.5)
    assert len(mask.unique()) == 2 and mask.min() == 0
    assert mask.max().item() == pytest.approx(1 / (1 - rate), rel=1e-2 if rate > 0.99 else 1e-4)
    exactly = round((1 - rate) * 2**16) / 2**16
    assert mask.max().item() * exactly == pytest.approx(1, rel=1e-6)


def test_dropout_of_one_value_says_nothing_of_its_neighbours():
    with seeded_rng(0, "dropout"):
        lanes = (kept(torch.empty(100_000, 4), 0.5) > 0).float()
    correlation = torch.corrcoef(torch.cat([lanes[:-1], lanes[1:]], 1).T)
    assert (correlation - torch.eye(8)).abs().max() < 0.02
    assert (lanes.mean(0) - 0.5).abs().max() < 0.01  # every 16 bits of a draw alike


@pytest.mark.parametrize("shape", [(0,), (1,), (5, 3), (2, 3, 7)])
def test_dropout_takes_any_shape_and_follows_the_generator(shape):
    h = torch.ones(shape).requires_grad_()
    results = []
    for _ in range(2):
        with seeded_rng(1, "dropout"):
            results.append(dropout(h, 0.5))
    assert results[0].shape == shape and torch.equal(*results)
    results[0].sum().backward()
    assert torch.equal(h.grad, results[0].detach())
    assert dropout(h, 0) is h


def test_a_hardly_noticeable_rate_keeps_everything():
    with seeded_rng(0, "dropout"):
        assert torch.equal(kept(torch.empty(10_000), 1e-9), torch.ones(10_000))


def test_dropout_of_sparse_features_has_the_distribution_of_dense_dropout():
    given, total = graph(True), torch.zeros(NODES, COLUMNS)
    with seeded_rng(0, "dropout"):
        for _ in range(400):
            total += as_dense(input_features(given, 0.6))
    deviation = dense().abs() * (0.6 / 0.4 / 400) ** 0.5
    assert ((total / 400 - dense()).abs() <= 5 * deviation).all()


def test_raw_dense_features_are_propagated_once_for_all_peers_and_steps(monkeypatch):
    products = []
    multiply = propagation.multiply
    given = graph(False)

    def counted(matrix, h):
        products.extend([h] if h is given.x else [])
        return multiply(matrix, h)

    monkeypatch.setattr(propagation, "multiply", counted)
    peers = [GRAPH_MODELS.build("sage", COLUMNS, 3, {"input_dropout": 0.0}) for _ in "abc"]
    for peer in peers * 2:
        peer(given)
    assert len(products) == 1
    dropped = GRAPH_MODELS.build("sage", COLUMNS, 3)
    dropped(given)
    assert len(products) == 1
    dropped.eval()(given)  # no dropout in evaluation, so the same product
    assert len(products) == 1


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("name", ["gcn", "gat", "sage", "gin", "graph_mlp"])
def test_what_evaluation_made_can_be_trained_on(name, sparse):
    network, given = GRAPH_MODELS.build(name, COLUMNS, 3, {"input_dropout": 0.0}), graph(sparse)
    pooled = Graph(given.x, given.edge_index, torch.arange(NODES) // 10, 5)
    with torch.inference_mode():
        network.eval()(given)
        network(pooled)
    F.cross_entropy(network.train()(given).logits, torch.arange(NODES) % 3).backward()
    F.cross_entropy(network(pooled).logits, torch.arange(5) % 3).backward()


def test_features_that_do_not_fit_the_network_are_refused():
    network = GRAPH_MODELS.build("gcn", COLUMNS + 1, 3)
    with pytest.raises(ValueError, match="have 20 features; the network reads 21"):
        network(graph(True))
