"""Edges about posteriors: how far they are apart, whom they push, and what they refuse."""

import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from tiny_posteriors import Small, X, Y, bayesian, pair, taught
from torch import nn
from torch.distributions import Normal, kl_divergence

from peerlearn.cohort import Cohort
from peerlearn.errors import InputError
from peerlearn.models.bayesian import BayesianNetwork, posterior, to_bayesian
from peerlearn.randomness import seeded_rng
from peerlearn.transfer import BatchView, PeerOutput, TransferGraph
from peerlearn.transfer.knowledge.posteriors import PosteriorKnowledge
from peerlearn.transfer.posterior_distances import (
    DISTANCES,
    Posterior,
    posterior_distances,
    posteriors_of,
)

EDGE = {"knowledge": "posteriors", "from": "a", "to": "b"}


def only(**options):
    return {"edges": [EDGE | options]}


def entry_of(cohort) -> PosteriorKnowledge:
    (entry,) = cohort.transfer.entries
    assert isinstance(entry, PosteriorKnowledge)
    return entry


def gaussians(peer):
    return [(g.mean.detach(), g.std.detach()) for _, g in posterior(peer)]


def w2(cohort):
    both = zip(gaussians(cohort.peers["a"]), gaussians(cohort.peers["b"]), strict=True)
    return sum(((m - n).square() + (s - t).square()).sum() for (m, s), (n, t) in both)


def gradients(cohort, peer):
    return {n: p.grad for n, p in cohort.peers[peer].named_parameters() if p.grad is not None}


# Distances -------------------------------------------------------------------------------------


def drawn(seed, size=5):
    generator = torch.Generator().manual_seed(seed)
    mean, std = torch.randn(2, size, generator=generator, dtype=torch.float64)
    return Posterior(mean, std.exp(), [size])


def test_w2_is_the_formula_with_matrix_square_roots():
    one, other = drawn(0), drawn(1)
    a, b = (np.diag(it.std_W.square().numpy()) for it in (one, other))
    root = sqrtm(a)
    bures = np.trace(a + b - 2 * sqrtm(root @ b @ root)).real
    expected = (one.mean_W - other.mean_W).square().sum().item() + bures
    assert DISTANCES["w2"](one, other).sum().item() == pytest.approx(expected, rel=1e-9)


def test_kl_is_that_of_torch_with_the_learner_first():
    teacher, learner = drawn(0), drawn(1)
    p, q = (Normal(it.mean_W, it.std_W) for it in (learner, teacher))
    torch.testing.assert_close(DISTANCES["kl"](teacher, learner), kl_divergence(p, q))
    both = 0.5 * (kl_divergence(p, q) + kl_divergence(q, p))
    torch.testing.assert_close(DISTANCES["symmetric_kl"](teacher, learner), both)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_distance_is_positive_and_zero_for_the_same_posterior(name):
    one, other = drawn(0), drawn(1)
    assert DISTANCES[name](one, one).sum() == 0 < DISTANCES[name](one, other).sum()
    if name != "kl":
        torch.testing.assert_close(DISTANCES[name](one, other), DISTANCES[name](other, one))


# Losses and gradients --------------------------------------------------------------------------


def test_the_loss_is_minus_the_logarithm_of_w2_summed_over_all_tensors():
    cohort = pair("posteriors: w2")
    losses, expected = taught(cohort), -(w2(cohort) + 1e-6).log()
    torch.testing.assert_close(losses["a"], expected)
    torch.testing.assert_close(losses["b"], expected)


def test_the_gradient_is_that_of_the_formula_and_the_teacher_has_none():
    weight = 0.03
    cohort = pair(only(weight=weight))
    distance = w2(cohort) + 1e-6
    taught(cohort)["b"].backward()
    assert not gradients(cohort, "a")
    (a, _), (b, _) = (gaussians(cohort.peers[name])[0] for name in "ab")
    found = cohort.peers["b"].network.first.weight.grad
    torch.testing.assert_close(found, -2 * weight * (b - a) / distance)
    assert cohort.peers["b"].network.first.weight_rho.grad.any()


def test_a_teacher_is_pushed_too_where_the_edge_says_so():
    cohort = pair(only(detach=False))
    taught(cohort)["b"].backward()
    grads = [cohort.peers[name].network.first.weight.grad for name in "ab"]
    torch.testing.assert_close(grads[0], -grads[1])


