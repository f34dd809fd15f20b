"""Edges about other classes: their distance, whom they move, and what they refuse."""

import math

import pytest
import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.outputs import PeerOutput

KIND = {"knowledge": "other_classes"}
LABELS = torch.tensor([0, 1, 2, 3])


def logits(seed: int, classes: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, classes, generator=generator).requires_grad_()


def losses(one: Tensor, other: Tensor, targets: Tensor | None = LABELS, **options: object):
    graph = TransferGraph({"edges": [KIND | options]}, ["one", "other"])
    outputs = {"one": PeerOutput(one), "other": PeerOutput(other)}
    return graph.losses(outputs, targets)


def distance(one: Tensor, other: Tensor) -> float:
    """The mean of the Gram determinants, by a loop over rows."""
    found = []
    for row, label in enumerate(LABELS.tolist()):
        left = [j for j in range(one.shape[1]) if j != label]
        units = [x[row, left].softmax(0) / x[row, left].softmax(0).norm() for x in (one, other)]
        found.append(torch.det(torch.stack(units) @ torch.stack(units).T).item())
    return sum(found) / len(found)


def test_the_loss_is_minus_the_logarithm_of_the_squared_volume():
    one, other = logits(0), logits(1)
    found = losses(one, other)
    expected = -math.log(distance(one, other) + 1e-6)
    assert found["one"].item() == pytest.approx(expected, rel=1e-5)
    assert found["other"].item() == pytest.approx(expected, rel=1e-5)
    plain = losses(one, other, transform="none")["one"].item()
    assert plain == pytest.approx(-distance(one, other), rel=1e-5)


def test_invariant_1_a_learner_alone_is_moved_and_the_label_of_a_row_is_not():
    one, other = logits(0), logits(1)
    losses(one, other)["one"].backward()
    assert other.grad is None
    assert one.grad is not None
    assert (one.grad[torch.arange(4), LABELS] == 0).all()
    assert one.grad.abs().sum() > 0


def test_a_step_down_the_gradient_moves_predictions_apart():
    one, other = logits(0), logits(1)
    before = distance(one, other)
    losses(one, other)["one"].backward()
    assert one.grad is not None
    assert distance((one - 0.1 * one.grad).detach(), other) > before


def test_of_several_labels_a_row_all_are_left_out():
    one, other = logits(0), logits(1)
    several = torch.zeros(4, 5)
    several[torch.arange(4), LABELS] = 1
    assert losses(one, other, several)["one"].item() == pytest.approx(
        losses(one, other)["one"].item(), rel=1e-6
    )
    several[:, 4] = 1
    several[0] = 0  # a row without any does not count
    losses(one, other, several)["one"].backward()
    assert one.grad is not None
    assert (one.grad[several > 0] == 0).all() and (one.grad[0] == 0).all()
    assert one.grad[1:].abs().sum() > 0


def test_rows_without_a_label_do_not_count():
    one, other = logits(0), logits(1)
    some = LABELS.clone()
    some[2:] = -1
    half = losses(one[:2], other[:2], LABELS[:2])["one"]
    assert losses(one, other, some)["one"].item() == pytest.approx(half.item(), rel=1e-6)
    assert losses(one, other, torch.full((4,), -1))["one"].item() == 0


def test_equal_predictions_give_a_finite_gradient():
    one = logits(0)
    losses(one, one.detach().clone())["one"].backward()
    assert one.grad is not None
    assert one.grad.isfinite().all()


@pytest.mark.parametrize(
    ("one", "other", "targets", "message"),
    [
        (logits(0), logits(1), None, "pass targets"),
        (logits(0), logits(1), torch.zeros(4), "pass targets"),
        (logits(0, 2), logits(1, 2), LABELS.clamp_max(1), "at least 3"),
        (logits(0), logits(1, 6), LABELS, "compares the same classes"),
        (torch.randn(4, 5, 3), torch.randn(4, 5, 3), LABELS, r"needs \(rows, classes\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(one, other, targets, message):
    with pytest.raises(InputError, match=message):
        losses(one, other, targets)
