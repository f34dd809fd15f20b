"""Metrics of a cohort that discovers classes."""

import math

import pytest
import torch
import torch.nn.functional as F

from peerlearn.errors import InputError
from peerlearn.tasks.discovery.metrics.assessment import DiscoveryAssessment
from peerlearn.tasks.discovery.metrics.clustering import cluster_accuracy

KNOWN, NEW = 3, 4
CLUSTERING = {"cluster_accuracy", "nmi", "ari"}
WITHOUT_TRUTH = {"clusters", "largest_cluster"}
TEST = {"known_accuracy", "test_cluster_accuracy"}


def rows(unlabelled=200, test=140, seed=0):
    """Classes and groups: unlabelled rows of new classes, test rows of all."""
    generator = torch.Generator().manual_seed(seed)
    new = torch.randint(KNOWN, KNOWN + NEW, (unlabelled,), generator=generator)
    every = torch.randint(KNOWN + NEW, (test,), generator=generator)
    groups = torch.tensor([0] * unlabelled + [1] * test)
    return torch.stack([torch.cat([new, every]), groups], 1)


def seen_by(y, order=range(NEW), seed=1, noise=1.0):
    """Logits of a peer that numbers new classes in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    names = torch.tensor([*range(KNOWN), *(KNOWN + place for place in order)])
    signal = F.one_hot(names[y[:, 0].clamp_min(0)], KNOWN + NEW) * 3.0
    return signal + noise * torch.randn(signal.shape, generator=generator)


def measured(logits, y, batch=1000, **options):
    assessment = DiscoveryAssessment(KNOWN, **options)
    groups = {"unlabelled": y[:, 1] == 0, "test": y[:, 1] == 1}
    for name, chosen in groups.items():
        for part in chosen.nonzero()[:, 0].split(batch):
            assessment.add({peer: z[part] for peer, z in logits.items()}, y[part, 0], name)
    return assessment.result()


def test_each_group_is_measured_on_its_own_logits():
    y = rows()
    z = seen_by(y, [2, 0, 3, 1])
    found = measured({"a": z}, y)["peers"]["a"]
    assert found.keys() == CLUSTERING | TEST | WITHOUT_TRUTH
    unlabelled, truth = y[:, 1] == 0, y[:, 0]
    known, new = ~unlabelled & (truth < KNOWN), ~unlabelled & (truth >= KNOWN)
    clusters, classes = z[:, KNOWN:].argmax(1), z[:, :KNOWN].argmax(1)
    assert found["cluster_accuracy"] == cluster_accuracy(clusters[unlabelled], truth[unlabelled])
    assert found["test_cluster_accuracy"] == cluster_accuracy(clusters[new], truth[new])
    assert found["known_accuracy"] == (classes == truth)[known].double().mean().item()
    assert 0.7 < found["cluster_accuracy"] < 1


def test_batches_do_not_matter():
    y = rows()
    logits = {"a": seen_by(y), "b": seen_by(y, [1, 0, 2, 3], seed=2)}
    assert measured(logits, y) == measured(logits, y, batch=7)


def test_incremental_discovery_takes_the_largest_of_all_logits():
    y = rows()
    z = seen_by(y)
    apart, together = (measured({"a": z}, y, incremental=i)["peers"]["a"] for i in (False, True))
    everything, truth, unlabelled = z.argmax(1), y[:, 0], y[:, 1] == 0
    known, new = ~unlabelled & (truth < KNOWN), ~unlabelled & (truth >= KNOWN)
    for metric, group in (("cluster_accuracy", unlabelled), ("test_cluster_accuracy", new)):
        assert together[metric] == cluster_accuracy(everything[group], truth[group])
        assert together[metric] < apart[metric]
    assert together["known_accuracy"] == (everything == truth)[known].double().mean().item()
    assert together["known_accuracy"] < apart["known_accuracy"]


def test_the_ensemble_matches_clusters_before_it_averages():
    y = rows(unlabelled=400)
    members = {
        "a": seen_by(y, [0, 1, 2, 3], seed=1, noise=2.0),
        "b": seen_by(y, [2, 0, 3, 1], seed=2, noise=2.0),
        "c": seen_by(y, [3, 2, 1, 0], seed=3, noise=2.0),
    }
    found = measured(members, y)
    best = max(peer["cluster_accuracy"] for peer in found["peers"].values())
    assert found["ensemble"]["cluster_accuracy"] > best + 0.05
    unpermuted = {
        "a": members["a"],
        "b": seen_by(y, seed=2, noise=2.0),
        "c": seen_by(y, seed=3, noise=2.0),
    }
    # In b's own order the same noise falls on other columns; agreement is all one can ask for.
    other = measured(unpermuted, y)["ensemble"]["cluster_accuracy"]
    assert found["ensemble"]["cluster_accuracy"] == pytest.approx(other, abs=0.05)


def test_the_ensemble_of_renamed_copies_is_the_peer_itself():
    y = rows()
    z = seen_by(y)
    copy = torch.cat([z[:, :KNOWN], z[:, KNOWN:][:, [3, 1, 0, 2]]], 1)
    found = measured({"a": z, "b": copy}, y)
    assert found["ensemble"] == pytest.approx(found["peers"]["a"])
    assert found["peers"]["b"] == pytest.approx(found["peers"]["a"])
    assert found["between_peers"] == {"agreement": {"a~b": 1.0}}


def test_the_truth_has_no_say_in_the_ensemble_or_agreement():
    y = rows()
    logits = {"a": seen_by(y), "b": seen_by(y, [1, 0, 2, 3], seed=2)}
    hidden = y.clone()
    hidden[:, 0] = -1
    with_truth, without = measured(logits, y), measured(logits, hidden)
    assert without["between_peers"] == with_truth["between_peers"]
    for who in ("peers", "ensemble"):
        told = with_truth[who] if who == "ensemble" else with_truth[who]["a"]
        left = without[who] if who == "ensemble" else without[who]["a"]
        assert left == {name: told[name] for name in WITHOUT_TRUTH}


def test_only_members_are_averaged():
    y = rows()
    logits = {"a": seen_by(y), "b": seen_by(y, seed=2), "c": -seen_by(y)}
    found = measured(logits, y, members=["a", "b"])
    expected = measured({name: logits[name] for name in "ab"}, y)
    assert found["ensemble"] == expected["ensemble"]
    assert found["mean_peer"] == expected["mean_peer"]
    assert set(found["peers"]) == {"a", "b", "c"}
    assert set(found["between_peers"]["agreement"]) == {"a~b", "a~c", "b~c"}


def test_where_unlabelled_rows_hold_known_classes_one_matching_serves_old_and_new():
    y = rows()
    y[:80, 0] = y[:80, 0] % KNOWN
    z = seen_by(y, [2, 0, 3, 1])
    found = measured({"a": z}, y)["peers"]["a"]
    assert {"all_accuracy", "old_accuracy", "new_accuracy"} <= found.keys()
    unlabelled = y[:, 1] == 0
    old = y[unlabelled, 0] < KNOWN
    assert found["all_accuracy"] == found["cluster_accuracy"]
    mixed = old.double().mean() * found["old_accuracy"]
    mixed = mixed + (~old).double().mean() * found["new_accuracy"]
    assert found["all_accuracy"] == pytest.approx(mixed.item())
    everything = z[unlabelled].argmax(1)
    assert found["all_accuracy"] == cluster_accuracy(everything, y[unlabelled, 0])
    # With a matching of their own new classes look better, or as good.
    own = cluster_accuracy(everything[~old], y[unlabelled, 0][~old])
    assert found["new_accuracy"] <= own


def test_unlabelled_rows_of_known_classes_alone_have_no_new_accuracy():
    y = rows(test=0)
    y[:, 0] = y[:, 0] % KNOWN
    found = measured({"a": seen_by(y)}, y)["peers"]["a"]
    assert "old_accuracy" in found
    assert "new_accuracy" not in found


def test_only_test_rows_or_only_unlabelled_rows_give_what_they_can():
    y = rows()
    logits = {"a": seen_by(y), "b": seen_by(y, [1, 0, 2, 3], seed=2)}
    for group, metrics in ((0, CLUSTERING), (1, TEST)):
        kept = y[:, 1] == group
        part = {name: z[kept] for name, z in logits.items()}
        found = measured(part, y[kept])
        assert found["peers"]["a"].keys() == metrics | WITHOUT_TRUTH
        assert found["ensemble"].keys() == metrics | WITHOUT_TRUTH
        assert found["between_peers"]["agreement"]["a~b"] > 0.5


def test_collapse_shows_without_truth():
    y = rows()
    z = seen_by(y)
    z[:, KNOWN] += 100
    found = measured({"a": z}, y)["peers"]["a"]
    assert found["clusters"] == 1
    assert found["largest_cluster"] == 1
    assert measured({"a": seen_by(y)}, y)["peers"]["a"]["clusters"] == NEW


def test_a_diverged_peer_is_wrong_and_nothing_fails():
    y = rows()
    found = measured({"a": seen_by(y), "b": torch.full((len(y), KNOWN + NEW), math.nan)}, y)
    diverged = found["peers"]["b"]
    assert diverged["cluster_accuracy"] == diverged["known_accuracy"] == 0
    assert diverged["clusters"] == diverged["largest_cluster"] == 0
    assert found["between_peers"]["agreement"] == {"a~b": 0}


def test_numbers_are_plain():
    y = rows()
    found = measured({"a": seen_by(y), "b": seen_by(y, seed=2)}, y)
    for metrics in (*found["peers"].values(), found["mean_peer"], found["ensemble"]):
        assert all(type(value) is float for value in metrics.values())


@pytest.mark.parametrize(
    "logits, y, message",
    [
        ({"a": torch.zeros(4, 7)}, torch.zeros(4, 2), "expected \\(N,\\)"),
        ({"a": torch.zeros(4, 3)}, torch.zeros(4), "4 rows and 3 known classes"),
        ({"a": torch.zeros(3, 7)}, torch.zeros(4), "logits \\(3, 7\\) for 4 rows"),
        ({"a": torch.zeros(4, 7), "b": torch.zeros(4, 8)}, torch.zeros(4), "peer 'b'"),
        ({}, torch.zeros(4), "peers none"),
    ],
)
def test_what_does_not_fit_is_an_error(logits, y, message):
    with pytest.raises(InputError, match=message):
        DiscoveryAssessment(KNOWN).add(logits, y.long())


def test_no_row_at_all_is_an_error():
    with pytest.raises(InputError, match="no row"):
        DiscoveryAssessment(KNOWN).result()
