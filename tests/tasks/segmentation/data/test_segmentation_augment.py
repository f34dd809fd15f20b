import math

import pytest
import torch
from pydantic import ValidationError

from peerlearn.data.augment import Normalisation, normalise, reflected_pixels
from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.data.loaders import (
    GeometricDraws,
    check_segment_augment,
    drawn_places,
    moved_images,
    moved_masks,
    recoloured,
)
from peerlearn.tasks.segmentation.data.masks import IGNORED
from peerlearn.tasks.segmentation.data.spec import SegmentAugmentSpec

PLAIN = Normalisation.of(None, None)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(rows=200, height=8, width=8):
    """Images whose pixels all differ, and masks that hold the same numbers."""
    masks = torch.arange(height * width, dtype=torch.uint8).view(1, height, width)
    masks = masks.expand(rows, -1, -1).contiguous()
    return masks[:, None].clone(), masks


def moved(spec, x, masks, seed=0):
    draws = GeometricDraws.of(len(x), generator(seed))
    places = drawn_places(spec, x.shape[2], x.shape[3], draws)
    return moved_images(x, places, spec, PLAIN), moved_masks(masks, places)


def spec(**options):
    return SegmentAugmentSpec(**options)


def bytes_of(x):
    return (x * 255).round().to(torch.uint8)[:, 0]


@pytest.mark.parametrize(
    "options",
    [{}, {"flip": True}, {"flip_vertical": True}, {"rotate90": True}, {"crop": 5}, {"crop": 11}],
    ids=str,
)
def test_masks_move_exactly_with_their_images(options):
    x, y = moved(spec(**options), *numbered())
    counted = y != IGNORED
    assert torch.equal(bytes_of(x)[counted], y[counted])
    if options.get("crop") != 11:
        assert bool(counted.all())


def test_nothing_switched_on_moves_nothing():
    x, masks = numbered(height=5, width=9)
    found, found_masks = moved(spec(), x, masks)
    assert torch.equal(found, normalise(x))
    assert torch.equal(found_masks, masks)


def test_all_eight_symmetries_of_the_square_occur_and_nothing_else():
    x, masks = numbered()
    every = spec(flip=True, flip_vertical=True, rotate90=True)
    _, found = moved(every, x, masks)
    allowed = [
        turned.rot90(quarter, (0, 1))
        for turned in (masks[0], masks[0].flip(1))
        for quarter in range(4)
    ]
    counts = [int((found == one).flatten(1).all(1).sum()) for one in allowed]
    assert sum(counts) == len(x)
    assert min(counts) > 5


@pytest.mark.parametrize(
    ("option", "axis"), [({"flip": True}, 2), ({"flip_vertical": True}, 1)], ids=str
)
def test_half_of_the_images_are_mirrored(option, axis):
    x, masks = numbered(400)
    _, found = moved(spec(**option), x, masks)
    mirrored = (found == masks.flip(axis)).flatten(1).all(1)
    assert bool((mirrored ^ (found == masks).flatten(1).all(1)).all())
    assert 150 < int(mirrored.sum()) < 250


def test_crops_are_windows_and_all_places_occur():
    x, masks = numbered(500, 8, 9)
    _, found = moved(spec(crop=(6, 7)), x, masks)
    windows = masks[0].unfold(0, 6, 1).unfold(1, 7, 1).flatten(0, 1)
    same = (found[:, None] == windows).flatten(2).all(2)
    assert bool(same.any(1).all())
    assert bool(same.any(0).all())


@pytest.mark.parametrize(
    ("crop", "size", "window"),
    [
        ("auto", (48, 256), (48, 256)),
        ("auto", (565, 584), (256, 256)),
        ("auto", (100, 300), (100, 256)),
        (None, (565, 584), (565, 584)),
        (64, (48, 584), (64, 64)),
    ],
)
def test_large_images_are_cut_unless_told_otherwise(crop, size, window):
    assert spec(crop=crop).window(*size) == window
    assert SegmentAugmentSpec().crop == "auto"


def test_windows_of_large_images_move():
    x = torch.arange(300 * 2, dtype=torch.float32).view(1, 1, 300, 2).repeat(40, 1, 1, 1)
    found, _ = moved(spec(), x, torch.zeros(40, 300, 2, dtype=torch.uint8))
    assert found.shape == (40, 1, 256, 2)
    assert len(found[:, 0, 0, 0].unique()) > 10


def test_small_images_lie_in_their_reflection_which_does_not_count():
    x, masks = numbered(50, 4, 4)
    found, found_masks = moved(spec(crop=10), x, masks)
    assert [int((row != IGNORED).sum()) for row in found_masks] == [16] * 50
    for image, mask in zip(bytes_of(found), found_masks, strict=True):
        top, left = (mask != IGNORED).nonzero()[0].tolist()
        if top >= 1:
            assert torch.equal(image[top - 1], image[top])
        if left >= 1:
            assert torch.equal(image[:, left - 1], image[:, left])


def test_positions_are_mirrored_at_both_edges_as_often_as_it_takes():
    positions = torch.arange(-7, 10) + 0.5
    period = [0, 1, 2, 2, 1, 0]
    assert reflected_pixels(positions, 3).tolist() == [
        period[position % 6] for position in range(-7, 10)
    ]


