"""Cross-entropy and soft Dice over the pixels that count."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from peerlearn.errors import InputError
from peerlearn.objectives.base import Classification, PeerView
from peerlearn.objectives.labels import labelled_rows
from peerlearn.tasks.segmentation.objectives import DICE_EPS, Segmentation, soft_dice_loss
from peerlearn.transfer import PeerOutput

CLASSES = 4


def drawn(classes=CLASSES, scale=1.0):
    """Logits and targets of 2 images, a row of each not labelled."""
    generator = torch.Generator().manual_seed(0)
    z = scale * torch.randn(2, classes, 3, 5, generator=generator)
    y = torch.randint(classes, (2, 3, 5), generator=generator)
    y[:, 1] = -1
    return z, y


def overlapping(labels=3):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, labels, 3, 5, generator=generator)
    y = (torch.rand(2, labels, 3, 5, generator=generator) < 0.4).float()
    y[:, :, 1] = math.nan
    return z, y


def classification(z, y):
    return Classification().loss(PeerView.of(PeerOutput(z), y))


def loss(z, y, **options):
    return Segmentation(**options).loss(PeerView.of(PeerOutput(z), y))


def dice_by_loops(p, g):
    """Over lists of probabilities and indicators of one class."""
    overlap = sum(a * b for a, b in zip(p, g, strict=True))
    squares = sum(a * a for a in p) + sum(g)
    return (2 * overlap + DICE_EPS) / (squares + DICE_EPS)


def test_ce_is_cross_entropy_over_labelled_pixels():
    z, y = drawn()
    torch.testing.assert_close(loss(z, y, loss="ce"), F.cross_entropy(z, y, ignore_index=-1))
    torch.testing.assert_close(loss(z, y, loss="ce"), classification(z, y))


def test_ce_takes_weights_and_smoothing_as_torch_does():
    z, y = drawn()
    weights = (1.0, 0.0, 3.0, 0.5)
    expected = F.cross_entropy(
        z, y, weight=torch.tensor(weights), ignore_index=-1, label_smoothing=0.1
    )
    found = loss(z, y, loss="ce", class_weights=weights, label_smoothing=0.1)
    torch.testing.assert_close(found, expected)


def test_dice_is_the_papers_over_all_labelled_pixels_of_the_batch():
    z, y = drawn()
    known = y >= 0
    p = z.softmax(1).movedim(1, -1)[known]
    values = [
        dice_by_loops(p[:, c].tolist(), (y[known] == c).double().tolist()) for c in range(CLASSES)
    ]
    assert loss(z, y, loss="dice").item() == pytest.approx(1 - sum(values) / CLASSES, abs=1e-6)


def test_dice_of_labels_is_the_papers():
    z, y = overlapping()
    known = ~y[:, 0].isnan()
    p, g = (t.movedim(1, -1)[known] for t in (z.sigmoid(), y))
    values = [dice_by_loops(p[:, c].tolist(), g[:, c].tolist()) for c in range(3)]
    assert loss(z, y, loss="dice").item() == pytest.approx(1 - sum(values) / 3, abs=1e-6)


@pytest.mark.parametrize("multilabel", [False, True])
def test_dice_agrees_with_monai(multilabel):
    dice = pytest.importorskip("monai.losses").DiceLoss
    z, y = overlapping() if multilabel else drawn()
    z, y = z[:, :, ::2], y[..., ::2, :]  # without the unlabelled row
    form = {"sigmoid": True} if multilabel else {"softmax": True, "to_onehot_y": True}
    other = dice(**form, squared_pred=True, batch=True, smooth_nr=DICE_EPS, smooth_dr=DICE_EPS)(
        z, y if multilabel else y[:, None]
    )
    torch.testing.assert_close(loss(z, y, loss="dice"), other)


def test_bce_sums_labels_and_averages_labelled_pixels():
    z, y = overlapping()
    known = labelled_rows(y)
    cells = F.binary_cross_entropy_with_logits(z, y.nan_to_num(), reduction="none")
    expected = cells.sum(1)[known].mean()
    torch.testing.assert_close(loss(z, y, loss="bce"), expected)
    torch.testing.assert_close(loss(z, y, loss="bce"), classification(z, y))
    weights = (2.0, 0.0, 1.0)
    weighted = (cells * torch.tensor(weights).view(-1, 1, 1)).sum(1)[known].mean()
    torch.testing.assert_close(loss(z, y, loss="bce", class_weights=weights), weighted)


@pytest.mark.parametrize(("targets", "name"), [(drawn, "ce"), (overlapping, "bce")])
def test_both_is_the_sum_with_a_weight_on_dice(targets, name):
    z, y = targets()
    expected = loss(z, y, loss=name) + 0.5 * loss(z, y, loss="dice")
    torch.testing.assert_close(loss(z, y, loss=f"{name}+dice", dice_weight=0.5), expected)


def test_a_sure_and_right_prediction_costs_nothing():
    _, y = drawn()
    z = 50.0 * F.one_hot(y.clamp_min(0), CLASSES).movedim(-1, 1)
    assert loss(z, y).item() == pytest.approx(0, abs=1e-6)
    _, y = overlapping()
    assert loss(100 * (y.nan_to_num() - 0.5), y, loss="bce+dice").item() == pytest.approx(
        0, abs=1e-6
    )


def test_dice_leaves_classes_out_that_are_not_in_the_batch():
    z, y = drawn()
    y[y == 3] = 0
    known = y >= 0
    p = z.softmax(1).movedim(1, -1)[known]
    values = [dice_by_loops(p[:, c].tolist(), (y[known] == c).double().tolist()) for c in range(3)]
    assert loss(z, y, loss="dice").item() == pytest.approx(1 - sum(values) / 3, abs=1e-6)
    z, y = overlapping()
    empty = torch.zeros_like(y)
    assert loss(z, empty, loss="dice") == 0
    assert loss(z, empty, loss="bce+dice") == loss(z, empty, loss="bce")


def test_dice_does_not_care_how_large_a_class_is():
    """Missing a small region costs as much as missing a large one; cross-entropy forgets it."""
    y = torch.zeros(1, 10, 10, dtype=torch.int64)
    y[0, 0, 0] = 1
    z = torch.zeros(1, 2, 10, 10)
    z[:, 0] = 8.0
    assert loss(z, y, loss="dice") == pytest.approx(0.5, abs=0.01)
    assert loss(z, y, loss="ce") < 0.1


@pytest.mark.parametrize("kind", ["ce", "dice", "ce+dice", "bce", "bce+dice"])
def test_unlabelled_pixels_get_no_gradient_and_the_others_do(kind):
    z, y = overlapping() if kind.startswith("b") else drawn()
    z.requires_grad_()
    value = loss(z, y, loss=kind)
    value.backward()
    assert value.dtype == torch.float32 and value.ndim == 0
    assert torch.equal(z.grad.abs().sum(1) > 0, labelled_rows(y))


@pytest.mark.parametrize("kind", ["ce", "dice", "ce+dice", "bce", "bce+dice"])
def test_a_batch_without_labels_gives_0_and_a_zero_gradient(kind):
    z, y = overlapping() if kind.startswith("b") else drawn()
    z.requires_grad_()
    weights = (1.0,) * z.shape[1]
    nothing = torch.full_like(y, math.nan if y.is_floating_point() else -1)
    value = loss(z, nothing, loss=kind, class_weights=weights)
    value.backward()
    assert value.item() == 0
    assert not z.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["ce+dice", "bce+dice"])
def test_16_bit_logits_give_a_finite_fp32_loss(dtype, kind):
    z, y = overlapping() if kind.startswith("b") else drawn()
    z = (1e4 * z).to(dtype).requires_grad_()
    value = loss(z, y, loss=kind)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value) and torch.isfinite(z.grad).all()


@pytest.mark.parametrize("targets", [drawn, overlapping])
def test_gradients_are_those_of_finite_differences(targets):
    z, y = targets()
    z, labelled = z.double().requires_grad_(), labelled_rows(y)
    y = y.double() if y.is_floating_point() else y
    assert torch.autograd.gradcheck(lambda z: soft_dice_loss(z, y, labelled), z)


@pytest.mark.parametrize("field", [f.alias or n for n, f in Segmentation.model_fields.items()])
@pytest.mark.parametrize("targets", [drawn, overlapping])
def test_every_option_changes_the_loss(field, targets):
    """A new field needs a case here."""
    z, y = targets()
    first = "bce" if y.is_floating_point() else "ce"
    after = {
        "loss": "dice",
        "dice_weight": 0.3,
        "class_weights": [1.0, 2.0, 3.0, 4.0][: z.shape[1]],
        "label_smoothing": 0.3,
    }[field]
    before = {"loss": f"{first}+dice"}
    assert not torch.isclose(loss(z, y, **before), loss(z, y, **before | {field: after}), rtol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "focal"},
        {"dice_weight": 0},
        {"dice_weight": math.inf},
        {"class_weights": [-1, 1]},
        {"class_weights": [0, 0]},
        {"class_weights": [math.nan, 1]},
        {"label_smoothing": 1.0},
        {"x": 1},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError):
        Segmentation(**options)


@pytest.mark.parametrize(("pixels", "labels"), [("ce", "bce"), ("ce+dice", "bce+dice")])
def test_losses_of_the_other_kind_of_masks_are_refused(pixels, labels):
    for targets, kind, right in ((drawn, labels, pixels), (overlapping, pixels, labels)):
        with pytest.raises(InputError) as refused:
            loss(*targets(), loss=kind)
        assert f"objective.loss: '{kind}' is for" in str(refused.value)
        assert f"Did you mean '{right}'?" in str(refused.value)


def test_what_does_not_fit_is_refused():
    z, y = drawn()
    with pytest.raises(InputError, match=r"\(2, 4, 3, 4\) do not fit targets of shape \(2, 3, 5\)"):
        loss(z[..., :4], y)
    with pytest.raises(InputError, match=r"logits of shape \(1, 4, 3, 5\)"):
        loss(z[:1], y)
    with pytest.raises(InputError, match=r"logits of shape \(2, 4, 3, 5\)"):
        loss(z, overlapping()[1], loss="bce")
    with pytest.raises(InputError, match="class_weights: 3 numbers for 4 classes"):
        loss(z, y, class_weights=(1, 2, 3))


def test_labelled_rows_keeps_the_pixels_of_overlapping_masks():
    _, y = overlapping()
    expected = torch.ones(2, 3, 5, dtype=torch.bool)
    expected[:, 1] = False
    assert torch.equal(labelled_rows(y), expected)
    y[0, 2, 0, 0] = math.nan
    assert not labelled_rows(y)[0, 0, 0]
