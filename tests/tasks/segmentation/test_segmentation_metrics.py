"""Metrics of segmentations, counted batch by batch."""

import math

import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_f1_score,
    multiclass_jaccard_index,
    multilabel_f1_score,
    multilabel_jaccard_index,
)

from peerlearn.errors import InputError
from peerlearn.metrics.assessment import assess_classification
from peerlearn.tasks.segmentation.metrics import SegmentationAssessment

NAMES = ("sky", "road", "car", "pole")
PIXELS = ("accuracy", "nll", "ece", "brier")


def drawn(images=6, height=12, width=17, classes=4, seed=0):
    """Logits of three peers and a truth in blocks; some pixels do not count."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(-1, classes, (images, 3, 4), generator=generator)
    y = y.repeat_interleave(-(-height // 3), 1).repeat_interleave(-(-width // 4), 2)
    y = y[:, :height, :width].contiguous()
    signal = 2.0 * torch.nn.functional.one_hot(y.clamp_min(0), classes).movedim(-1, 1)
    shape = (images, classes, height, width)
    peers = {name: signal + 1.5 * torch.randn(shape, generator=generator) for name in "abc"}
    return peers, y


def overlapping(images=6, height=12, width=17, labels=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(images, labels, height, width, generator=generator) < 0.3).float()
    peers = {name: 2 * y - 1 + 1.5 * torch.randn(y.shape, generator=generator) for name in "abc"}
    y[0, 1, :, 3:6] = math.nan
    y[1] = math.nan
    return peers, y


def assessed(logits, y, batch=100, names=NAMES, **options):
    assessment = SegmentationAssessment(names, multilabel=y.is_floating_point(), **options)
    for start in range(0, len(y), batch):
        part = slice(start, start + batch)
        assessment.add({name: z[part] for name, z in logits.items()}, y[part])
    return assessment.result()


def flattened(logits, y):
    rows = y.movedim(1, -1).flatten(0, 2) if y.is_floating_point() else y.flatten()
    return {name: z.movedim(1, -1).flatten(0, 2) for name, z in logits.items()}, rows


def same(found, expected, tolerance=1e-9):
    """Nested mappings and lists with equal numbers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys() - {"confusion"}, (
            "pixels are not counted by class pairs"
        )
        for key, value in expected.items():
            same(found[key], value, tolerance)
    else:
        assert found == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("targets", [drawn, overlapping])
def test_pixels_are_measured_as_the_rows_of_a_classification(targets):
    logits, y = targets()
    found, expected = assessed(logits, y), assess_classification(*flattened(logits, y))
    for block in ("mean_peer", "ensemble"):
        one, other = ({m: side[block][m] for m in PIXELS} for side in (found, expected))
        same(one, other, 1e-7)  # an ensemble of multi-label rows is averaged in fp32
    for peer in "abc":
        for metric in PIXELS:
            assert found["peers"][peer][metric] == pytest.approx(expected["peers"][peer][metric])
    same(found["between_peers"], expected["between_peers"])
    same(found["reliability"], expected["reliability"], 1e-7)
    of_rows = {"confusion", "selective"}  # by pairs of classes, and sorted: too many pixels
    assert found.keys() == expected.keys() - of_rows


@pytest.mark.parametrize("targets", [drawn, overlapping])
@pytest.mark.parametrize("batch", [1, 4])
def test_batch_by_batch_is_all_at_once(targets, batch):
    logits, y = targets()
    same(assessed(logits, y, batch), assessed(logits, y))


def test_dice_and_iou_agree_with_torchmetrics():
    logits, y = drawn()
    found = assessed(logits, y)["peers"]["a"]
    predicted = logits["a"].argmax(1)
    for name, measure in (("iou", multiclass_jaccard_index), ("dice", multiclass_f1_score)):
        mean = measure(predicted, y, 4, average="macro", ignore_index=-1)
        assert found[name] == pytest.approx(mean.item(), abs=1e-6)
        each = measure(predicted, y, 4, average="none", ignore_index=-1)
        assert [found[f"{name}:{n}"] for n in NAMES] == pytest.approx(each.tolist(), abs=1e-6)


