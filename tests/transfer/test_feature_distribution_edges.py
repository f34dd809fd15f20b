"""Edges about feature distributions: what is fused, how far it is apart, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.errors import InputError
from peerlearn.randomness import seeded_rng
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.divergences import kl
from peerlearn.transfer.knowledge.feature_distributions import (
    FeatureDistributionKnowledge,
    Fusion,
    others_likeness,
    over_units,
)

ROWS = 6
X = torch.randn(ROWS, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, -1, 2])
KIND = {"knowledge": "feature_distributions"}
EDGE = KIND | {"from": "a", "to": "b"}


class Net(nn.Module):
    """Two maps and a vector, all named."""

    def __init__(self, width=4):
        super().__init__()
        self.one = nn.Conv2d(1, width, 3, padding=1)
        self.two = nn.Conv2d(width, 2 * width, 3, stride=2)
        self.head = nn.Linear(2 * width, 3)

    def forward(self, x):
        one = self.one(x).relu()
        two = self.two(one).relu()
        pooled = two.mean((2, 3))
        return PeerOutput(self.head(pooled), {"one": one, "two": two, "pooled": pooled})


class Plain(nn.Module):
    """Vectors alone."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(36, 5), nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x):
        one = self.one(x.flatten(1)).relu()
        two = self.two(one).relu()
        return PeerOutput(self.head(two), {"one": one, "two": two})


def made(transfer, x=X, **peers):
    with seeded_rng(0):
        cohort = Cohort(peers or {"a": Net(), "b": Net(3)}, transfer)
        cohort.transfer.prepare(cohort(x), cohort.peers)
    return cohort


def taught(cohort, x=X, y=Y, **more):
    return cohort.transfer.losses(cohort(x), y, labelled=y >= 0, **more)


def entry_of(cohort) -> FeatureDistributionKnowledge:
    (entry,) = cohort.transfer.entries
    assert isinstance(entry, FeatureDistributionKnowledge)
    return entry


def signed(seed, rows=128, units=64):
    return torch.randn(rows, units, generator=torch.Generator().manual_seed(seed))


def apart(one, other, temperature=None):
    return kl(others_likeness(one, temperature), others_likeness(other, temperature)).mean()


# Distances -------------------------------------------------------------------------------------


def test_the_divergence_by_hand_is_a_mean_over_rows_without_the_diagonal():
    one, other = signed(0, 4, 3), signed(1, 4, 3)
    expected = torch.zeros(())
    for j in range(4):
        others = [i for i in range(4) if i != j]
        p, q = (
            torch.stack([0.5 * (F.cosine_similarity(f[i], f[j], dim=0) + 1) for i in others])
            for f in (one, other)
        )
        p, q = p / p.sum(), q / q.sum()
        expected += (p * (p / q).log()).sum() / 4
    torch.testing.assert_close(apart(one, other), expected)


def test_it_is_rows_times_the_mean_over_all_entries():
    """RepDistiller's PKT takes that mean; here a row counts the same in every batch."""
    one, other = signed(0), signed(1)
    log_p, log_q = (others_likeness(f, None) for f in (one, other))
    entries = torch.cat([log_p.exp() * (log_p - log_q), torch.zeros(128, 1)], 1)
    torch.testing.assert_close(apart(one, other), 128 * entries.mean())


def test_it_is_zero_for_equal_features_and_never_below():
    one = signed(0)
    assert apart(one, one) == 0 == apart(one, 3 * one).round(decimals=6)
    assert all(apart(signed(i, 8, 3), signed(i + 9, 8, 3)) > 0 for i in range(9))
    assert torch.isfinite(apart(torch.stack([one[0], -one[0], one[1]]), one[:3]))


def test_the_plain_kernel_is_almost_flat_which_centring_and_temperatures_mend():
    one, other = signed(0), signed(1)
    assert apart(one, other) == pytest.approx(0.016, abs=0.001)
    positive = one.abs(), other.abs()
    assert apart(*positive) == pytest.approx(0.0009, abs=0.0001)
    assert apart(one, other, 0.1) == pytest.approx(1.57, abs=0.1)
    centred = apart(*(f - f.mean(0) for f in positive))
    assert centred == pytest.approx(0.016, abs=0.002)


def test_a_direct_divergence_is_over_the_units_of_a_row():
    one = signed(0, 4, 3)
    torch.testing.assert_close(over_units(one, None).exp().sum(1), torch.ones(4))
    torch.testing.assert_close(over_units(one, 2.0), F.log_softmax(one / 2, 1))


# Fusion ----------------------------------------------------------------------------------------


