"""What a branch learns where classes are discovered: labels, pairs, consistency, state."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from peerlearn.errors import InputError
from peerlearn.objectives.base import PeerView
from peerlearn.tasks.discovery.objectives.pairs import DiscoveryObjective, DiscoverySpec
from peerlearn.tasks.discovery.objectives.ranking_statistics import same_top_k
from peerlearn.transfer import PeerOutput

KNOWN, NEW, IMAGES, CHANNELS = 3, 4, 8, 6
LABELS = [0, -1, 2, -1, -1, 1, -1, -1]
PARTS = {"size": 32}


def targets(labels=LABELS):
    return torch.tensor(labels).repeat(2)


def branch(seed=0, grad=False):
    """The output of a branch for 2 x 8 rows."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2 * IMAGES, CHANNELS, 3, 3, generator=generator).relu()
    logits = 2 * torch.randn(2 * IMAGES, KNOWN + NEW, generator=generator)
    pooled = maps.mean((2, 3))
    clusters = 2 * torch.randn(2 * IMAGES, NEW, generator=generator)
    if grad:
        maps, logits, pooled, clusters = (
            x.requires_grad_() for x in (maps, logits, pooled, clusters)
        )
    return PeerOutput(logits, {"map": maps, "pooled": pooled, "clusters": clusters})


def objective(**options):
    return DiscoveryObjective(DiscoverySpec(**options), KNOWN, channels=CHANNELS, seed=1)


def loss(output=None, y=None, progress=1.0, **options):
    y = targets() if y is None else y
    return objective(**options).loss(PeerView.of(output or branch(), y, progress=progress))


def pairs_of(p, q, same):
    together, s = p @ q.T, same.float()
    return -(s * (together + 1e-7).log() + (1 - s) * (1 - together + 1e-7).log()).mean()


def terms(output, y):
    """Cross-entropy, pairs and consistency, as the brief of the method writes them."""
    z, w = output.logits[:IMAGES], output.logits[IMAGES:]
    labelled = y[:IMAGES] >= 0
    z1, z2, w1, w2 = z[:, :KNOWN], z[:, KNOWN:], w[:, :KNOWN], w[:, KNOWN:]
    rows = ~labelled
    same = same_top_k(output.features["pooled"][:IMAGES][rows], 5)
    return (
        F.cross_entropy(z1[labelled], y[:IMAGES][labelled]),
        pairs_of(z2[rows].softmax(1), w2[rows].softmax(1), same),
        F.mse_loss(z1.softmax(1), w1.softmax(1)) + F.mse_loss(z2.softmax(1), w2.softmax(1)),
    )


@pytest.mark.parametrize(
    "progress, weight", [(0.0, 5 * math.exp(-5)), (0.125, 5 * math.exp(-1.25)), (0.25, 5), (1, 5)]
)
def test_it_is_the_sum_of_three_terms_with_a_ramp(progress, weight):
    supervised, pairs, apart = terms(branch(), targets())
    torch.testing.assert_close(loss(progress=progress), supervised + pairs + weight * apart)


def test_without_a_progress_the_ramp_is_over():
    assert loss(progress=None) == loss(progress=1.0)


def test_the_loss_is_fp32_and_asks_for_the_progress():
    output = PeerOutput(branch().logits.bfloat16(), branch().features)
    assert loss(output).dtype == torch.float32
    assert loss(output, progress=0.0) != loss(output, progress=1.0)


def test_incremental_discovery_teaches_one_classifier_what_another_finds():
    output, y = branch(), targets()
    clusters = output.features["clusters"]
    beside = PeerOutput(torch.cat([output.logits[:, :KNOWN], clusters], 1), output.features)
    _, pairs, _ = terms(beside, y)
    apart = sum(
        F.mse_loss(z[:IMAGES].softmax(1), z[IMAGES:].softmax(1)) for z in (output.logits, clusters)
    )
    first = output.logits[:IMAGES]
    labelled = y[:IMAGES] >= 0
    own = KNOWN + clusters[:IMAGES].argmax(1)
    supervised = F.cross_entropy(first[labelled], y[:IMAGES][labelled])
    learned = F.cross_entropy(first[~labelled], own[~labelled])
    for progress, ramp in [(0.0, math.exp(-5)), (0.5, 1.0)]:
        expected = supervised + pairs + 5 * ramp * apart + 0.05 * ramp * learned
        found = loss(progress=progress, incremental=True)
        torch.testing.assert_close(found, expected)