def test_equal_means_get_no_gradient_at_all_and_a_warning():
    with pytest.warns(UserWarning, match="posteriors of a and b have equal means"):
        cohort = pair("posteriors: w2", a=bayesian(0), b=bayesian(0, std=0.1))
    taught(cohort)["b"].backward()
    assert not cohort.peers["b"].network.first.weight.grad.any()
    assert cohort.peers["b"].network.first.weight_rho.grad.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair("posteriors: w2")


@pytest.mark.parametrize("transform", ["log", "none"])
def test_an_edge_is_silent_beyond_its_stop_distance(transform):
    far = float(w2(pair("none")))
    for stop, moves in ((0.9 * far, False), (1.1 * far, True)):
        cohort = pair(only(stop_distance=stop, transform=transform))
        taught(cohort)["b"].backward()
        assert cohort.peers["b"].network.first.weight.grad.any() == moves


def test_distances_are_transformed_for_each_tensor_where_asked():
    cohort = pair(only(per_layer=True))
    both = zip(gaussians(cohort.peers["a"]), gaussians(cohort.peers["b"]), strict=True)
    each = [((m - n).square() + (s - t).square()).sum() for (m, s), (n, t) in both]
    expected = -(torch.stack(each) + 1e-6).log().mean()
    torch.testing.assert_close(taught(cohort)["b"], expected)


def test_to_grow_is_no_way_to_move_apart_where_w2_is_normalised():
    """Along its own means a learner gains nothing; plain W2 rewards it."""

    def along(**options):
        cohort = pair(only(stop_distance=None, **options), a=bayesian(0), b=bayesian(1))
        with torch.no_grad():  # norms are equal, and σ small
            scale = sum(m.square().sum() for m, _ in gaussians(cohort.peers["a"]))
            scale /= sum(m.square().sum() for m, _ in gaussians(cohort.peers["b"]))
            for name, mean in cohort.peers["b"].named_parameters():
                mean.copy_(-9.0 if "rho" in name else mean * scale.sqrt())
            for rho in cohort.peers["a"].rhos():
                rho.fill_(-9.0)
        taught(cohort)["b"].backward()
        means = (p for n, p in cohort.peers["b"].named_parameters() if "rho" not in n)
        return sum((p * p.grad).sum() for p in means).item()

    assert along() < -0.5
    assert along(normalise=True) == pytest.approx(0, abs=1e-4)


