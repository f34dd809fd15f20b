"""Which rows have the same largest features, ties included."""

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.discovery.objectives import ranking_statistics
from peerlearn.tasks.discovery.objectives.ranking_statistics import same_top_k, top_k_columns


@pytest.fixture(autouse=True, params=["as few rows are", "as many rows are"])
def way(request, monkeypatch):
    """Few rows are sorted and compared pair by pair; the small ones here in both ways."""
    if "many" in request.param:
        monkeypatch.setattr(ranking_statistics, "_FEW", -1)
        monkeypatch.setattr(ranking_statistics, "_FEW_ENTRIES", -1)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def directly(features, k):
    """Every pair compared feature by feature; of equal features the first."""
    columns = torch.sort(features, dim=1, descending=True, stable=True).indices[:, :k]
    columns = columns.sort(1).values
    return (columns[:, None] == columns[None]).all(-1)


def test_the_order_within_the_set_does_not_count():
    features = torch.tensor([[5.0, 4, 3, 0, 0], [3, 5, 4, 1, 0], [3, 5, 0, 4, 1]])
    expected = [[True, True, False], [True, True, False], [False, False, True]]
    assert same_top_k(features, 3).tolist() == expected


@pytest.mark.parametrize("k", [1, 2, 5, 12])
@pytest.mark.parametrize("values", [2, 3, 1000])
def test_it_is_the_direct_comparison_ties_included(k, values):
    # Few values of which many are equal; sets of every size from one row up.
    features = (drawn(300, 12) * values / 4).round()
    same = same_top_k(features, k)
    assert torch.equal(same, directly(features, k))
    assert same.diagonal().all()
    assert torch.equal(same, same.T)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_formats_have_the_same_rule(dtype):
    features = drawn(200, 9).to(dtype).mul(2).round()
    assert torch.equal(same_top_k(features, 3), directly(features, 3))


@pytest.mark.parametrize("width", [1, 7, 8, 12, 40, 64, 136])
@pytest.mark.parametrize("values", [2, 1000])
def test_every_width_has_the_same_rule(width, values):
    # Groups of 1, 2, 4 and 8 columns, and fewer and more groups than k.
    features = (drawn(60, width) * values / 4).round()
    for k in {1, min(5, width), (width + 1) // 2, width}:
        assert torch.equal(same_top_k(features, k), directly(features, k)), k


def test_doubles_are_told_apart_that_float32_cannot():
    features = torch.ones(2, 9, dtype=torch.float64)
    features[0, 5] += 1e-12
    features[1, 7] -= 1e-12
    assert top_k_columns(features, 1).tolist() == [[5], [0]]
    assert top_k_columns(features, 8).tolist() == [[*range(8)], [*range(7), 8]]


def test_rows_may_be_every_other_one_and_columns_turned_round():
    features = drawn(20, 16)
    assert torch.equal(same_top_k(features[::2], 3), same_top_k(features[::2].clone(), 3))
    assert torch.equal(same_top_k(features.T, 3), same_top_k(features.T.contiguous(), 3))


def test_features_that_are_mostly_0_are_taken_from_the_left():
    features = torch.zeros(3, 8)
    features[0, 6] = 1
    features[2, 7] = -1
    assert top_k_columns(features, 3).tolist() == [[0, 1, 6], [0, 1, 2], [0, 1, 2]]


def test_minus_0_equals_0():
    features = torch.tensor([[-0.0, 0.0, 0.0, -1.0], [0.0, -0.0, 0.0, -1.0]])
    assert top_k_columns(features, 2).tolist() == [[0, 1], [0, 1]]


def test_nan_and_infinity_leave_a_set_of_k():
    inf, nan = float("inf"), float("nan")
    features = torch.tensor([[0, nan, 1, 1, 1], [-inf, -inf, -inf, 2, -inf], [inf, 0, inf, inf, 0]])
    assert top_k_columns(features, 2).tolist() == [[1, 2], [0, 3], [0, 2]]
    for column in range(24):  # in every place of a group
        features = torch.full((2, 24), -inf, dtype=torch.float32)
        features[0, column] = nan
        features[1, column] = -features[0, column]  # its sign does not count
        expected = sorted({column, 0 if column else 1})
        assert top_k_columns(features, 2).tolist() == [expected, expected]


def test_more_sets_than_int64_can_number():
    # 2^16 features, 5 of them: 2^80 sets.
    features = torch.zeros(6, 2**16)
    for row, columns in enumerate([(1, 2), (2, 1), (1, 60000), (60000, 1), (1, 9), (1, 2)]):
        features[row, list(columns)] = torch.tensor([2.0, 1.0])
    assert torch.equal(same_top_k(features, 5), directly(features, 5))
    assert same_top_k(features, 5)[0].tolist() == [True, True, False, False, False, True]


def test_sets_are_told_apart_up_to_the_largest_number():
    # 2^15 features, 4 of them: the last digit is worth 2^45.
    features = torch.zeros(2, 2**15)
    features[0, [0, 1, 2, 2**15 - 1]] = 1
    features[1, [0, 1, 2, 2**15 - 2]] = 1
    assert not same_top_k(features, 4)[0, 1]


@pytest.mark.parametrize("width", [6, 7, 8])
def test_no_gradient_passes_and_nothing_is_changed(width):
    features = drawn(10, width).neg().log().requires_grad_()  # NaN where it was above 0
    before = features.detach().clone()
    assert not same_top_k(features, 2).requires_grad
    torch.testing.assert_close(features.detach(), before, rtol=0, atol=0, equal_nan=True)
    assert before.isnan().any()


def test_no_rows_give_no_pairs():
    assert same_top_k(torch.zeros(0, 6), 2).shape == (0, 0)


@pytest.mark.parametrize("features, k", [((4, 3), 4), ((4, 3), 0), ((4,), 1), ((2, 3, 4), 1)])
def test_what_cannot_be_ranked_is_an_error(features, k):
    with pytest.raises(InputError, match=r"top_k: \d of features of shape"):
        same_top_k(torch.zeros(features), k)