def test_incremental_learning_does_not_hang_on_the_consistency():
    with_it = loss(incremental=True, consistency=0)
    assert torch.isfinite(with_it)
    assert with_it != loss(consistency=0)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_unlabelled_images_are_told_from_known_classes_where_they_are_all_new(weight):
    output, y = branch(), targets()
    _, pairs, apart = terms(output, y)
    p, labels = output.logits[:IMAGES].softmax(1), y[:IMAGES]
    supervised = torch.stack([-p[i, c].log() for i, c in enumerate(labels) if c >= 0]).mean()
    new = torch.stack([p[i, KNOWN:].sum().log() for i, c in enumerate(labels) if c < 0]).mean()
    torch.testing.assert_close(
        loss(unlabelled_are_new=weight), supervised - weight * new + pairs + 5 * apart
    )


def test_telling_new_from_known_reaches_the_logits_of_both():
    labelled = torch.tensor(LABELS) >= 0
    for weight in (0.0, 1.0):
        output = branch(grad=True)
        loss(output, consistency=0, unlabelled_are_new=weight).backward()
        grad = output.logits.grad[:IMAGES]
        assert grad[labelled, KNOWN:].any() == bool(weight)
        assert grad[~labelled, :KNOWN].any() == bool(weight)


def test_pairs_within_one_view_are_those_of_the_public_code():
    output, y = branch(), targets()
    supervised, pairs, apart = terms(output, y)
    rows = y[:IMAGES] < 0
    p = output.logits[:IMAGES, KNOWN:][rows].softmax(1)
    same = same_top_k(output.features["pooled"][:IMAGES][rows], 5)
    torch.testing.assert_close(loss(), supervised + pairs + 5 * apart)  # the default does not
    expected = supervised + pairs_of(p, p, same) + 5 * apart
    torch.testing.assert_close(loss(pair_views=1), expected)


def test_pseudo_labels_of_the_cosine():
    features = torch.tensor([[1.0, 0], [2, 0.1], [1, 1], [-1, 0]])
    hard = objective(pseudo_labels="hard_cosine").pseudo_labels(features)
    soft = objective(pseudo_labels="soft_cosine").pseudo_labels(features)
    assert hard.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert soft[0, 2] == pytest.approx(math.sqrt(0.5))
    assert soft[0, 3] == 0
    lenient = objective(pseudo_labels="hard_cosine", threshold=0.7).pseudo_labels(features)
    assert lenient[0, 2]


PARTS_COSINE = {"of": "parts", "parts": PARTS, "pseudo_labels": "soft_cosine"}


@pytest.mark.parametrize(
    "options, without",
    [
        ({"pseudo_labels": "hard_cosine"}, {}),
        ({"pseudo_labels": "soft_cosine"}, {}),
        ({"pseudo_labels": "soft_cosine", "criterion": "positive"}, {"criterion": "positive"}),
        ({"pseudo_labels": "soft_cosine", "criterion": "positive"}, PARTS_COSINE),
        ({"of": "parts", "parts": PARTS}, {}),
        (PARTS_COSINE, {"pseudo_labels": "soft_cosine"}),
        (PARTS_COSINE | {"parts": PARTS | {"sharpness": 1.0}}, PARTS_COSINE),
        ({"top_k": 1}, {}),
        ({"criterion": "positive"}, {}),
        ({"pair_views": 1}, {}),
        ({"consistency": 50.0}, {}),
        ({"ramp": 1.0}, {}),
        ({"incremental": True}, {}),
        ({"unlabelled_are_new": 0.1}, {}),
        ({"unlabelled_are_new": 1.0}, {"unlabelled_are_new": 0.1}),
    ],
)
def test_every_option_changes_the_loss(options, without):
    found = loss(progress=0.5, **options)
    assert torch.isfinite(found)
    assert found != loss(progress=0.5, **without)


