"""Soft assignments with equal shares."""

import pytest
import torch

from peerlearn.tasks.discovery.objectives.uno import sinkhorn


def cosines(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def as_the_authors_do(scores, epsilon=0.05, iterations=3):
    q = (scores.double() / epsilon).exp().T
    q /= q.sum()
    clusters, rows = q.shape
    for _ in range(iterations):
        q /= q.sum(1, keepdim=True) * clusters
        q /= q.sum(0, keepdim=True) * rows
    return (q * rows).T.float()


def test_it_is_the_published_iteration():
    scores = cosines(30, 5)
    torch.testing.assert_close(sinkhorn(scores), as_the_authors_do(scores))
    torch.testing.assert_close(sinkhorn(scores, 0.2, 7), as_the_authors_do(scores, 0.2, 7))


def test_rows_sum_to_1_and_columns_to_equal_shares():
    targets = sinkhorn(cosines(60, 5) + torch.tensor([2.0, 0, 0, 0, 0]), iterations=50)
    torch.testing.assert_close(targets.sum(1), torch.ones(60))
    torch.testing.assert_close(targets.sum(0), torch.full((5,), 12.0), rtol=1e-2, atol=0)


def test_three_iterations_spread_rows_that_all_prefer_one_cluster():
    scores = cosines(60, 5) * 0.2 + torch.tensor([0.8, 0, 0, 0, 0])
    assert scores.argmax(1).bincount(minlength=5)[0] > 55
    shares = sinkhorn(scores).sum(0)
    assert shares.max() < 1.2 * 12
    assert shares.min() > 0.8 * 12


def test_leading_dimensions_are_heads_of_their_own():
    scores = cosines(3, 20, 4)
    expected = torch.stack([sinkhorn(head) for head in scores])
    torch.testing.assert_close(sinkhorn(scores), expected)


def test_a_cluster_that_no_row_comes_near_gives_no_nan():
    scores = cosines(20, 4) + torch.tensor([0.0, 0, 0, -50])
    targets = sinkhorn(scores)
    assert torch.isfinite(targets).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(20))


def test_it_is_in_fp32_without_gradient_and_takes_no_rows():
    targets = sinkhorn(cosines(20, 4).bfloat16().requires_grad_())
    assert targets.dtype == torch.float32
    assert not targets.requires_grad
    assert sinkhorn(torch.zeros(2, 0, 4)).shape == (2, 0, 4)


@pytest.mark.parametrize("options", [{"epsilon": 0.5}, {"iterations": 1}])
def test_every_option_changes_the_result(options):
    assert not torch.allclose(sinkhorn(cosines(20, 4)), sinkhorn(cosines(20, 4), **options))