def test_dice_and_iou_of_labels_agree_with_torchmetrics():
    logits, y = overlapping()
    found = assessed(logits, y)["peers"]["a"]
    z, rows = flattened(logits, y)
    known = ~rows.isnan().any(1)
    p, target = z["a"][known].sigmoid(), rows[known].long()
    for name, measure in (("iou", multilabel_jaccard_index), ("dice", multilabel_f1_score)):
        assert found[name] == pytest.approx(measure(p, target, 4, average="macro").item(), abs=1e-6)
        each = measure(p, target, 4, average="none").tolist()
        assert [found[f"{name}:{n}"] for n in NAMES] == pytest.approx(each, abs=1e-6)


def test_dice_agrees_with_monai():
    monai = pytest.importorskip("monai.metrics")
    logits, y = drawn(images=1)
    y = y.clamp_min(0)
    onehot = [torch.nn.functional.one_hot(t, 4).movedim(-1, 1) for t in (logits["a"].argmax(1), y)]
    expected = monai.compute_dice(*onehot, include_background=True)[0]  # of one image: the split's
    found = assessed(logits, y)["peers"]["a"]
    assert [found[f"dice:{n}"] for n in NAMES] == pytest.approx(expected.tolist(), abs=1e-6)


def test_hand_computed_overlap():
    y = torch.tensor([[[0, 0, 0, 1], [0, 2, 2, -1]]])
    said = torch.tensor([[[0, 0, 1, 1], [0, 0, 2, 3]]])  # the last pixel does not count
    z = 10.0 * torch.nn.functional.one_hot(said, 5).movedim(-1, 1).float()
    found = assessed({"a": z}, y, names=(*NAMES, "bike"))["peers"]["a"]
    iou, dice = [3 / 5, 1 / 2, 1 / 2], [6 / 8, 2 / 3, 2 / 3]
    expected = {"accuracy": 5 / 7, "iou": sum(iou) / 3, "dice": sum(dice) / 3}
    expected |= {f"iou:{n}": v for n, v in zip(NAMES[:3], iou, strict=True)}
    expected |= {f"dice:{n}": v for n, v in zip(NAMES[:3], dice, strict=True)}
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    # Neither has pole nor bike, about which nothing can be said.
    nothing = {f"{name}:{label}" for name in ("iou", "dice") for label in (NAMES[3], "bike")}
    assert {key for key in found if math.isnan(found[key])} == nothing
    assert {key for key in found if ":" in key} == {key for key in expected if ":" in key} | nothing


def test_a_class_that_is_only_found_counts_as_0_in_the_means():
    y = torch.zeros(1, 4, 4, dtype=torch.int64)
    z = torch.zeros(1, 4, 4, 4)
    z[:, 0, :3], z[:, 3, 3:] = 5.0, 5.0
    found = assessed({"a": z}, y)["peers"]["a"]
    assert found["iou"] == pytest.approx((12 / 16 + 0) / 2)
    assert found["dice"] == pytest.approx((24 / 28 + 0) / 2)
    for name in ("iou", "dice"):
        each = [found[f"{name}:{label}"] for label in NAMES]
        assert each[0] > 0 and each[3] == 0 and math.isnan(each[1]) and math.isnan(each[2])
        assert found[name] == pytest.approx(sum(v for v in each if not math.isnan(v)) / 2)


def test_the_mean_of_peers_is_over_those_that_measured_a_class():
    y = torch.zeros(1, 4, 4, dtype=torch.int64)
    one, other = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    one[:, 0], other[:, 0, :3], other[:, 3, 3:] = 5.0, 5.0, 5.0
    found = assessed({"a": one, "b": other}, y)
    assert math.isnan(found["peers"]["a"][f"iou:{NAMES[3]}"])
    assert found["mean_peer"][f"iou:{NAMES[3]}"] == 0
    assert math.isnan(found["mean_peer"][f"iou:{NAMES[1]}"])