def test_the_threshold_changes_the_loss():
    strict, lenient = (
        loss(pseudo_labels="hard_cosine", threshold=threshold) for threshold in (0.95, 0.5)
    )
    assert strict != lenient


def test_only_logits_receive_a_gradient():
    for of in ("pooled", "parts"):
        output = branch(grad=True)
        loss(output, of=of, parts=PARTS).backward()
        assert output.logits.grad.any(1).all()
        assert output.features["map"].grad is None
        assert output.features["pooled"].grad is None


def test_unlabelled_rows_say_nothing_to_the_known_head_but_consistency():
    output = branch(grad=True)
    loss(output, consistency=0).backward()
    labelled = (targets() >= 0) & (torch.arange(2 * IMAGES) < IMAGES)
    assert torch.equal(output.logits.grad[:, :KNOWN].any(1), labelled)
    assert torch.equal(output.logits.grad[:, KNOWN:].any(1), targets() < 0)


def test_labels_are_read_of_the_first_view_only():
    shuffled = targets()
    shuffled[IMAGES:] = shuffled[IMAGES:].flip(0)
    assert loss() == loss(y=shuffled)


@pytest.mark.parametrize("of", ["pooled", "parts"])
@pytest.mark.parametrize("incremental", [True, False])
@pytest.mark.parametrize("label", [0, -1])
def test_a_term_without_rows_is_0(of, incremental, label):
    output = branch(grad=True)
    options = {"of": of, "parts": PARTS, "consistency": 0, "incremental": incremental}
    found = loss(output, targets([label] * IMAGES), **options)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(output.logits.grad).all()
    assert output.logits.grad[:, :KNOWN].any() == (label == 0 or incremental)
    clusters = output.features["clusters"].grad if incremental else output.logits.grad[:, KNOWN:]
    assert clusters.any() == (label == -1)


def test_an_empty_batch_gives_0():
    output = PeerOutput(
        torch.zeros(0, KNOWN + NEW, requires_grad=True), {"pooled": torch.zeros(0, CHANNELS)}
    )
    assert loss(output, torch.zeros(0, dtype=torch.int64)) == 0


def test_all_images_of_the_first_view_feed_the_parts_once():
    local = objective(of="parts", parts=PARTS)
    local.loss(PeerView.of(branch(), targets(), progress=0.5))
    assert local.parts.counter == IMAGES
    first = branch().features["map"][:IMAGES].flatten(2)
    pushed = local.parts.entries[:IMAGES]
    assert (first == pushed[:, :, None]).all(1).any(1).all()


def test_a_resumed_objective_goes_on_as_the_one_that_was_not_stopped():
    options = {"of": "parts", "parts": {"size": 12}, "top_k": 2}
    whole, resumed = objective(**options), objective(**options)
    for number in range(3):
        whole.loss(PeerView.of(branch(number), targets(), progress=0.5))
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for number in range(3, 6):
        view = PeerView.of(branch(number), targets(), progress=0.5)
        one, other = (x.loss(view) for x in (whole, resumed))
        assert one == other


def test_a_branch_without_parts_has_no_state():
    assert not objective().state_dict()
    assert DiscoveryObjective(DiscoverySpec(), KNOWN).parts is None


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DiscoveryObjective(DiscoverySpec(of="parts"), KNOWN), "pass channels="),
        (lambda: loss(y=targets()[1:]), "targets of 15 rows; expected paired rows"),
        (lambda: loss(PeerOutput(torch.zeros(16, 3), {})), "more classes than the 3 known"),
        (lambda: loss(PeerOutput(torch.zeros(16, 7), {"map": 0})), "'pooled'; this peer gives map"),
    ],
)
def test_what_cannot_be_learned_from_is_an_error(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"ramp": 1.5},
        {"consistency": -1},
        {"unlabelled_are_new": -1},
        {"of": "map"},
        {"pair_views": 3},
        {"unknown": 1},
        {"of": "parts", "top_k": 6, "parts": {"size": 5}},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        DiscoverySpec(**options)
