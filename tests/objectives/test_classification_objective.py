"""Cross-entropy on labelled rows; binary cross-entropy for multi-label targets."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from peerlearn.objectives.base import Classification, PeerView
from peerlearn.objectives.labels import UNLABELLED, labelled_rows
from peerlearn.transfer import PeerOutput


def logits(*shape, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * scale


def loss(z, y, **options):
    return Classification(**options).loss(PeerView.of(PeerOutput(z), y))


def test_it_is_cross_entropy():
    z, y = logits(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(loss(z, y), F.cross_entropy(z, y))


def test_the_mean_runs_over_labelled_rows():
    z, y = logits(6, 4), torch.tensor([0, -1, 2, -1, -1, 1])
    known = y != UNLABELLED
    torch.testing.assert_close(loss(z, y), F.cross_entropy(z[known], y[known]))


def test_unlabelled_rows_get_no_gradient():
    z, y = logits(6, 4).requires_grad_(), torch.tensor([0, -1, 2, -1, -1, 1])
    loss(z, y).backward()
    assert torch.equal(z.grad.abs().sum(-1) > 0, y != UNLABELLED)


@pytest.mark.parametrize("y", [torch.full((6,), -1), torch.full((6, 4), float("nan"))])
def test_a_batch_without_labels_gives_0_and_a_zero_gradient(y):
    z = logits(6, 4).requires_grad_()
    value = loss(z, y)
    value.backward()
    assert value.item() == 0
    assert not z.grad.any()


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_is_torchs_and_keeps_to_labelled_rows(smoothing):
    z, y = logits(6, 4), torch.tensor([0, -1, 2, -1, 3, 1])
    known = y != UNLABELLED
    expected = F.cross_entropy(z[known], y[known], label_smoothing=smoothing)
    torch.testing.assert_close(loss(z, y, label_smoothing=smoothing), expected)


def test_pixels_are_rows():
    z = logits(2, 4, 3, 5)
    y = torch.randint(0, 4, (2, 3, 5), generator=torch.Generator().manual_seed(1))
    y[0, 0] = UNLABELLED
    flat_z, flat_y = z.permute(0, 2, 3, 1).reshape(-1, 4), y.flatten()
    torch.testing.assert_close(loss(z, y), loss(flat_z, flat_y))
    torch.testing.assert_close(loss(z, y), F.cross_entropy(z, y, ignore_index=-1))


def test_float_targets_mean_multi_label():
    z = logits(6, 3)
    y = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1.0]])
    expected = F.binary_cross_entropy_with_logits(z, y, reduction="none").sum(-1).mean()
    torch.testing.assert_close(loss(z, y), expected)


def test_multi_label_rows_of_nan_are_left_out():
    z = logits(4, 3).requires_grad_()
    y = torch.tensor([[0, 1, 1], [float("nan")] * 3, [0, 0, 1.0], [1, float("nan"), 0]])
    value = loss(z, y)
    value.backward()
    torch.testing.assert_close(value.detach(), loss(z.detach()[[0, 2]], y[[0, 2]]))
    assert (z.grad.abs().sum(-1) > 0).tolist() == [True, False, True, False]


def test_multi_label_smoothing_draws_targets_to_a_half():
    z, y = logits(2, 3), torch.tensor([[0, 1, 1], [1, 0, 0.0]])
    expected = F.binary_cross_entropy_with_logits(z, y * 0.8 + 0.1, reduction="none").sum(-1).mean()
    torch.testing.assert_close(loss(z, y, label_smoothing=0.2), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("y", [torch.tensor([0, 1, -1]), torch.zeros(3, 4)])
def test_16_bit_logits_give_a_finite_fp32_loss(dtype, y):
    z = logits(3, 4, scale=1e4).to(dtype).requires_grad_()
    value = loss(z, y)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()


# A loss of one's own by a `python:` name is tried in tests/test_own_parts.py.
@pytest.mark.parametrize("field", sorted(Classification.model_fields.keys() - {"function"}))
@pytest.mark.parametrize(
    "y",
    [torch.tensor([0, 1, -1]), torch.cat([torch.eye(2, 4), torch.full((1, 4), torch.nan)])],
    ids=["classes", "several labels"],
)
def test_every_option_changes_the_loss(field, y):
    """A new field needs a case here."""
    of_torch = "multilabel_soft_margin_loss" if y.is_floating_point() else "multi_margin_loss"
    before, after = {
        "function": ({}, f"python:torch.nn.functional:{of_torch}"),
        "label_smoothing": ({}, 0.3),
        "entropy": ({}, 0.3),
        "entropy_rows": ({"entropy": 0.3}, "labelled"),
    }[field]
    z = logits(3, 4)
    changed = loss(z, y, **before, **{field: after})
    assert not torch.isclose(loss(z, y, **before), changed, rtol=1e-3)


@pytest.mark.parametrize("options", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"x": 1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError):
        Classification(**options)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (torch.tensor([0, -1, 3]), [True, False, True]),
        (torch.tensor([[0, -1], [-1, 2]]), [[True, False], [False, True]]),
        (torch.tensor([[0.0, 1.0], [float("nan")] * 2]), [True, False]),
        (torch.tensor([[0.0, float("nan")], [1.0, 1.0]]), [False, True]),
    ],
)
def test_labelled_rows(y, expected):
    found = labelled_rows(y)
    assert found.dtype == torch.bool
    assert found.tolist() == expected


def test_entropy_is_rewarded_in_nats():
    uniform, sure = torch.zeros(2, 4), torch.tensor([[50.0, 0, 0, 0]] * 2)
    y = torch.tensor([0, -1])
    for logits, entropy in ((uniform, math.log(4)), (sure, 0.0)):
        rewarded = loss(logits, y, entropy=0.5)
        assert loss(logits, y) - rewarded == pytest.approx(0.5 * entropy, abs=1e-6)


def test_entropy_grows_against_its_gradient_and_can_be_kept_to_labelled_rows():
    y = torch.tensor([0, -1])
    for rows in ("all", "labelled"):
        logits = torch.tensor([[2.0, 0, 0], [0, 1.0, 0]], requires_grad=True)
        reward = loss(logits, y, entropy=1, entropy_rows=rows)
        (reward - loss(logits, y)).backward()
        moved = (logits - 0.1 * logits.grad).detach()
        before, after = (
            torch.distributions.Categorical(logits=z).entropy() for z in (logits, moved)
        )
        assert after[0] > before[0]
        assert (after[1] > before[1]) == (rows == "all")


def test_entropy_of_several_labels_is_the_sum_over_labels():
    logits, y = torch.zeros(2, 3), torch.ones(2, 3)
    plain, rewarded = (loss(logits, y, entropy=g) for g in (0, 1))
    assert plain - rewarded == pytest.approx(3 * math.log(2))