def test_a_fusion_is_attention_of_the_last_feature_over_the_others():
    maps = [signed(i, 2, c * s * s).view(2, c, s, s) for i, (c, s) in enumerate([(3, 5), (4, 2)])]
    with seeded_rng(0):
        fusion = Fusion(maps, width=8, tokens=3, classes=0)
    pooled = F.adaptive_avg_pool2d(maps[0], 3)
    others, query = (
        F.conv2d(x, layer.weight[:, :, None, None], layer.bias).flatten(2).transpose(1, 2)
        for x, layer in zip((pooled, maps[1]), fusion.embeddings, strict=True)
    )
    assert (others.shape, query.shape) == ((2, 9, 8), (2, 4, 8))
    weight, bias = fusion.attention.in_proj_weight, fusion.attention.in_proj_bias
    q, k, v = (
        F.linear(x, w, b)
        for x, w, b in zip((query, others, others), weight.chunk(3), bias.chunk(3), strict=True)
    )
    seen = (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v
    expected = fusion.norm(query + fusion.attention.out_proj(seen)).mean(1)
    torch.testing.assert_close(fusion(maps), expected)


def test_vectors_are_fused_and_so_is_one_feature_alone():
    vectors = [signed(0, 5, 3), signed(1, 5, 7)]
    for features in (vectors, vectors[:1]):
        with seeded_rng(0):
            assert Fusion(features, 8, 3, 0)(features).shape == (5, 8)


# Losses and gradients --------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["attention", "none"])
@pytest.mark.parametrize("form", ["pkt", "direct_kl"])
def test_a_learner_is_pushed_with_its_fusion_and_its_teacher_is_not(fusion, form):
    peers = {"a": Net(), "b": Net()}
    cohort = made({"edges": [EDGE | {"fusion": fusion, "feature_divergence": form}]}, **peers)
    taught(cohort)["b"].backward()
    assert all(p.grad is None for p in cohort.peers["a"].parameters())
    assert cohort.peers["b"].two.weight.grad.any()
    entry = entry_of(cohort)
    assert bool(entry.parameters_of("b")) == (fusion == "attention")
    assert all(p.grad is None for p in entry.parameters_of("a"))
    assert all(p.grad is not None for p in entry.parameters_of("b"))


def test_the_loss_is_minus_the_logarithm_of_the_divergence():
    cohort = made({"edges": [EDGE | {"fusion": "none"}]})
    outputs = cohort(X)
    a, b = (outputs[name].features["two"].mean((2, 3)) for name in "ab")
    expected = -(apart(b - b.mean(0), a - a.mean(0)) + 1e-6).log()
    torch.testing.assert_close(taught(cohort)["b"], expected)


def test_peers_of_any_width_with_maps_or_without_are_compared():
    losses = taught(made(KIND, a=Net(), b=Plain(), c=Net(2)))
    assert all(loss.isfinite() and loss != 0 for loss in losses.values())


def test_a_step_moves_distributions_apart():
    cohort = made(KIND)
    optimiser = torch.optim.SGD(
        [*cohort.peers.parameters(), *cohort.transfer.parameters()], lr=0.01
    )
    before = sum(taught(cohort).values())
    before.backward()
    optimiser.step()
    assert sum(taught(cohort).values()) < before


@pytest.mark.parametrize("rows", [1, 2])
def test_a_batch_of_fewer_than_three_rows_teaches_nothing(rows):
    cohort = made(KIND)
    losses = taught(cohort, X[:rows], Y[:rows])
    assert [loss.item() for loss in losses.values()] == [0, 0]


def test_an_edge_is_silent_beyond_its_stop_distance():
    for stop, moves in ((1e-6, False), (100.0, True)):
        cohort = made(KIND | {"stop_distance": stop, "fusion": "none"})
        loss = taught(cohort)["b"]
        loss.backward()
        assert cohort.peers["b"].one.weight.grad.any() == moves


def test_distributions_stay_in_fp32_where_training_does_not():
    cohort = made(KIND)
    outputs = cohort(X)
    plain = cohort.transfer.losses(outputs, Y)["b"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cohort.transfer.losses(outputs, Y)["b"], plain)
    lowered = {
        n: o._replace(features={k: f.bfloat16() for k, f in o.features.items()})
        for n, o in outputs.items()
    }
    assert cohort.transfer.losses(lowered, Y)["b"].dtype == torch.float32


def test_the_fusion_learns_the_labels_where_asked_and_the_peer_does_not():
    cohort = made({"edges": [EDGE | {"supervised_fusion": True, "weight": 0}]})
    losses = taught(cohort)
    sum(losses.values()).backward()
    assert all(p.grad is None for p in cohort.peers.parameters())
    entry = entry_of(cohort)
    for peer in "ab":  # that of the teacher too, which would stay as it began
        fusion = entry.fusions[peer]
        assert all(p.grad is not None for p in fusion.parameters())
        features = [cohort(X)[peer].features[name] for name in ("one", "two")]
        logits = fusion.head(fusion(features))[Y >= 0]
        torch.testing.assert_close(losses[peer], F.cross_entropy(logits, Y[Y >= 0]))
    nobody = torch.full_like(Y, -1)
    assert all(loss == 0 for loss in taught(cohort, y=nobody).values())


OPTIONS = {
    "feature_divergence": ({}, ["direct_kl"]),
    "fusion": ({}, ["none"]),
    "layers": ({}, ["two", ["two", "one"], ["one", "two", "pooled"]]),
    "width": ({}, [16]),
    "tokens": ({}, [1, 2]),
    "centred": ({}, [False]),
    "feature_temperature": ({}, [0.1]),
    "supervised_fusion": ({}, [True]),
    "transform": ({}, ["none"]),
    "eps": ({}, [1.0]),
    "stop_distance": ({}, [1e-4]),
    "detach": ({}, [False]),
    "weight": ({}, [0.1]),
    "target": ({}, ["sum"]),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_changes_what_is_learned(option):
    def learned(**options):
        cohort = made(KIND | options, a=Net(), b=Net(3), c=Net())
        losses = torch.stack(list(taught(cohort).values()))
        losses.sum().backward()
        return losses.detach(), cohort.peers["a"].one.weight.grad

    rest, values = OPTIONS[option]
    before = learned(**rest)
    for value in values:
        after = learned(**rest, **{option: value})
        assert any(
            not torch.allclose(one, other, rtol=1e-3)
            for one, other in zip(before, after, strict=True)
        ), value


# What is kept and refused ----------------------------------------------------------------------


def test_fusions_are_in_the_state_of_the_cohort_and_of_no_peer():
    cohort, other = made(KIND), made(KIND, a=Net(), b=Net(3))
    with torch.no_grad():
        for p in cohort.transfer.parameters():
            p.add_(1)
    other.load_state_dict(cohort.state_dict())
    assert torch.equal(taught(other)["a"], taught(cohort)["a"])
    assert not any("fusion" in name for name in cohort.peers.state_dict())
    before = entry_of(cohort).fusions["a"]
    cohort.transfer.prepare(cohort(X), cohort.peers)
    assert entry_of(cohort).fusions["a"] is before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teacher_ema": 0.9}, ["transfer.edges.0", "teacher_ema: found 0.9", "allowed: null"]),
        ({"from": "self"}, ["from: 'self'", "pushes a learner away from others"]),
        ({"target": "ensemble"}, ["target: 'ensemble'", "allowed: mean, sum"]),
        ({"proven": "both"}, ["proven: 'both'", "allowed: none"]),
        ({"feature_divergence": "ptk"}, ["feature_divergence", "'ptk'", "Did you mean 'pkt'"]),
        ({"fusion": "atention"}, ["fusion", "Did you mean 'attention'"]),
        ({"layers": {"one": "two"}}, ["layers: a mapping", "allowed: names of features"]),
        ({"fusion": "none", "width": 8}, ["width: found 8 with fusion 'none'"]),
        ({"fusion": "none", "tokens": 2}, ["tokens: found 2 with fusion 'none'"]),
        ({"fusion": "none", "supervised_fusion": True}, ["supervised_fusion: found True"]),
        ({"fusion": "none", "layers": ["one", "two"]}, ["layers: found 2", "reads one"]),
        ({"feature_temperature": 0}, ["feature_temperature"]),
        ({"distance": "w2"}, ["distance: belongs to knowledge 'posteriors'"]),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, said):
    with pytest.raises(InputError) as caught:
        TransferGraph({"edges": [EDGE | options]}, ["a", "b"])
    for words in said:
        assert words in str(caught.value)


def test_features_that_are_not_there_or_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"unknown layer of peer '.' 'tow'.*Did you mean 'two'"):
        made(KIND | {"layers": ["tow"]})
    with pytest.raises(InputError, match=r"transfer\.layers: peer 'a' gives no features"):
        made(KIND, a=nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), b=Net())
    direct = KIND | {"feature_divergence": "direct_kl", "fusion": "none"}
    with pytest.raises(InputError, match=r"has shape \(6, 6, 2, 2\).*as many units"):
        made(direct)
    cohort = made(KIND)
    outputs = cohort(X) | {"b": cohort.peers["b"](X[:4])}
    with pytest.raises(InputError, match=r"compares as many rows"):
        cohort.transfer.losses(outputs, Y)


