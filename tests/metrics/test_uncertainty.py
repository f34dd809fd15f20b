"""How unsure classifiers are, against definitions by brute force and scikit-learn."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor
from torchmetrics.utilities.compute import auc

from peerlearn.engine.evaluate import Logits
from peerlearn.metrics.assessment import ClassificationAssessment, assess_classification
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue, is_of_class, is_of_set
from peerlearn.metrics.classification import classification_metrics
from peerlearn.metrics.uncertainty import (
    COVERAGES,
    aupr,
    aurc,
    auroc,
    bin_edges,
    coverages,
    entropy,
    fpr95,
    histogram,
    mutual_information,
    pointwise_mean,
    risk_curve,
    selective_risks,
    spoken,
    uncertainty,
)

SAMPLES, ROWS, CLASSES = 7, 60, 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def entropy_by_hand(p: list[float]) -> float:
    return -sum(each * math.log(each) for each in p if each > 0)


# Parts of an uncertainty


def test_mutual_information_is_the_entropy_of_the_mean_minus_the_mean_entropy() -> None:
    samples = drawn(SAMPLES, ROWS, CLASSES)
    p = samples.double().softmax(2)
    for row, found in enumerate(mutual_information(samples).tolist()):
        mean = entropy_by_hand(p[:, row].mean(0).tolist())
        each = [entropy_by_hand(p[s, row].tolist()) for s in range(SAMPLES)]
        assert found == pytest.approx(mean - sum(each) / SAMPLES, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_mutual_information_is_never_below_zero_nor_above_log_classes(scale: float) -> None:
    found = mutual_information(scale * drawn(SAMPLES, 500, CLASSES))
    assert (found >= 0).all()
    assert (found <= math.log(CLASSES) + 1e-12).all()


def test_mutual_information_of_one_sample_is_zero() -> None:
    assert not mutual_information(drawn(1, ROWS, CLASSES)).any()
    same = drawn(ROWS, CLASSES).expand(SAMPLES, ROWS, CLASSES)
    assert mutual_information(same).max() < 1e-12


def test_opposite_certain_samples_disagree_by_log_two() -> None:
    samples = torch.tensor([[[90.0, 0.0]], [[0.0, 90.0]]])
    assert mutual_information(samples).item() == pytest.approx(math.log(2))
    it = uncertainty([spoken(samples[0], samples)])
    assert it.aleatoric.item() == pytest.approx(0, abs=1e-12)


def test_parts_add_up_and_an_ensemble_counts_all_samples_of_its_members() -> None:
    one, other = drawn(SAMPLES, ROWS, CLASSES), drawn(SAMPLES, ROWS, CLASSES, seed=1)
    together = uncertainty([spoken(one[0], one), spoken(other[0], other)])
    pooled = uncertainty([spoken(one[0], torch.cat([one, other]))])
    for found, expected in zip(together, pooled, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(together.total, together.epistemic + together.aleatoric)


def test_a_deterministic_peer_is_one_member_beside_a_stochastic_one() -> None:
    samples, plain = drawn(SAMPLES, ROWS, CLASSES), drawn(ROWS, CLASSES, seed=1)
    found = uncertainty([spoken(samples[0], samples), spoken(plain)])
    p, q = samples.double().softmax(2), plain.double().softmax(1)
    mean = (p.mean(0) + q) / 2
    aleatoric = (torch.stack([entropy(each) for each in p]).mean(0) + entropy(q)) / 2
    torch.testing.assert_close(found.total, entropy(mean))
    torch.testing.assert_close(found.aleatoric, aleatoric)


def test_of_several_labels_every_label_is_a_question_of_its_own() -> None:
    logits = drawn(ROWS, CLASSES)
    p = logits.double().sigmoid()
    expected = [sum(entropy_by_hand([each, 1 - each]) for each in row) for row in p.tolist()]
    found = uncertainty([spoken(logits, several=True)], labels=True)
    assert found.total.tolist() == pytest.approx(expected)


# Of a cohort


def block_of(samples: Tensor, y: Tensor) -> tuple[dict, dict]:
    plain = drawn(ROWS, CLASSES, seed=5)
    logits = {"bayes": samples.softmax(2).mean(0).log(), "plain": plain}
    assessment = ClassificationAssessment()
    for rows in (slice(0, 25), slice(25, ROWS)):
        each = {name: z[rows] for name, z in logits.items()}
        assessment.add(Logits(each, {"bayes": samples[:, rows]}), y[rows])
    return assessment.result(), assessment.row_scores()


def test_stochastic_peers_and_the_ensemble_have_it_in_metrics_and_of_every_labelled_row() -> None:
    samples, y = drawn(SAMPLES, ROWS, CLASSES), torch.arange(ROWS) % CLASSES
    y[::3] = -1
    block, scores = block_of(samples, y)
    expected = mutual_information(samples)[y >= 0]
    assert block["peers"]["bayes"]["mutual_information"] == pytest.approx(expected.mean().item())
    np.testing.assert_allclose(scores["bayes"]["mutual_information"], expected, rtol=1e-6)
    assert "mutual_information" not in block["peers"]["plain"]
    assert "mutual_information" not in scores["plain"]
    assert block["mean_peer"]["mutual_information"] == pytest.approx(expected.mean().item())
    together = block["ensemble"]["mutual_information"]
    assert together == pytest.approx(scores["ensemble"]["mutual_information"].mean().item())
    assert together > 0


def test_nll_is_that_of_the_mean_probability_not_of_the_mean_logit() -> None:
    samples, y = drawn(SAMPLES, ROWS, CLASSES), torch.arange(ROWS) % CLASSES
    block, _ = block_of(samples, y)
    p = samples.double().softmax(2).mean(0)[torch.arange(ROWS), y]
    of_logits = samples.double().mean(0).softmax(1)[torch.arange(ROWS), y]
    assert block["peers"]["bayes"]["nll"] == pytest.approx(-p.log().mean().item())
    assert block["peers"]["bayes"]["nll"] != pytest.approx(-of_logits.log().mean().item(), 1e-2)


@pytest.mark.parametrize("peers", ["a", "ab"])
def test_of_deterministic_peers_an_ensemble_of_several_alone_has_it(peers: str) -> None:
    logits = {name: drawn(ROWS, CLASSES) for name in peers}
    y = torch.arange(ROWS) % CLASSES
    assessment = ClassificationAssessment()
    assessment.add(logits, y)
    block = assessment.result()
    assert block["peers"] == assess_classification(logits, y)["peers"]
    assert ("mutual_information" in block["ensemble"]) == (len(peers) > 1)


# Answers that may be withheld


def brute_force_risks(confidence: list[float], correct: list[bool]) -> list[float]:
    order = sorted(range(len(confidence)), key=lambda row: -confidence[row])
    return [sum(not correct[row] for row in order[:n]) / n for n in range(1, len(order) + 1)]


def test_aurc_is_the_area_below_risks_at_growing_coverage() -> None:
    draw = np.random.default_rng(0)
    confidence, correct = draw.random(83), draw.random(83) < 0.7
    risks = brute_force_risks(confidence.tolist(), correct.tolist())
    found = selective_risks(torch.from_numpy(confidence), torch.from_numpy(correct))
    assert found.tolist() == pytest.approx(risks)
    area = sum((one + other) / 2 / 83 for one, other in pairwise(risks)) / (1 - 1 / 83)
    measured = aurc(torch.from_numpy(confidence), torch.from_numpy(correct))
    assert measured == pytest.approx(area)
    # As torch-uncertainty has it, by the function of torchmetrics that it calls.
    theirs = auc(torch.arange(1, 84).double() / 83, torch.tensor(risks, dtype=torch.float64))
    assert measured == pytest.approx(theirs.item() / (1 - 1 / 83))


def test_rows_of_equal_confidence_share_their_mistakes_whatever_their_order() -> None:
    confidence = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.2])
    correct = torch.tensor([1, 0, 1, 1, 0])
    expected = [0, 1 / 6, 2 / 9, 1 / 4, 2 / 5]
    for order in ([0, 1, 2, 3, 4], [4, 3, 1, 2, 0], [2, 0, 3, 4, 1]):
        found = selective_risks(confidence[order], correct[order]).tolist()
        assert found == pytest.approx(expected)


def test_aurc_tells_confidence_that_knows_mistakes_from_one_that_does_not() -> None:
    correct = torch.tensor([1, 1, 1, 1, 0, 0])
    knows, errs = torch.linspace(1, 0.5, 6), torch.linspace(0.5, 1, 6)
    assert aurc(knows, correct) < aurc(torch.ones(6), correct) < aurc(errs, correct)
    assert aurc(torch.ones(6), correct) == pytest.approx(1 / 3)
    assert aurc(torch.ones(1), torch.zeros(1)) == 1
    assert math.isnan(aurc(torch.tensor([0.5, math.nan]), torch.ones(2)))


@pytest.mark.parametrize("rows", [3, 50, 137])
def test_a_risk_curve_has_the_risk_of_at_least_that_share_of_rows(rows: int) -> None:
    draw = np.random.default_rng(rows)
    confidence, correct = draw.random(rows), draw.random(rows) < 0.7
    risks = brute_force_risks(confidence.tolist(), correct.tolist())
    found = risk_curve(torch.from_numpy(confidence), torch.from_numpy(correct))
    assert len(found) == len(coverages()) == COVERAGES
    for number, risk in enumerate(found, start=1):
        count = next(n for n in range(1, rows + 1) if n * COVERAGES >= number * rows)
        assert risk == pytest.approx(risks[count - 1])
    assert found[-1] == pytest.approx(1 - correct.mean())
    assert math.isnan(risk_curve(torch.tensor([math.nan]), torch.ones(1))[0])


def test_the_block_holds_the_curve_whose_last_point_is_the_error() -> None:
    logits, y = {"a": drawn(ROWS, CLASSES), "b": drawn(ROWS, CLASSES, seed=1)}, torch.arange(ROWS)
    block = assess_classification(logits, y % CLASSES)
    for who, risk in block["selective"]["risk"].items():
        of = block["ensemble"] if who == "ensemble" else block["peers"][who]
        assert risk[-1] == pytest.approx(1 - of["accuracy"])
    assert set(block["selective"]["risk"]) == {"a", "b", "ensemble"}
    metrics = classification_metrics(logits["a"].log_softmax(1), y % CLASSES)
    assert metrics["aurc"] == block["peers"]["a"]["aurc"]


# Rows out of distribution


def scores(ties: bool) -> SimpleNamespace:
    draw = np.random.default_rng(1)
    inside, outside = draw.normal(0, 1, 130), draw.normal(1, 1.5, 71)
    if ties:
        inside, outside = inside.round(), outside.round()
    truth = np.repeat([0, 1], [130, 71])
    return SimpleNamespace(inside=inside, outside=outside, truth=truth, both=np.r_[inside, outside])


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_and_aupr_are_those_of_scikit_learn(ties: bool) -> None:
    it = scores(ties)
    assert auroc(it.inside, it.outside) == pytest.approx(roc_auc_score(it.truth, it.both))
    expected = average_precision_score(it.truth, it.both)
    assert aupr(it.inside, it.outside) == pytest.approx(expected)
    pairs = [(o > i) + (o == i) / 2 for o in it.outside for i in it.inside]
    assert auroc(it.inside, it.outside) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize("ties", [False, True])
def test_fpr95_is_the_least_share_of_alarms_that_finds_95_percent(ties: bool) -> None:
    it = scores(ties)
    found = fpr95(it.inside, it.outside)
    alarms = [
        (it.inside >= threshold).mean()
        for threshold in it.both
        if (it.outside >= threshold).mean() >= 0.95
    ]
    assert found == min(alarms)
    false_positive, true_positive, _ = roc_curve(it.truth, it.both, drop_intermediate=False)
    assert found == pytest.approx(false_positive[true_positive >= 0.95].min())


def test_scores_that_are_no_numbers_are_told_apart_by_none() -> None:
    good, bad = np.zeros(3), np.array([0, np.nan])
    for measure in (auroc, aupr, fpr95):
        assert math.isnan(measure(good, bad))
        assert math.isnan(measure(bad, good))


def test_a_histogram_holds_every_row_and_its_bins_are_narrow_near_zero() -> None:
    edges = bin_edges(10)
    assert edges[0] == 0
    assert edges[-1] == pytest.approx(math.log(10))
    assert (np.diff(edges, 2) > 0).all()
    shares = histogram(np.array([0, 0, 1e-9, math.log(10) + 1e-6, 1.0]), edges)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(0.6)
    assert shares[-1] == pytest.approx(0.2)


def test_metrics_of_sets_are_not_of_classes_and_say_of_what_they_are() -> None:
    metrics = Catalogue(CLASSIFICATION)
    assert is_of_set("auroc_mi:mnist")
    assert not is_of_class("auroc_mi:mnist")
    assert is_of_class("iou:road")
    assert not is_of_set("iou:auroc")
    assert metrics["auroc:mnist"].label == "AUROC of mnist by entropy"
    assert metrics["fpr95_mi:a:b"].label == "FPR at 95 % recall of a:b by mutual information"
    assert metrics["fpr95:mnist"].better == "lower"
    assert metrics["aurc"].better == "lower"
    assert metrics["mutual_information"].better is None
    assert metrics.main(["auroc:mnist", "aurc", "accuracy"]) == "accuracy"


def test_curves_of_several_seeds_are_averaged_point_by_point() -> None:
    one = {"x": [0.5, 1], "y": {"a": [1.0, None]}, "rows": 3}
    other = {"x": [0.5, 1], "y": {"a": [2.0, 4.0]}, "rows": 3}
    assert pointwise_mean([one, other]) == {"x": [0.5, 1], "y": {"a": [1.5, None]}, "rows": 3}
    with pytest.raises(ValueError, match="not the same entries"):
        pointwise_mean([one, {"x": [0.5, 1]}])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        pointwise_mean([{"x": [1, 2]}, {"x": [1]}])
