"""One softmax over known and new classes, with the other view's targets."""

import pytest
import torch
import torch.nn.functional as F

from peerlearn.errors import InputError
from peerlearn.objectives.base import PeerView
from peerlearn.tasks.discovery.objectives.uno import UnoObjective, UnoSpec, sinkhorn
from peerlearn.transfer import PeerOutput

KNOWN, NEW, OVER, HEADS, IMAGES = 3, 4, 8, 2, 10
LABELS = torch.tensor([0, -1, 2, -1, -1, 1, -1, -1, 0, -1]).repeat(2)


def drawn(seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(KNOWN + NEW,), (HEADS, NEW), (HEADS, OVER)]
    parts = [10 * torch.rand(2 * IMAGES, *shape, generator=generator) - 5 for shape in shapes]
    logits, heads, over = (part.requires_grad_(grad) for part in parts)
    return PeerOutput(logits, {"heads": heads, "over": over})


def loss(output=None, y=LABELS, **options):
    objective = UnoObjective(UnoSpec(heads=HEADS, **options), KNOWN)
    return objective.loss(PeerView.of(output or drawn(), y))


def of_one_head(known, head, y):
    """Head by head and row by row, as the paper writes it."""
    views, targets = [], []
    for half in (slice(IMAGES), slice(IMAGES, None)):
        target = torch.zeros(IMAGES, KNOWN + head.shape[1])
        rows = y[half] < 0
        target[rows, KNOWN:] = sinkhorn(head[half][rows] * 0.1)
        for row in (~rows).nonzero().flatten():
            target[row, y[half][row]] = 1
        targets.append(target)
        views.append(torch.cat([known[half], head[half]], 1))
    swapped = zip(views, reversed(targets), strict=True)
    return sum(F.cross_entropy(view, target) for view, target in swapped) / 2


def mean_over_heads(output, name):
    known, heads = output.logits[:, :KNOWN], output.features[name]
    return sum(of_one_head(known, heads[:, h], LABELS) for h in range(HEADS)) / HEADS


def test_each_view_learns_the_targets_of_the_other():
    output = drawn()
    expected = (mean_over_heads(output, "heads") + mean_over_heads(output, "over")) / 2
    torch.testing.assert_close(loss(output), expected)


def test_without_over_clustering_only_the_heads_count():
    output = drawn()
    torch.testing.assert_close(loss(output, over_factor=0), mean_over_heads(output, "heads"))


def test_targets_pass_no_gradient_and_logits_of_new_classes_are_not_read():
    output = drawn(grad=True)
    loss(output).backward()
    assert output.logits.grad[:, :KNOWN].any()
    assert not output.logits.grad[:, KNOWN:].any()
    # Of a softmax cross-entropy with fixed targets that sum to 1, the gradients of a row sum to 0.
    total = output.logits.grad.sum(1)
    total = total + sum(x.grad.sum((1, 2)) for x in output.features.values())
    torch.testing.assert_close(total, torch.zeros(2 * IMAGES), atol=1e-6, rtol=0)


def test_the_loss_of_every_head_is_told():
    told = []
    output = drawn(grad=True)
    UnoObjective(UnoSpec(heads=HEADS), KNOWN, told.append).loss(PeerView.of(output, LABELS))
    known = output.logits[:, :KNOWN]
    expected = [of_one_head(known, output.features["heads"][:, h], LABELS) for h in range(HEADS)]
    torch.testing.assert_close(told[0], torch.stack(expected).detach())
    assert not told[0].requires_grad


@pytest.mark.parametrize("label", [0, -1])
def test_batches_without_labels_or_with_nothing_else_are_finite(label):
    output = drawn(grad=True)
    found = loss(output, torch.full((2 * IMAGES,), label))
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(output.logits.grad).all()


def test_labels_of_the_second_view_are_not_read():
    y = LABELS.clone()
    y[IMAGES:] = -1
    assert loss(y=y) == loss()


@pytest.mark.parametrize("options", [{"epsilon": 0.5}, {"iterations": 1}, {"temperature": 0.5}])
def test_every_option_of_the_targets_changes_the_loss(options):
    assert loss(**options) != loss()


def test_what_is_missing_is_named():
    output = PeerOutput(drawn().logits, {"heads": drawn().features["heads"]})
    with pytest.raises(InputError, match="needs the feature 'over'; this peer gives heads"):
        loss(output)
    with pytest.raises(InputError, match="expected paired rows"):
        loss(y=LABELS[1:])