def test_likeness_that_no_memory_holds_is_refused():
    with torch.device("meta"):
        features = {"pooled": torch.empty(1 << 24, 4)}
        outputs = {name: PeerOutput(torch.empty(1 << 24, 3), features) for name in "ab"}
    graph = TransferGraph(KIND | {"fusion": "none"}, ["a", "b"])
    with pytest.raises(
        InputError, match=r"transfer\.feature_divergence: 'pkt' of 16777216 rows: needs .* memory"
    ):
        graph.prepare(outputs)


def test_fusions_are_needed_before_the_first_loss():
    cohort = Cohort({"a": Net(), "b": Net()}, KIND)
    with pytest.raises(InputError, match=r"cohort\.transfer\.prepare"):
        cohort.loss(X, Y)


def test_a_fusion_learns_from_one_class_a_row_alone():
    given = KIND | {"supervised_fusion": True}
    with pytest.raises(InputError, match=r"supervised_fusion: .*'sigmoid'.*allowed: false"):
        TransferGraph(given, ["a", "b"], "sigmoid")
    cohort = made(given)
    for y in (None, torch.zeros(ROWS, 3)):
        with pytest.raises(InputError, match=r"supervised_fusion: learns from one class a row"):
            cohort.transfer.losses(cohort(X), y)


def test_their_features_travel():
    (entry,) = made(KIND).transfer.entries
    assert (entry.travels, entry.stays) == ("features", "")
