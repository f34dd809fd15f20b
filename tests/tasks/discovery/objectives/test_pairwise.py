"""Losses of pairs of rows, and the ramp of their consistency."""

import math

import pytest
import torch

from peerlearn.tasks.discovery.objectives.pairs import (
    consistency,
    cosine_similarities,
    pairwise_bce,
    pairwise_positive,
    ramp_up,
)


def probabilities(rows=6, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, classes, generator=generator).softmax(1)


def by_pairs(p, q, same, eps=1e-7):
    cells = []
    for i in range(len(p)):
        for j in range(len(q)):
            together, s = float(p[i] @ q[j]), float(same[i, j])
            cells.append(-s * math.log(together + eps) - (1 - s) * math.log(1 - together + eps))
    return sum(cells) / len(cells)


@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_of_pairs_is_the_mean_over_all_ordered_pairs(soft):
    p, q = probabilities(), probabilities(seed=1)
    same = torch.rand(6, 6, generator=torch.Generator().manual_seed(2))
    same = same if soft else same > 0.5
    assert pairwise_bce(p, q, same).item() == pytest.approx(by_pairs(p, q, same), rel=1e-5)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("together", [0.0, 1.0, 1 + 1e-6])
def test_certain_pairs_have_a_finite_loss_and_gradient(same, together):
    p = torch.tensor([[1.0, 0.0]], requires_grad=True)
    q = torch.tensor([[together, 1.0]], requires_grad=True)  # rounding puts sums beyond 1
    for criterion in (pairwise_bce, pairwise_positive):
        loss = criterion(p, q, torch.tensor([[same]]))
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(p.grad).all()
        assert torch.isfinite(q.grad).all()


def test_gradients_reach_both_views():
    p, q = probabilities().requires_grad_(), probabilities(seed=1).requires_grad_()
    pairwise_bce(p, q, torch.eye(6)).backward()
    assert p.grad.any()
    assert q.grad.any()


def test_the_positive_criterion_is_the_term_that_draws_together():
    p, q, same = probabilities(), probabilities(seed=1), torch.eye(6)
    expected = -(same * (p @ q.T + 1e-7).log()).mean()
    torch.testing.assert_close(pairwise_positive(p, q, same), expected)
    assert pairwise_positive(p, q, torch.zeros(6, 6)) == 0


def test_no_rows_give_0():
    none = torch.zeros(0, 4)
    assert pairwise_bce(none, none, torch.zeros(0, 0)) == 0
    assert pairwise_positive(none, none, torch.zeros(0, 0)) == 0
    assert consistency(none, none) == 0


def test_cosines_are_of_every_two_rows_and_0_for_a_row_of_zeros():
    features = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
    half = math.sqrt(0.5)
    expected = torch.tensor([[1, 0, half, 0], [0, 1, half, 0], [half, half, 1, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(cosine_similarities(features), expected)


def test_consistency_is_the_mean_over_all_entries_with_gradients_both_ways():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 3, generator=generator, requires_grad=True) for _ in range(2))
    loss = consistency(a, b)
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(a.softmax(1), b.softmax(1)))
    loss.backward()
    assert a.grad.any()
    assert b.grad.any()


def test_the_ramp_begins_at_exp_minus_5_and_stays_at_the_weight():
    assert ramp_up(0.0, 5.0, 0.25) == pytest.approx(5 * math.exp(-5))
    assert ramp_up(0.125, 5.0, 0.25) == pytest.approx(5 * math.exp(-5 * 0.5**2))
    assert ramp_up(0.25, 5.0, 0.25) == ramp_up(0.8, 5.0, 0.25) == 5.0
    assert ramp_up(0.0, 5.0, 0.0) == ramp_up(None, 5.0, 0.25) == 5.0