def test_rotation_turns_image_and_mask_alike_within_its_angle():
    x, masks = torch.zeros(200, 1, 41, 41), torch.zeros(200, 41, 41, dtype=torch.uint8)
    x[:, :, 19:22, 20:], masks[:, 19:22, 20:] = 1.0, 1
    found, found_masks = moved(spec(rotation=30), x, masks)
    counted = found_masks != IGNORED
    differs = ((found[:, 0] > 0.5) != (found_masks == 1)) & counted
    assert float(differs[counted].float().mean()) < 0.01
    ring = torch.deg2rad(torch.arange(360.0))
    rows, columns = ((20 + 12 * f(ring)).round().long() for f in (torch.sin, torch.cos))
    angles = (found_masks[:, rows, columns].eq(1).float().argmax(1) + 180) % 360 - 180
    assert int(angles.abs().max()) <= 40
    assert int(angles.max()) > 15
    assert int(angles.min()) < -25


def test_corners_that_rotation_brings_in_are_ignored_and_reflected():
    found, masks = moved(
        spec(rotation=45), torch.ones(100, 1, 16, 16), torch.zeros(100, 16, 16).byte()
    )
    torch.testing.assert_close(found, torch.ones_like(found))
    assert bool((masks == IGNORED).flatten(1).any(1).any())
    assert not bool((masks[:, 6:10, 6:10] == IGNORED).any())
    assert set(masks.unique().tolist()) == {0, IGNORED}


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scale_magnifies_image_and_mask(factor):
    x, masks = torch.zeros(20, 1, 32, 32), torch.zeros(20, 32, 32, dtype=torch.uint8)
    x[:, :, 12:20, 12:20], masks[:, 12:20, 12:20] = 1.0, 1
    found, found_masks = moved(spec(scale=(factor, factor), crop=64), x, masks)
    area = 64 * factor**2
    assert (found_masks == 1).flatten(1).sum(1).tolist() == [area] * 20
    assert (found_masks != IGNORED).flatten(1).sum(1).tolist() == [(32 * factor) ** 2] * 20
    bright = (found[:, 0] * (found_masks != IGNORED)).flatten(1).sum(1)
    torch.testing.assert_close(bright, torch.full_like(bright, area))


def test_scales_are_drawn_evenly_in_their_logarithm():
    masks = torch.zeros(2000, 16, 16, dtype=torch.uint8)
    _, found = moved(spec(scale=(0.25, 1.0), crop=16), masks[:, None], masks)
    sides = (found != IGNORED).flatten(1).sum(1).float().sqrt() / 16
    assert float(sides.min()) < 0.27
    assert math.isclose(float(sides.log2().mean()), -1, abs_tol=0.1)


def test_overlapping_masks_move_label_by_label():
    x, masks = numbered(20)
    _, single = moved(spec(rotation=20, crop=6), x, masks)
    _, both = moved(spec(rotation=20, crop=6), x, torch.stack([masks, masks + 1], 1))
    assert torch.equal(both[:, 0], single)
    counted = single != IGNORED
    assert torch.equal(both[:, 1][counted], single[counted] + 1)


@pytest.mark.parametrize("options", [{"flip": True}, {"flip": True, "rotation": 5}], ids=str)
def test_switching_one_option_on_leaves_the_draws_of_the_others(options):
    x, masks = numbered(100)
    _, alone = moved(spec(crop=5), x, masks)
    _, both = moved(spec(crop=5, **options), x, masks)
    middle = (alone[:, 2, 2].int() - both[:, 2, 2].int()).abs()
    assert bool((middle <= 9).all())
    assert bool((middle == 0).float().mean() > 0.8)


def test_colours_change_by_image_and_not_by_pixel():
    x = torch.randn(300, 2, 6, 6, generator=generator(1))
    found = recoloured(x, spec(contrast=0.5, brightness=2), generator())
    factor = found.flatten(1).std(1) / x.flatten(1).std(1)
    shift = found.flatten(1).mean(1) - x.flatten(1).mean(1)
    for values, low, high in ((factor, 0.5, 1.5), (shift, -2, 2)):
        assert low <= float(values.min()) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < float(values.max()) <= high + 1e-5
    mean = x.mean((1, 2, 3), keepdim=True)
    line = (x - mean) * factor.view(-1, 1, 1, 1) + mean + shift.view(-1, 1, 1, 1)
    torch.testing.assert_close(found, line, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"contrast": 0.5}, {"brightness": 1}], ids=str)
def test_each_colour_option_changes_images_and_follows_its_generator(options):
    x = torch.randn(8, 1, 4, 4, generator=generator(1))
    first, again, other = (recoloured(x, spec(**options), generator(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, x)
    assert torch.equal(recoloured(x, spec(), generator()), x)


def test_the_global_generator_is_untouched():
    before = torch.get_rng_state()
    x, _ = moved(spec(crop=5, rotation=9, flip=True), *numbered())
    recoloured(x, spec(contrast=0.1), generator())
    assert torch.equal(before, torch.get_rng_state())


def test_quarter_turns_need_squares():
    with pytest.raises(InputError, match=r"augment\.rotate90: images of 4x6.*augment\.crop"):
        check_segment_augment(spec(rotate90=True), (3, 4, 6))
    check_segment_augment(spec(rotate90=True, crop=4), (3, 4, 6))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale", (2.0, 1.0)),
        ("scale", (0.0, 1.0)),
        ("scale", (1.0,)),
        ("crop", 0),
        ("crop", (3, -1)),
        ("rotation", 181),
        ("contrast", 1),
        ("brightness", -1),
        ("brightness", math.inf),
        ("zoom", 2),
    ],
)
def test_wrong_values_and_unknown_fields_are_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        spec(**{field: value})
