"""Divergences against torch.distributions and against formulas written out in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, kl_divergence

from peerlearn.transfer.divergences import (
    DIVERGENCE_NAMES,
    LOGIT_DISTANCES,
    PROBABILITY_DIVERGENCES,
    cosine_distance,
    jensen_shannon,
    kl,
    mean_squared_error,
    renyi,
    reverse_kl,
    symmetric_kl,
)

ALL_PROBABILITY = PROBABILITY_DIVERGENCES | {
    "renyi 0.5": lambda p, q: renyi(p, q, 0.5),
    "renyi 1.001": lambda p, q: renyi(p, q, 1.001),
    "renyi 2": lambda p, q: renyi(p, q, 2.0),
}
SYMMETRIC = ("symmetric_kl", "js")


def random_logits(*shape, scale=1.0, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * scale


def pair(scale=1.0, rows=50, classes=7, dtype=torch.float64):
    """Logits of a teacher and a learner."""
    return (
        random_logits(rows, classes, scale=scale, seed=1, dtype=dtype),
        random_logits(rows, classes, scale=scale, seed=2, dtype=dtype),
    )


def log_pair(**arguments):
    return tuple(z.log_softmax(-1) for z in pair(**arguments))


def test_every_named_divergence_is_implemented():
    assert set(DIVERGENCE_NAMES) == {*PROBABILITY_DIVERGENCES, "renyi", *LOGIT_DISTANCES}
    assert len(set(DIVERGENCE_NAMES)) == len(DIVERGENCE_NAMES)


def test_kl_takes_the_teacher_first():
    zp, zq = pair()
    expected = kl_divergence(Categorical(logits=zp), Categorical(logits=zq))
    torch.testing.assert_close(kl(zp.log_softmax(-1), zq.log_softmax(-1)), expected)


def test_kl_equals_torch_kl_div_batchmean():
    zp, zq = pair(dtype=torch.float32)
    expected = F.kl_div(F.log_softmax(zq, -1), F.softmax(zp, -1), reduction="batchmean")
    torch.testing.assert_close(kl(zp.log_softmax(-1), zq.log_softmax(-1)).mean(), expected)


def test_reverse_kl_takes_the_learner_first():
    zp, zq = pair()
    expected = kl_divergence(Categorical(logits=zq), Categorical(logits=zp))
    torch.testing.assert_close(reverse_kl(zp.log_softmax(-1), zq.log_softmax(-1)), expected)


def test_symmetric_kl_is_the_mean_of_both_directions():
    zp, zq = pair()
    p, q = Categorical(logits=zp), Categorical(logits=zq)
    expected = (kl_divergence(p, q) + kl_divergence(q, p)) / 2
    torch.testing.assert_close(symmetric_kl(p.logits, q.logits), expected)


def test_jensen_shannon_is_the_mean_divergence_from_the_mixture():
    zp, zq = pair()
    p, q = Categorical(logits=zp), Categorical(logits=zq)
    m = Categorical(probs=(p.probs + q.probs) / 2)
    expected = (kl_divergence(p, m) + kl_divergence(q, m)) / 2
    torch.testing.assert_close(jensen_shannon(p.logits, q.logits), expected)


def test_jensen_shannon_reaches_log_2_for_disjoint_predictions_and_never_exceeds_it():
    p = torch.tensor([[200.0, 0.0, 0.0]]).log_softmax(-1)
    q = torch.tensor([[0.0, 200.0, 0.0]]).log_softmax(-1)
    assert jensen_shannon(p, q).item() == pytest.approx(math.log(2), abs=1e-6)
    for scale in (1.0, 10.0, 100.0):
        assert (jensen_shannon(*log_pair(scale=scale)) <= math.log(2) + 1e-12).all()


def test_jensen_shannon_is_exact_in_double_precision():
    p, _ = log_pair()
    assert jensen_shannon(p, p).abs().max() < 1e-14


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_divergences_do_not_care_who_teaches(name):
    p, q = log_pair()
    divergence = PROBABILITY_DIVERGENCES[name]
    torch.testing.assert_close(divergence(p, q), divergence(q, p))


@pytest.mark.parametrize("name", sorted(set(PROBABILITY_DIVERGENCES) - set(SYMMETRIC)))
def test_directed_divergences_do_care_who_teaches(name):
    p, q = log_pair()
    divergence = PROBABILITY_DIVERGENCES[name]
    assert not torch.allclose(divergence(p, q), divergence(q, p), rtol=1e-2)


@pytest.mark.parametrize("name", ALL_PROBABILITY)
def test_divergences_are_zero_at_agreement_and_positive_elsewhere(name):
    p, q = log_pair()
    assert ALL_PROBABILITY[name](p, p).abs().max() < 1e-12
    assert (ALL_PROBABILITY[name](p, q) > 1e-4).all()


@pytest.mark.parametrize("name", ALL_PROBABILITY)
def test_divergences_ignore_a_constant_added_to_the_logits(name):
    zp, zq = pair()
    shifted = ALL_PROBABILITY[name]((zp + 5).log_softmax(-1), (zq - 3).log_softmax(-1))
    torch.testing.assert_close(
        shifted, ALL_PROBABILITY[name](zp.log_softmax(-1), zq.log_softmax(-1))
    )


@pytest.mark.parametrize("name", ALL_PROBABILITY | LOGIT_DISTANCES)
def test_one_call_compares_many_teachers_with_one_learner(name):
    divergence = (ALL_PROBABILITY | LOGIT_DISTANCES)[name]
    teachers_TRC = random_logits(3, 5, 4).log_softmax(-1)
    learner_RC = random_logits(5, 4, seed=9).log_softmax(-1)
    together = divergence(teachers_TRC, learner_RC)
    assert together.shape == (3, 5)
    for teacher, row in zip(teachers_TRC, together, strict=True):
        torch.testing.assert_close(divergence(teacher, learner_RC), row)


@pytest.mark.parametrize("name", ALL_PROBABILITY | LOGIT_DISTANCES)
def test_gradients_of_both_sides_match_finite_differences(name):
    divergence = (ALL_PROBABILITY | LOGIT_DISTANCES)[name]
    zp, zq = (z.requires_grad_() for z in pair(rows=4, classes=3))

    def of_logits(teacher, learner):
        if name in LOGIT_DISTANCES:
            return divergence(teacher, learner)
        return divergence(teacher.log_softmax(-1), learner.log_softmax(-1))

    assert torch.autograd.gradcheck(of_logits, (zp, zq))


def test_kl_gradient_is_the_learner_minus_the_teacher():
    zp, zq = pair()
    zq.requires_grad_()
    kl(zp.log_softmax(-1), zq.log_softmax(-1)).sum().backward()
    torch.testing.assert_close(zq.grad, zq.detach().softmax(-1) - zp.softmax(-1))


@pytest.mark.parametrize("apart", [100.0, 1e4])
@pytest.mark.parametrize("name", ALL_PROBABILITY)
def test_far_apart_logits_stay_finite_in_value_and_gradient(name, apart):
    zp = torch.tensor([[apart, 0.0, -apart], [0.0, 0.0, 0.0]], requires_grad=True)
    zq = torch.tensor([[-apart, 0.0, apart], [apart, 0.0, -apart]], requires_grad=True)
    value = ALL_PROBABILITY[name](zp.log_softmax(-1), zq.log_softmax(-1))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(zp.grad).all()
    assert torch.isfinite(zq.grad).all()


def test_mean_squared_error_is_a_mean_over_classes():
    zp, zq = pair()
    expected = torch.stack([F.mse_loss(q, p) for p, q in zip(zp, zq, strict=True)])
    torch.testing.assert_close(mean_squared_error(zp, zq), expected)


def test_cosine_distance_runs_from_0_to_2_and_ignores_scale():
    z = torch.tensor([[1.0, 2.0, -1.0]])
    assert cosine_distance(z, 10 * z).item() == pytest.approx(0, abs=1e-6)
    assert cosine_distance(z, -z).item() == pytest.approx(2, abs=1e-6)
    assert cosine_distance(z, torch.tensor([[2.0, -1.0, 0.0]])).item() == pytest.approx(1, abs=1e-6)