OPTIONS = {
    "distance": ({}, ["kl", "symmetric_kl"]),
    "transform": ({}, ["none"]),
    "eps": ({}, [1.0]),
    "per_layer": ({}, [True]),
    "normalise": ({}, [True]),
    "stop_distance": ({}, [0.1]),
    "layers": ({}, ["first", ["head.weight", "first.bias"], {"first.weight": "first.weight"}]),
    "weight": ({}, [0.1]),
    "detach": ({}, [False]),
    "target": ({}, ["sum"]),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_changes_what_is_learned(option):
    def learned(**options):
        peers = {"a": bayesian(0), "b": bayesian(1), "c": bayesian(2)}
        cohort = pair({"knowledge": "posteriors"} | options, **peers)
        losses = torch.stack(list(taught(cohort).values()))
        losses.sum().backward()
        return losses.detach(), cohort.peers["a"].network.first.weight.grad

    rest, values = OPTIONS[option]
    before = learned(**rest)
    for value in values:
        after = learned(**rest, **{option: value})
        assert any(
            not torch.allclose(one, other, rtol=1e-3)
            for one, other in zip(before, after, strict=True)
            if one is not None and other is not None
        ), value


def test_distances_stay_in_fp32_where_training_does_not():
    cohort = pair("posteriors: kl")
    plain = taught(cohort)["b"]
    with torch.autocast("cpu", torch.bfloat16):
        lowered = taught(cohort)["b"]
    assert lowered.dtype == torch.float32
    assert torch.equal(plain, lowered)


def test_weight_zero_is_plain_mutual_learning_bit_for_bit():
    def trained(*more):
        cohort = pair({"edges": [{}, *more]})
        optimiser = torch.optim.SGD(cohort.parameters(), 0.1)
        with seeded_rng(1):
            for _ in range(3):
                optimiser.zero_grad()
                cohort.loss(X, Y).backward()
                optimiser.step()
        return [value.clone() for value in cohort.peers.state_dict().values()]

    plain, off = trained(), trained({"knowledge": "posteriors", "weight": 0})
    on = trained({"knowledge": "posteriors", "weight": 0.1})
    assert all(map(torch.equal, plain, off))
    assert not all(map(torch.equal, plain, on))


def test_all_peers_see_the_posteriors_of_before_the_step():
    """One after the other they would see what the first one's step has left."""
    before = {n: gaussians(bayesian(seed))[0][0] for n, seed in (("a", 0), ("b", 1))}

    def stepped(update):
        cohort = pair({"knowledge": "posteriors", "transform": "none", "update": update})
        if update == "simultaneous":
            losses = taught(cohort)
        for name in "ab":
            if update == "sequential":
                losses = taught(cohort, learners=[name])
            losses[name].backward()
            with torch.no_grad():
                for p in cohort.peers[name].parameters():
                    p -= 0.1 * p.grad
        return {name: gaussians(cohort.peers[name])[0][0] for name in "ab"}

    apart = before["b"] - before["a"]
    together = stepped("simultaneous")
    torch.testing.assert_close(together["a"], before["a"] - 0.2 * apart)
    torch.testing.assert_close(together["b"], before["b"] + 0.2 * apart)
    torch.testing.assert_close(stepped("sequential")["b"], before["b"] + 0.2 * 1.2 * apart)


# What W2 does not say --------------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4, eps=1e-12)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return PeerOutput(self.head(self.norm(self.conv(x)).relu().mean((2, 3))))


def test_w2_grows_where_filters_do_and_outputs_stay():
    """BatchNorm undoes the scale of filters, and their order means nothing: look at disagreement
    beside W2, never at W2 alone."""
    with seeded_rng(0):
        net, other = (BayesianNetwork(to_bayesian(Normed(), std=1e-3)).train() for _ in "ab")
    x = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    net.deterministic = True

    def seen():
        apart = posterior_distances({"a": net, "b": other})["a", "b"]
        return apart, net(x).logits.detach()

    first = seen()
    with torch.no_grad():
        net.network.conv.weight.mul_(3)
    grown = seen()
    torch.testing.assert_close(grown[1], first[1], atol=1e-5, rtol=0)
    assert grown[0] > 2 * first[0]
    with torch.no_grad():
        order = torch.tensor([1, 2, 3, 0])
        net.network.conv.weight.copy_(net.network.conv.weight[order])
        net.network.head.weight.copy_(net.network.head.weight[:, order])
    turned = seen()
    torch.testing.assert_close(turned[1], first[1], atol=1e-5, rtol=0)
    assert turned[0] != pytest.approx(grown[0], rel=0.01)


# Which tensors ---------------------------------------------------------------------------------


def test_posteriors_are_named_by_path_in_the_network_each_shared_tensor_once():
    peer = bayesian()
    names = ["first.weight", "first.bias", "head.weight", "head.bias"]
    assert list(posteriors_of(peer)) == list(posteriors_of(peer.network)) == names
    peer.network.again = peer.network.first
    assert list(posteriors_of(peer)) == names
    assert list(posteriors_of(bayesian(which="last"))) == ["head.weight", "head.bias"]
    layer = BayesianNetwork(to_bayesian(nn.Linear(2, 2)))
    assert list(posteriors_of(layer)) == ["weight", "bias"]


def test_a_network_and_one_in_a_wrapper_are_compared_alike():
    inside, outside = pair("posteriors: w2"), pair("none")
    peers = {"a": bayesian(0).network, "b": bayesian(1)}
    bare = Cohort(peers, "posteriors: w2")
    torch.testing.assert_close(taught(bare)["b"], taught(inside)["b"])
    assert taught(outside)["b"] == 0


def test_a_map_of_layers_joins_unequal_architectures():
    class Other(Small):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(self.first)
            del self.first

        def forward(self, x):
            return PeerOutput(self.head(self.stem(x).relu()))

    with seeded_rng(1):
        other = BayesianNetwork(to_bayesian(Other()))
    peers = {"a": bayesian(0), "b": other}
    with pytest.raises(InputError, match=r"do not correspond: 'a' has first\.weight \(4, 5\)"):
        pair(only(), **peers)
    cohort = pair(only(layers={"first": "stem.0", "head.weight": "head.weight"}), **peers)
    (apart,) = entry_of(cohort).distances(cohort.peers).values()
    ends = [("first.weight", "stem.0.weight"), ("first.bias", "stem.0.bias"), ("head.weight",) * 2]
    a, b = (dict(posterior(peers[name].network)) for name in "ab")
    expected = sum(
        (a[m].mean - b[n].mean).square().sum() + (a[m].std - b[n].std).square().sum()
        for m, n in ends
    )
    assert apart == pytest.approx(expected.item(), rel=1e-5)
    shared = pair({"knowledge": "posteriors", "layers": ["head"]}, **peers)
    assert set(entry_of(shared).distances(shared.peers)) == {("a", "b"), ("b", "a")}


def test_distances_of_a_cohort_are_there_with_edges_and_without():
    cohort = pair("posteriors: w2")
    apart = float(w2(cohort))
    for found in (entry_of(cohort).distances(cohort.peers), posterior_distances(cohort.peers)):
        assert found == {pair: pytest.approx(apart, rel=1e-5) for pair in (("a", "b"), ("b", "a"))}
    others = {"a": bayesian(0), "plain": Small(), "b": bayesian(1), "wide": bayesian(2, hidden=6)}
    assert set(posterior_distances(others)) == {("a", "b"), ("b", "a")}
    assert (
        posterior_distances(others, "kl")["a", "b"] != posterior_distances(others, "kl")["b", "a"]
    )
    assert posterior_distances({"plain": Small()}) == {}


# What is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teacher_ema": 0.9}, ["transfer.edges.0", "teacher_ema: found 0.9", "allowed: null"]),
        ({"from": "self"}, ["from: 'self'", "pushes a learner away from others"]),
        ({"target": "ensemble"}, ["target: 'ensemble'", "allowed: mean, sum"]),
        ({"proven": "both"}, ["proven: 'both'", "allowed: none"]),
        ({"weight": -1}, ["weight", "-1"]),
        ({"transform": "lgo"}, ["transform", "'lgo'", "Did you mean 'log'"]),
        ({"distance": "w1"}, ["distance", "'w1'", "Did you mean 'w2'"]),
        ({"eps": 0}, ["eps", "greater than 0"]),
        ({"eps": 1e-3, "transform": "none"}, ["eps: found 0.001", "'none'"]),
        ({"stop_distance": 0}, ["stop_distance"]),
        ({"normalise": True, "distance": "kl"}, ["normalise: true", "'kl'", "allowed: false"]),
        ({"layers": []}, ["layers: found none"]),
        ({"layers": 5}, ["edges.0.layers: found 5; expected names, or a mapping"]),
        ({"layers": {"first": 1}}, ["edges.0.layers: found {'first': 1}; expected names"]),
        ({"width": 8}, ["width: belongs to knowledge 'feature_distributions'"]),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, said):
    with pytest.raises(InputError) as caught:
        TransferGraph(only(**options), ["a", "b"])
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("peer", "options", "said"),
    [
        (Small(), {}, r"transfer\.edges\.0\.knowledge: .*peer 'b' has none.*peers\.b\.bayesian"),
        (
            bayesian(1, hidden=6), {},
            r"edges\.0\.layers: .*'a' has first\.weight \(4, 5\).*'b' has first\.weight \(6, 5\)",
        ),
        (bayesian(1), {"layers": ["frist"]}, r"layers: unknown posterior 'frist' of peer 'a'.*"
         r"Did you mean 'first'"),
        (bayesian(1), {"layers": {"first": "haed.weight"}}, r"'haed.weight' of peer 'b'.*"
         r"Did you mean 'head.weight'"),
        (bayesian(1), {"layers": {"first": "head"}}, r"do not correspond: 'a' has first\.weight"),
    ],
)  # fmt: skip
def test_posteriors_that_cannot_be_compared_are_refused(peer, options, said):
    with pytest.raises(InputError, match=said):
        pair(only(**options), a=bayesian(0), b=peer)


def test_a_teacher_without_posteriors_is_refused_and_all_peers_are_named():
    with pytest.raises(InputError, match=r"peer 'a' has none; make it Bayesian"):
        pair(only(), a=Small(), b=bayesian(1))
    with pytest.raises(InputError, match=r"(?s)peer 'a' has none.*peer 'b' has none"):
        pair(only(), a=Small(), b=Small())


def test_losses_without_the_networks_are_refused():
    cohort = pair("posteriors: w2")
    with pytest.raises(InputError, match=r"pass peers=cohort\.peers"):
        cohort.transfer.losses(cohort(X), Y)
    entry_of(cohort).prepare(BatchView(cohort(X)))  # nothing to see, and nothing to make


def test_the_networks_travel():
    (entry,) = pair("posteriors: w2").transfer.entries
    assert (entry.travels, entry.stays) == ("networks", "")
