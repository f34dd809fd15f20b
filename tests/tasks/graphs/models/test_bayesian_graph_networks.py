"""Graph networks with posteriors: every one of the registry, and runs of the recipes."""

import copy
from typing import Any

import pytest
import torch
from overriding import parsed

from peerlearn.models.bayesian import BayesianNetwork, kl_divergence, mean_mode, to_bayesian
from peerlearn.randomness import seeded_rng
from peerlearn.systems.registry import find_recipe
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models import GRAPH_MODELS


def graph(sparse: bool) -> Graph:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 6, generator=generator).relu()
    ring = torch.arange(12)
    edges = torch.cat([torch.stack([ring, ring.roll(1)]), torch.stack([ring.roll(1), ring])], 1)
    return Graph(x.to_sparse_csr() if sparse else x, edges)


@pytest.mark.parametrize("name", GRAPH_MODELS.names)
@pytest.mark.parametrize("sparse", [False, True])
def test_every_graph_network_has_a_bayesian_form(name: str, sparse: bool) -> None:
    rows = graph(sparse)
    with seeded_rng(0):
        plain = GRAPH_MODELS.build(name, 6, 3).eval()
    drawn = to_bayesian(copy.deepcopy(plain), std=1e-9).eval()
    peer = BayesianNetwork(drawn, test_samples=2).eval()
    with torch.no_grad():
        expected = plain(rows).logits
        assert torch.allclose(drawn(rows).logits, expected, atol=1e-6)
        with mean_mode(drawn):
            assert torch.equal(drawn(rows).logits, expected)
        assert torch.equal(peer.mean_network().eval()(rows).logits, expected)
    assert type(peer.mean_network()) is type(plain)
    wide = to_bayesian(copy.deepcopy(plain), std=0.3).train()
    output = BayesianNetwork(wide)(rows)
    (output.logits.square().sum() + kl_divergence(wide)).backward()
    rhos = [p for key, p in wide.named_parameters() if key.endswith("_rho")]
    assert rhos and all(rho.grad is not None and rho.grad.isfinite().all() for rho in rhos)


def test_a_peer_on_a_graph_may_be_bayesian() -> None:
    recipe, given = find_recipe("gml-mlp")
    words: list[Any] = ["epochs=2", "threads=1", "peers.gat=null", "peers.sage=null"]
    words += ["transfer={edges: all}", "peers.gcn.bayesian={test_samples: 2, kl_weight: 0.001}"]
    words += ["evaluation.select=last"]
    trainer = recipe.build(recipe.resolve(given, parsed(*words)))
    block = trainer.run().block
    assert 0 <= block["peers"]["gcn"]["accuracy"] <= 1
    assert "mutual_information" in block["peers"]["gcn"]
    assert "mutual_information" not in block["peers"]["mlp"]
