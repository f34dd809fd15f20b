"""Heads of UNO: cosines to prototypes, and the best of several heads."""

import pytest
import torch
import torch.nn.functional as F

from peerlearn.objectives.base import PeerView
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.discovery.networks import Prototypes, UnoHeads
from peerlearn.tasks.discovery.objectives.uno import UnoObjective, UnoSpec

SMALL = {"hidden": 16, "projected": 8}
TARGETS = torch.tensor([0, -1, 1, -1, -1] * 2)


def heads(**options):
    with seeded_rng(0):
        return UnoHeads(12, 3, 4, **SMALL | options)


def pooled(rows=10):
    return torch.randn(rows, 12, generator=torch.Generator().manual_seed(0))


def test_prototypes_give_cosines_over_the_temperature_whatever_the_norms():
    with seeded_rng(0):
        layer, x = Prototypes(5, 3, 0.1), torch.randn(4, 5)
    expected = F.cosine_similarity(x[:, None], layer.weight[None], dim=2) / 0.1
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        layer.weight *= 7
    torch.testing.assert_close(layer(3 * x), expected)


def test_shapes_are_those_that_the_objective_reads():
    output = heads()(pooled())
    assert output.logits.shape == (10, 7)
    assert output.features["heads"].shape == (10, 4, 4)
    assert output.features["over"].shape == (10, 4, 12)
    loss = UnoObjective(UnoSpec(), 3).loss(PeerView.of(output, TARGETS))
    loss.backward()
    assert torch.isfinite(loss)


def test_every_parameter_learns():
    network = heads()
    UnoObjective(UnoSpec(), 3).loss(PeerView.of(network(pooled()), TARGETS)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_without_over_clustering_there_are_no_such_heads():
    network = heads(over_factor=0)
    assert "over" not in network(pooled()).features
    assert len(list(network.parameters())) < len(list(heads().parameters()))


def test_logits_are_those_of_the_head_with_the_lowest_loss_so_far():
    network = heads(heads=3)
    for losses in ([3.0, 2.0, 1.0], [1.0, 0.5, 4.0], [1.0, 0.5, 4.0]):
        network.record(torch.tensor(losses))
    output = network(pooled())
    assert torch.equal(output.logits[:, 3:], output.features["heads"][:, 1])
    again = heads(heads=3)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(pooled()).logits, output.logits), "the choice is kept with the weights"


def test_evaluation_records_nothing():
    network = heads().eval()
    network.record(torch.tensor([3.0, 2.0, 1.0, 4.0]))
    assert not network.losses.any()


@pytest.mark.parametrize("options", [{"temperature": 0.5}, {"heads": 1}, {"hidden": 20}])
def test_every_option_changes_the_outputs(options):
    found, before = heads(**options)(pooled()), heads()(pooled())
    assert found.features["heads"].shape != before.features["heads"].shape or not torch.equal(
        found.logits, before.logits
    )
