"""Edges that teach features: what they compare, whom they train, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.errors import InputError
from peerlearn.randomness import seeded_rng
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.knowledge.features import attention, hint, similarity, to_common_size

ROWS = 6


def maps(*shape, seed=0):
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(seed))


class Net(nn.Module):
    """A convolution whose map it names, and a classifier on its mean."""

    def __init__(self, channels, stride=1):
        super().__init__()
        self.stage = nn.Conv2d(3, channels, 3, stride, padding=1)
        self.head = nn.Linear(channels, 4)

    def forward(self, x):
        stage = self.stage(x)
        pooled = stage.mean((2, 3))
        return PeerOutput(self.head(pooled), {"stage": stage, "pooled": pooled})


def cohort(transfer, **nets):
    with seeded_rng(0):
        made = Cohort(nets or {"a": Net(8), "b": Net(5, stride=2)}, transfer)
        made.transfer.prepare(made(maps(3, 8, 8)))
    return made


def transfer_losses(made, x):
    return made.transfer.losses(made(x), torch.zeros(ROWS, dtype=torch.int64))


# Losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [hint, attention, similarity])
def test_equal_maps_have_nothing_to_teach(loss):
    assert loss(maps(4, 5, 5), maps(4, 5, 5)).tolist() == [0] * ROWS


def test_a_hint_is_the_mean_squared_difference():
    a, b = maps(4, 5, 5), maps(4, 5, 5, seed=1)
    torch.testing.assert_close(hint(a, b).mean(), F.mse_loss(a, b))


def test_attention_does_not_see_scale_nor_the_number_of_channels():
    a, b = maps(4, 5, 5), maps(7, 5, 5, seed=1)
    torch.testing.assert_close(attention(3 * a, 0.2 * b), attention(a, b))
    assert attention(a, a.flip(1)).max() < 1e-12 < attention(a, a.flip(2)).min()


def test_attention_by_hand():
    a = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]]])
    b = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    first = torch.tensor([9.0, 4.0, 0.0, 0.0]) / (81 + 16) ** 0.5
    expected = (first - torch.tensor([1.0, 0, 0, 0])).square().mean()
    torch.testing.assert_close(attention(a, b), expected[None])


def test_similarity_sees_how_rows_relate_and_not_the_axes_of_features():
    a = maps(4, 5, 5)
    turned = a.flatten(1)[:, torch.randperm(100, generator=torch.Generator().manual_seed(2))]
    torch.testing.assert_close(similarity(a, 2 * turned), torch.zeros(ROWS), atol=1e-12, rtol=0)
    assert similarity(a, maps(9, 2, 2, seed=1)).min() > 0


def test_maps_meet_at_the_smaller_height_and_width():
    a, b = to_common_size(maps(2, 8, 4), maps(3, 4, 6))
    assert (a.shape[2:], b.shape[2:]) == ((4, 4), (4, 4))
    torch.testing.assert_close(a, F.avg_pool2d(maps(2, 8, 4), (2, 1)))


def test_a_vector_meets_a_map_at_its_mean():
    a, b = to_common_size(maps(4, 5, 5), maps(4, seed=1))
    torch.testing.assert_close(a, maps(4, 5, 5).mean((2, 3)))
    assert b is not None and torch.equal(b, maps(4, seed=1))


# Edges -----------------------------------------------------------------------------------------

FORMS = ["hint", "attention", "similarity"]


@pytest.mark.parametrize("form", FORMS)
def test_a_learner_is_trained_and_its_teacher_is_not(form):
    edge = {"from": "a", "to": "b", "knowledge": "features", "feature_loss": form}
    made = cohort({"edges": [edge]})
    transfer_losses(made, maps(3, 8, 8))["b"].backward()
    assert all(p.grad is None for p in made.peers["a"].parameters())
    assert made.peers["b"].stage.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("form", FORMS)
def test_a_learners_loss_holds_no_graph_of_its_teacher(form):
    """What the teacher's forward kept can go as soon as the teacher's own loss is done."""
    edge = {"from": "a", "to": "b", "knowledge": "features", "feature_loss": form}
    made = cohort({"edges": [edge]})
    reached = leaves_of(transfer_losses(made, maps(3, 8, 8))["b"])
    assert reached.isdisjoint(map(id, made.peers["a"].parameters()))
    assert id(made.peers["b"].stage.weight) in reached


def leaves_of(loss):
    """Every parameter in the graph of a loss, whether or not a gradient flows to it."""
    nodes, seen, leaves = [loss.grad_fn], set(), set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        nodes += [parent for parent, _ in node.next_functions]
    return leaves


@pytest.mark.parametrize("form", FORMS)
def test_a_teacher_is_trained_where_the_edge_says_so(form):
    edge = {"from": "a", "to": "b", "knowledge": "features", "feature_loss": form}
    made = cohort({"edges": [edge | {"detach": False}]})
    transfer_losses(made, maps(3, 8, 8))["b"].backward()
    assert made.peers["a"].stage.weight.grad.abs().sum() > 0


def test_hints_between_maps_of_different_width_have_adapters_that_train_with_the_learner():
    made = cohort("features: hint", a=Net(8), b=Net(5, stride=2), c=Net(8))
    (entry,) = made.transfer.entries
    shapes = {key: tuple(part.weight.shape) for key, part in entry.adapters.items()}
    assert shapes == {  # learner : teacher; none between a and c, which are equally wide
        "a:b": (5, 8, 1, 1),
        "b:a": (8, 5, 1, 1),
        "b:c": (8, 5, 1, 1),
        "c:b": (5, 8, 1, 1),
    }
    assert len(made.transfer.parameters_of("b")) == 4
    losses = transfer_losses(made, maps(3, 8, 8))
    losses["b"].backward()
    grads = {key: part.weight.grad for key, part in entry.adapters.items()}
    assert {key for key, grad in grads.items() if grad is not None} == {"b:a", "b:c"}


def test_peers_carry_no_adapter():
    made = cohort("features: hint")
    assert set(made.peers["a"].state_dict()) == set(Net(8).state_dict())


def test_an_adapter_starts_the_same_for_every_arm_with_the_same_seed():
    one, other = cohort("features: hint"), cohort("features: hint")
    for a, b in zip(one.transfer.parameters(), other.transfer.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_loss_is_the_mean_or_the_sum_over_teachers():
    nets = {"a": Net(8), "b": Net(8), "c": Net(8)}
    edge = {"from": ["b", "c"], "to": "a", "knowledge": "features", "weight": 0.5}
    made, x = cohort({"edges": [edge]}, **nets), maps(3, 8, 8)
    features = {name: made(x)[name].features["stage"] for name in nets}
    each = [F.mse_loss(features["a"], features[t]) for t in ("b", "c")]
    torch.testing.assert_close(transfer_losses(made, x)["a"], 0.5 * (each[0] + each[1]) / 2)
    made.transfer = TransferGraph({"edges": [edge | {"target": "sum"}]}, list(nets))
    made.transfer.prepare(made(x))
    torch.testing.assert_close(transfer_losses(made, x)["a"], 0.5 * (each[0] + each[1]))


def test_last_is_the_last_map_before_pooling():
    named = cohort({"knowledge": "features", "layer": "stage"})
    last = cohort("features: hint")
    x = maps(3, 8, 8)
    assert torch.equal(transfer_losses(named, x)["a"], transfer_losses(last, x)["a"])


def test_layers_may_differ_between_the_two_peers():
    layers = {"from": "pooled", "to": "stage"}
    made = cohort({"edges": [{"from": "a", "to": "b", "knowledge": "features", "layer": layers}]})
    assert torch.isfinite(transfer_losses(made, maps(3, 8, 8))["b"])


def test_features_in_half_precision_are_compared_in_fp32():
    made, x = cohort("features: hint"), maps(3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = made(x)
    assert outputs["a"].features["stage"].dtype == torch.bfloat16
    losses = made.transfer.losses(outputs, torch.zeros(ROWS, dtype=torch.int64))
    assert losses["a"].dtype == torch.float32
    torch.testing.assert_close(losses["a"], transfer_losses(made, x)["a"], rtol=0.05, atol=0.01)


def test_predictions_and_features_of_one_learner_add_up():
    features = {"from": "a", "to": "b", "knowledge": "features"}
    predictions = {"from": "a", "to": "b"}
    x = maps(3, 8, 8)
    both, one, other = (
        transfer_losses(cohort({"edges": edges}), x)["b"]
        for edges in ([features, predictions], [features], [predictions])
    )
    torch.testing.assert_close(both, one + other)


def test_a_weight_of_zero_leaves_features_alone():
    made = cohort({"knowledge": "features", "weight": 0})
    assert transfer_losses(made, maps(3, 8, 8))["a"] == 0


def test_edges_describe_their_layers_for_reports():
    edge = {"from": "a", "to": "b", "knowledge": "features", "layer": {"from": "x", "to": "y"}}
    (described,) = TransferGraph({"edges": [edge]}, ["a", "b"]).edges()
    assert described == {
        "from": "a", "to": "b", "knowledge": "features", "divergence": "hint", "layer": "x → y",
        "weight": "1", "target": "mean",
    }  # fmt: skip


class Plain(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Token(nn.Module):
    def forward(self, x):
        return PeerOutput(x.mean((2, 3)), {"tokens": x.flatten(2)})


REFUSED = {
    "no such layer": ({"layer": "stagee"}, {}, "transfer.layer: unknown layer of peer.*'stage'"),
    "a peer without features": ({}, {"b": Plain()}, "peer 'b' gives no features"),
    "a vector for attention": (
        {"layer": "pooled", "feature_loss": "attention"}, {},
        r"'pooled' of peer 'b' has shape \(6, 5\).*attention compares maps",
    ),
    "tokens for a hint": ({}, {"b": Token()}, r"'tokens' of peer 'b' has shape \(6, 3, 64\)"),
}  # fmt: skip


@pytest.mark.parametrize("given, nets, message", REFUSED.values(), ids=REFUSED)
def test_features_that_cannot_be_compared_are_refused(given, nets, message):
    with pytest.raises(InputError, match=message):
        cohort({"knowledge": "features"} | given, **({"a": Net(8), "b": Net(5)} | nets))


def test_hints_ask_to_be_prepared():
    made = Cohort({"a": Net(8), "b": Net(5)}, "features: hint")
    with pytest.raises(InputError, match="prepare"):
        transfer_losses(made, maps(3, 8, 8))