def test_a_constant_predictor_scores_what_it_must():
    y = torch.zeros(2, 6, 8, dtype=torch.int64)
    y[:, :, 2:] = 1
    p = torch.tensor([0.1, 0.6, 0.2, 0.1])
    z = p.log().view(1, 4, 1, 1).expand(2, 4, 6, 8)
    found = assessed({"a": z, "b": z}, y)
    expected = {
        "accuracy": 0.75,
        "iou": (0 + 0.75) / 2,
        "dice": (0 + 2 * 0.75 / 1.75) / 2,
        "nll": -(0.75 * math.log(0.6) + 0.25 * math.log(0.1)),
        "ece": 0.15,
        "brier": 0.06 + 0.75 * 0.16 + 0.25 * (0.36 + 0.81 - 0.01),
    }
    for block in (found["peers"]["a"], found["mean_peer"], found["ensemble"]):
        assert {key: block[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert found["between_peers"]["agreement"] == {"a~b": 1.0}
    assert found["between_peers"]["error_correlation"] == {"a~b": pytest.approx(1.0)}
    # Class 0 is missed (the diagonal, 10); class 1 is found everywhere, two columns too far.
    assert found["peers"]["a"]["hd95"] == pytest.approx((10 + 2) / 2)


def test_the_truth_itself_is_perfect():
    for targets in (drawn, overlapping):
        _, y = targets()
        z = 50 * (2 * y.nan_to_num() - 1) if y.is_floating_point() else None
        if z is None:
            z = 50.0 * torch.nn.functional.one_hot(y.clamp_min(0), 4).movedim(-1, 1)
        found = assessed({"a": z}, y)["ensemble"]
        assert all(found[key] == 1 for key in found if key.startswith(("dice", "iou", "acc")))
        assert found["hd95"] == 0
        assert found["nll"] == pytest.approx(0, abs=1e-9)


def test_hd95_is_the_mean_over_images_and_classes():
    y = torch.full((3, 20, 30), 1)
    y[0, 5:10, 5:10] = 0
    said = torch.full_like(y, 1)
    said[0, 5:10, 8:13] = 0
    z = 9.0 * torch.nn.functional.one_hot(said, 4).movedim(-1, 1)
    first = assessed({"a": z[:1]}, y[:1])["peers"]["a"]["hd95"]
    assert first > 0
    # Each of the other images adds class 1 at distance 0; the classes they lack are not counted.
    assert assessed({"a": z}, y)["peers"]["a"]["hd95"] == pytest.approx(first * 2 / 4)


def test_pixels_that_do_not_count_change_nothing():
    for targets in (drawn, overlapping):
        logits, y = targets()
        unlabelled = y.isnan().any(1) if y.is_floating_point() else y < 0
        assert unlabelled.any()
        other = {n: z.masked_fill(unlabelled[:, None], 3.0) for n, z in logits.items()}
        other["a"][:, 0][unlabelled] = 40.0
        same(assessed(other, y), assessed(logits, y))


def test_boundaries_can_be_left_out():
    logits, y = drawn()
    whole, without = assessed(logits, y), assessed(logits, y, boundaries=False)
    for block in (whole["mean_peer"], whole["ensemble"], *whole["peers"].values()):
        assert block.pop("hd95") > 0
    same(without, whole)


def test_the_ensemble_averages_probabilities():
    y = torch.zeros(1, 2, 2, dtype=torch.int64)
    p = {"a": torch.tensor([0.9, 0.05, 0.03, 0.02]), "b": torch.tensor([0.3, 0.6, 0.05, 0.05])}
    logits = {n: v.log().view(1, 4, 1, 1).expand(1, 4, 2, 2) for n, v in p.items()}
    found = assessed(logits, y)
    assert found["ensemble"]["accuracy"] == 1
    assert found["ensemble"]["nll"] == pytest.approx(-math.log(0.6), abs=1e-6)
    assert found["mean_peer"]["accuracy"] == 0.5


def test_labels_that_are_nowhere_and_not_found_are_right():
    y = torch.zeros(2, 4, 5, 5)
    found = assessed({"a": torch.full_like(y, -9.0)}, y)["ensemble"]
    assert found["dice"] == found["iou"] == found["accuracy"] == 1
    assert found["hd95"] == 0
    assert all(math.isnan(found[key]) for key in found if ":" in key)


@pytest.mark.parametrize("targets", [drawn, overlapping])
def test_a_diverged_peer_is_wrong_and_its_losses_are_nan(targets):
    logits, y = targets()
    logits["b"] = torch.full_like(logits["b"], math.nan)
    found = assessed(logits, y)["peers"]
    assert found["b"]["accuracy"] == found["b"]["dice"] == found["b"]["iou"] == 0
    assert all(math.isnan(found["b"][key]) for key in ("nll", "ece", "brier"))
    assert found["b"]["hd95"] == pytest.approx(math.hypot(12, 17))
    assert all(math.isfinite(value) for value in found["a"].values())


@pytest.mark.parametrize("targets", [drawn, overlapping])
def test_extreme_and_16_bit_logits_are_measured(targets):
    logits, y = targets()
    found = assessed({n: 1e4 * z for n, z in logits.items()}, y)["ensemble"]
    assert all(math.isfinite(value) for value in found.values())
    half = {n: z.bfloat16().requires_grad_() for n, z in logits.items()}
    wide = {n: z.detach().float() for n, z in half.items()}
    same(assessed(half, y), assessed(wide, y))


def test_images_without_a_pixel_that_counts_add_nothing():
    logits, y = drawn(images=2)
    expected = assessed({n: z[:1] for n, z in logits.items()}, y[:1])
    y[1] = -1
    same(assessed(logits, y, batch=1), expected)


def numbers_kept(value):
    if isinstance(value, torch.Tensor):
        return value.numel()
    if isinstance(value, dict):
        return sum(numbers_kept(inner) for inner in value.values())
    return sum(map(numbers_kept, value)) if isinstance(value, tuple) else 1


def test_what_is_kept_does_not_grow_with_the_images():
    logits, y = drawn()
    assessment = SegmentationAssessment(NAMES)
    kept = []
    for _ in range(3):
        assessment.add(logits, y)
        kept.append(numbers_kept(vars(assessment)))
    assert kept[0] == kept[1] == kept[2] < 500


def test_what_cannot_be_measured_is_refused():
    logits, y = drawn()
    assessment = SegmentationAssessment(NAMES)
    with pytest.raises(InputError, match="no labelled pixel"):
        assessment.result()
    with pytest.raises(InputError, match=r"peer 'a': logits .*expected .*with 4 classes"):
        assessment.add({"a": logits["a"][:, :3]}, y)
    with pytest.raises(InputError, match=r"y \(6, 12, 16\)"):
        assessment.add(logits, y[..., :-1])
    with pytest.raises(InputError, match="y holds class 4; allowed: 0 to 3"):
        assessment.add(logits, y + 1)
    with pytest.raises(InputError, match=r"integer classes, found torch\.float32"):
        assessment.add(logits, y.float())
    with pytest.raises(InputError, match="peers none"):
        assessment.add({}, y)
    assessment.add(logits, torch.full_like(y, -1))
    with pytest.raises(InputError, match="no labelled pixel"):
        assessment.result()
    with pytest.raises(InputError, match="peers a; earlier batches had a, b, c"):
        assessment.add({"a": logits["a"]}, y)
    masks, y = overlapping()
    with pytest.raises(InputError, match=r"expected .*classes, height"):
        SegmentationAssessment(NAMES, multilabel=True).add(masks, y[:, :3])
    with pytest.raises(InputError, match="y holds 2; allowed: 0, 1, or NaN"):
        SegmentationAssessment(NAMES, multilabel=True).add(masks, 2 * y)
