import math

import pytest
import torch
from torch.nn.functional import log_softmax
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_accuracy,
    multiclass_calibration_error,
    multilabel_accuracy,
    multilabel_exact_match,
    multilabel_f1_score,
)

from peerlearn.errors import InputError
from peerlearn.metrics.calibration import bin_means, calibration_error, equal_mass, equal_width
from peerlearn.metrics.classification import (
    classification_metrics,
    ensemble_log_probs,
    ensemble_multilabel_logits,
    multilabel_metrics,
    reliability,
)


def drawn(rows=400, classes=10, scale=2.0, seed=0, dtype=torch.float32):
    """Log-probabilities and labels that are right more often than chance, but not calibrated."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (rows,), generator=generator)
    logits = scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    logits[torch.arange(rows), y] += 1.5
    return log_softmax(logits, 1).to(dtype), y


def test_hand_computed_values():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.25, 0.25, 0.5]], dtype=torch.float64)
    metrics = classification_metrics(p.log(), torch.tensor([0, 2, 2]))
    assert metrics == pytest.approx(
        {
            "accuracy": 2 / 3,
            "nll": -(math.log(0.7) + math.log(0.4) + math.log(0.5)) / 3,
            # 0.7 right falls into the 11th bin; 0.5 wrong and 0.5 right share the 8th.
            "ece": 1 / 3 * 0.3 + 2 / 3 * 0.0,
            # The bins are 0.5 and 0.5 (tied), and 0.7.
            "adaptive_ece": 1 / 3 * 0.3,
            "brier": ((0.09 + 0.04 + 0.01) + (0.01 + 0.25 + 0.36) + (0.0625 * 2 + 0.25)) / 3,
            "entropy": -(
                (0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))
                + (0.1 * math.log(0.1) + 0.5 * math.log(0.5) + 0.4 * math.log(0.4))
                + (0.5 * math.log(0.25) + 0.5 * math.log(0.5))
            )
            / 3,
            # Risks 0, 1/4 and 1/3: the two of 0.5 share their one mistake.
            "aurc": ((0 + 1 / 4) / 2 + (1 / 4 + 1 / 3) / 2) / 2,
        }
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.3, 2.0, 6.0])
@pytest.mark.parametrize("classes", [3, 10])
def test_accuracy_top5_and_ece_agree_with_torchmetrics(dtype, scale, classes):
    log_probs, y = drawn(classes=classes, scale=scale, dtype=dtype)
    p = log_probs.exp()
    metrics = classification_metrics(log_probs, y)
    accuracy = multiclass_accuracy(p, y, classes, average="micro").item()
    assert metrics["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    ece = multiclass_calibration_error(p, y, classes, n_bins=15).item()
    assert metrics["ece"] == pytest.approx(ece, abs=2e-6)
    assert ("top5" in metrics) == (classes > 5)
    if classes > 5:
        top5 = multiclass_accuracy(p, y, classes, average="micro", top_k=5).item()
        assert metrics["top5"] == pytest.approx(top5, abs=1e-6)


@pytest.mark.parametrize("rows", [7, 15, 16, 400])
def test_adaptive_ece_agrees_with_brute_force(rows):
    log_probs, y = drawn(rows=rows, dtype=torch.float64)
    confidence, predicted = log_probs.exp().max(1)
    ranked = sorted(
        zip(confidence.tolist(), (predicted == y).double().tolist(), strict=True),
        key=lambda r: r[0],
    )
    expected = 0.0
    for b in range(15):
        members = [row for r, row in enumerate(ranked) if r * 15 // rows == b]
        expected += abs(sum(right - stated for stated, right in members)) / rows
    assert classification_metrics(log_probs, y)["adaptive_ece"] == pytest.approx(expected)


def test_equal_mass_bins_hold_equally_many_rows_and_keep_ties_together():
    spread = torch.rand(100, generator=torch.Generator().manual_seed(0))
    assert set(torch.bincount(equal_mass(spread, 15), minlength=15).tolist()) == {6, 7}
    tied = torch.cat([spread * 0.5, torch.full((50,), 0.9)])
    assert equal_mass(tied, 15)[100:].unique().numel() == 1


def test_calibration_does_not_depend_on_the_order_of_rows():
    log_probs, y = drawn(scale=40.0)  # many confidences tie at 1
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    there, back = (
        classification_metrics(log_probs, y),
        classification_metrics(log_probs[order], y[order]),
    )
    assert there == pytest.approx(back, abs=1e-12)


def test_constant_predictor_is_off_by_confidence_minus_accuracy():
    p = torch.tensor([0.8, 0.15, 0.05], dtype=torch.float64)
    y = torch.tensor([0, 1] * 50)
    metrics = classification_metrics(p.log().expand(100, 3), y)
    assert metrics["accuracy"] == 0.5
    assert metrics["ece"] == pytest.approx(0.3)
    assert metrics["adaptive_ece"] == pytest.approx(0.3)


def test_uniform_predictor_has_maximal_entropy():
    metrics = classification_metrics(torch.full((30, 10), -math.log(10)), torch.arange(30) % 10)
    assert metrics["entropy"] == pytest.approx(math.log(10), rel=1e-6)
    assert metrics["nll"] == pytest.approx(math.log(10), rel=1e-6)
    assert metrics["brier"] == pytest.approx(0.9, rel=1e-6)


def test_perfect_and_perfectly_wrong_predictors_span_the_scales():
    y = torch.arange(20) % 10
    certain = torch.nn.functional.one_hot(y, 10).double().log()  # -inf elsewhere
    best = classification_metrics(certain, y)
    assert best == {
        "accuracy": 1,
        "top5": 1,
        "nll": 0,
        "ece": 0,
        "adaptive_ece": 0,
        "brier": 0,
        "entropy": 0,
        "aurc": 0,
    }
    worst = classification_metrics(certain, (y + 1) % 10)
    assert worst["brier"] == 2
    assert worst["ece"] == worst["adaptive_ece"] == 1
    assert worst["nll"] == math.inf


def test_extreme_logits_stay_finite():
    generator = torch.Generator().manual_seed(0)
    log_probs = log_softmax(1e4 * torch.randn(50, 10, generator=generator), 1)
    metrics = classification_metrics(log_probs, torch.randint(10, (50,), generator=generator))
    assert all(math.isfinite(value) for value in metrics.values())


def test_a_diverged_peer_is_wrong_and_does_not_look_calibrated():
    metrics = classification_metrics(
        torch.full((8, 10), math.nan), torch.zeros(8, dtype=torch.long)
    )
    assert metrics["accuracy"] == metrics["top5"] == 0
    assert all(math.isnan(metrics[name]) for name in ("nll", "ece", "adaptive_ece", "aurc"))


def test_unlabelled_rows_are_left_out():
    log_probs, y = drawn()
    y_partly = y.clone()
    y_partly[::2] = -1
    expected = classification_metrics(log_probs[1::2], y[1::2])
    assert classification_metrics(log_probs, y_partly) == expected


@pytest.mark.parametrize(
    ("log_probs", "y", "message"),
    [
        (torch.zeros(4, 1), torch.full((4,), -1), "no labelled row"),
        (torch.zeros(4, 1), torch.zeros(3, dtype=torch.long), r"\(4, 1\) and \(3,\)"),
        (torch.zeros(4, 1), torch.zeros(4), "integer classes"),
        (torch.full((4, 2), 0.5).log(), torch.tensor([0, 1, 2, 0]), "class 2; .* 0 to 1"),
        (torch.full((4, 2), 0.5).log(), torch.tensor([0, 1, -7, 0]), "class -7"),
        (torch.randn(4, 2) * 5, torch.zeros(4, dtype=torch.long), "log_softmax"),
    ],
)
def test_bad_input_is_named(log_probs, y, message):
    with pytest.raises(InputError, match=message):
        classification_metrics(log_probs, y)


def test_half_precision_predictions_are_read():
    log_probs, y = drawn()
    half = classification_metrics(log_probs.bfloat16(), y)
    assert half["nll"] == pytest.approx(classification_metrics(log_probs, y)["nll"], rel=0.01)


def test_reliability_bins_explain_the_ece():
    log_probs, y = drawn()
    curve = reliability(log_probs, y)
    assert {name: len(values) for name, values in curve.items()} == {
        "confidence": 15,
        "accuracy": 15,
        "fraction": 15,
    }
    assert sum(curve["fraction"]) == pytest.approx(1)
    filled = [bin_ for bin_ in zip(*curve.values(), strict=True) if bin_[2]]
    ece = sum(share * abs(right - stated) for stated, right, share in filled)
    assert ece == pytest.approx(classification_metrics(log_probs, y)["ece"])


def test_empty_reliability_bins_are_none_and_certainty_is_in_the_last():
    curve = reliability(torch.tensor([[0.0, -math.inf], [0.0, -math.inf]]), torch.tensor([0, 1]), 4)
    assert curve == {
        "confidence": [None, None, None, 1.0],
        "accuracy": [None, None, None, 0.5],
        "fraction": [0, 0, 0, 1],
    }


def test_equal_width_bins_are_closed_below_and_the_last_one_above():
    confidence = torch.tensor([0.0, 0.24, 0.25, 0.5, 0.99, 1.0])
    assert equal_width(confidence, 4).tolist() == [0, 0, 1, 2, 3, 3]


def test_calibration_error_ignores_only_empty_bins():
    bins = bin_means(
        torch.tensor([math.nan, 0.4]), torch.tensor([1.0, 1.0]), torch.tensor([0, 1]), 3
    )
    assert math.isnan(calibration_error(bins))


def test_ensemble_averages_probabilities_not_logits():
    a = torch.tensor([[0.98, 0.02]], dtype=torch.float64)
    b = torch.tensor([[0.30, 0.70]], dtype=torch.float64)
    together = ensemble_log_probs([a.log(), b.log()])
    torch.testing.assert_close(together.exp(), (a + b) / 2)
    of_logits = log_softmax((a.log() + b.log()) / 2, 1)
    assert not torch.allclose(together, of_logits, atol=0.05)


def test_ensemble_survives_probabilities_of_zero():
    certain = torch.tensor([[0.0, -math.inf]])
    torch.testing.assert_close(
        ensemble_log_probs([certain, certain.flip(1)]), torch.full((1, 2), math.log(0.5))
    )
    assert ensemble_log_probs([certain, certain]).tolist() == certain.tolist()


def test_ensemble_needs_peers_of_one_shape():
    with pytest.raises(InputError, match="none"):
        ensemble_log_probs([])
    with pytest.raises(InputError, match=r"\(2, 3\), \(2, 4\)"):
        ensemble_log_probs([torch.zeros(2, 3), torch.zeros(2, 4)])


def drawn_multilabel(rows=200, labels=6):
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(rows, labels, generator=generator) < 0.3).float()
    return 2 * torch.randn(rows, labels, generator=generator) + 2 * y - 1, y


def test_multilabel_hand_computed_values():
    p = torch.tensor([[0.9, 0.2], [0.6, 0.7]], dtype=torch.float64)
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert multilabel_metrics(p.logit(), y) == pytest.approx(
        {
            "accuracy": 3 / 4,
            "exact_match": 1 / 2,
            "nll": -(math.log(0.9) + math.log(0.8) + math.log(0.4) + math.log(0.7)) / 2,
            "ece": (0.1 + 0.2 + 0.6 + 0.3) / 4,
            "brier": ((0.01 + 0.04) + (0.36 + 0.09)) / 2,
            "f1": (2 / 3 + 1) / 2,
        }
    )


def test_multilabel_agrees_with_torchmetrics():
    logits, y = drawn_multilabel()
    y[:, 5], logits[:, 5] = 0, -3  # a label that is neither there nor found
    p, target, labels = logits.sigmoid(), y.int(), y.shape[1]
    metrics = multilabel_metrics(logits, y)
    expected = {
        "accuracy": multilabel_accuracy(p, target, labels, average="micro"),
        "exact_match": multilabel_exact_match(p, target, labels),
        "f1": multilabel_f1_score(p, target, labels, average="macro"),
        "ece": binary_calibration_error(p.flatten(), target.flatten(), n_bins=15),
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, abs=1e-6
    )


def test_multilabel_rows_of_nan_are_left_out():
    logits, y = drawn_multilabel()
    partly = y.clone()
    partly[::2] = math.nan
    assert multilabel_metrics(logits, partly) == multilabel_metrics(logits[1::2], y[1::2])
    with pytest.raises(InputError, match="no labelled row"):
        multilabel_metrics(logits, torch.full_like(y, math.nan))
    with pytest.raises(InputError, match="holds 2;"):
        multilabel_metrics(logits, y + 1)
    with pytest.raises(InputError, match=r"\(200, 6\) and \(200, 5\)"):
        multilabel_metrics(logits, y[:, :5])


def test_multilabel_extreme_logits_stay_finite():
    logits, y = drawn_multilabel()
    assert all(math.isfinite(value) for value in multilabel_metrics(1e4 * logits, y).values())


def test_multilabel_reliability_explains_its_ece():
    logits, y = drawn_multilabel()
    curve = reliability(logits, y)
    filled = [bin_ for bin_ in zip(*curve.values(), strict=True) if bin_[2]]
    ece = sum(share * abs(right - stated) for stated, right, share in filled)
    assert ece == pytest.approx(multilabel_metrics(logits, y)["ece"])


def test_multilabel_ensemble_averages_probabilities():
    a, b = torch.tensor([[4.0, -2.0]]), torch.tensor([[-1.0, 0.5]])
    torch.testing.assert_close(
        ensemble_multilabel_logits([a, b]).sigmoid(), (a.sigmoid() + b.sigmoid()) / 2
    )
    assert ensemble_multilabel_logits([1e4 * a, 1e4 * a]).isfinite().all()
