import pytest
import torch
import torch.nn.functional as F

from peerlearn.data.augment import Draws, Normalisation, augment, changed, check_augment, normalise
from peerlearn.data.spec import AugmentSpec
from peerlearn.errors import InputError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(rows=64, channels=3, height=9, width=7):
    return torch.randint(
        0, 256, (rows, channels, height, width), dtype=torch.uint8, generator=generator(1)
    )


def test_bytes_are_scaled_then_normalised_by_channel():
    x = images()
    expected = (x.double() / 255 - 0.5) / torch.tensor([0.1, 0.2, 1.0]).double().view(3, 1, 1)
    found = normalise(x, [0.5] * 3, [0.1, 0.2, 0.0])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


def test_normalising_floats_leaves_the_input_unchanged():
    x = torch.ones(2, 3)
    torch.testing.assert_close(normalise(x, [1, 1, 0], [0, 2, 2]), torch.tensor([[0, 0, 0.5]] * 2))
    assert bool((x == 1).all())


def test_nothing_switched_on_is_the_plain_image():
    assert torch.equal(augment(images(), AugmentSpec(), generator()), normalise(images()))


@pytest.mark.parametrize(
    "spec",
    [
        AugmentSpec(crop=2),
        AugmentSpec(flip=True),
        AugmentSpec(cutout=3),
        AugmentSpec(rotation=20),
        AugmentSpec(blend=0.5),
        AugmentSpec(noise=0.2),
    ],
    ids=str,
)
def test_every_option_changes_images_and_follows_its_generator(spec):
    first, again, other = (augment(images(), spec, generator(s)) for s in (0, 0, 1))
    assert first.shape == images().shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, normalise(images()))


def test_crops_are_windows_of_the_reflected_image_and_all_shifts_occur():
    x = images(rows=400)
    padded = F.pad(x.float(), (2, 2, 2, 2), mode="reflect") / 255
    windows = padded.unfold(2, 9, 1).unfold(3, 7, 1)
    found = augment(x, AugmentSpec(crop=2), generator())
    same = (windows - found[:, :, None, None]).abs().amax((1, 4, 5)) < 1e-5
    assert bool(same.flatten(1).any(1).all())
    assert bool(same.any(0).all())


def test_half_of_the_images_are_mirrored_whole():
    x = images(rows=400)
    found = augment(x, AugmentSpec(flip=True), generator())
    mirrored = (found == normalise(x.flip(3))).flatten(1).all(1)
    kept = (found == normalise(x)).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 150 < int(mirrored.sum()) < 250


def test_bytes_and_floats_are_cropped_alike():
    spec = AugmentSpec(crop=3, flip=True)
    torch.testing.assert_close(
        augment(images(), spec, generator()), augment(images().float() / 255, spec, generator())
    )


def test_cutout_holes_hold_the_mean_and_are_clipped_squares():
    x = torch.full((300, 2, 9, 7), 1.0)
    normalisation = Normalisation.of([3.0, 3.0], [1.0, 1.0])
    hole = augment(x, AugmentSpec(cutout=4), generator(), normalisation) == 0
    sizes = hole[:, 0].flatten(1).sum(1)
    assert torch.equal(hole[:, 0], hole[:, 1])
    assert int(sizes.max()) == 16
    assert 4 <= int(sizes.min()) < 16


def test_rotation_turns_square_pixels_and_stays_within_its_angle():
    x = torch.zeros(200, 1, 21, 41)
    x[:, :, 10, 20:] = 1.0
    turned = augment(x, AugmentSpec(rotation=30), generator())[:, 0]
    ring = [
        (10 - 8 * torch.sin(a), 20 + 8 * torch.cos(a)) for a in torch.deg2rad(torch.arange(360.0))
    ]
    values = torch.stack([turned[:, int(r.round()), int(c.round())] for r, c in ring], 1)
    angles = (values.argmax(1) + 180) % 360 - 180
    assert int(angles.abs().max()) <= 35
    assert int(angles.max()) > 20
    assert int(angles.min()) < -20


def test_smooth_images_are_blended_in_with_a_share_up_to_the_one_asked_for():
    black = torch.zeros(200, 3, 16, 16)
    found = augment(black, AugmentSpec(blend=0.4), generator())
    assert float(found.min()) >= 0 and 0.3 < float(found.max()) <= 0.4
    white = augment(black + 1, AugmentSpec(blend=0.4), generator())
    shares = (1 - (white - found)).flatten(1)  # of the blended image, where both have the same
    torch.testing.assert_close(shares, shares[:, :1].expand_as(shares), rtol=0, atol=1e-5)
    assert 0.15 < float(shares[:, 0].mean()) < 0.25
    steps = (found[..., 1:] - found[..., :-1]).abs().mean() / found.std()
    assert float(steps) < 0.3, "neighbouring pixels are alike"


def test_noise_is_gaussian_with_a_deviation_up_to_the_one_asked_for():
    grey = torch.full((400, 3, 16, 16), 0.5)
    normalisation = Normalisation.of([0.5] * 3, [0.25] * 3)
    found = augment(grey, AugmentSpec(noise=0.1), generator(), normalisation)
    of_rows = found.flatten(1).std(1) * 0.25
    assert 0.09 < float(of_rows.max()) < 0.105 and 0.04 < float(of_rows.mean()) < 0.06
    strong = found[of_rows > 0.05].flatten(1)
    scaled = (strong / strong.std(1, keepdim=True)).flatten()
    assert abs(float(scaled.mean())) < 0.02
    assert float(scaled.pow(4).mean()) == pytest.approx(3, abs=0.15), "the kurtosis of a Gaussian"
    assert abs(float((strong[:, 1:] * strong[:, :-1]).mean())) < 0.02 * float(strong.var())


def test_what_is_drawn_for_a_row_does_not_depend_on_its_batch():
    x, draws = images(rows=8), Draws.of(8, generator())
    spec, some = AugmentSpec(blend=0.5, noise=0.1, crop=1), torch.tensor([6, 1])
    torch.testing.assert_close(
        changed(x, spec, draws)[some], changed(x[some], spec, draws.select(some))
    )


def test_switching_one_option_on_leaves_the_draws_of_the_others():
    both = augment(images(), AugmentSpec(crop=2, cutout=3), generator())
    crop = augment(images(), AugmentSpec(crop=2), generator())
    assert bool(((both == crop) | (both == 0)).all())


def test_the_global_generator_is_untouched():
    before = torch.get_rng_state()
    augment(images(), AugmentSpec(crop=1, flip=True, cutout=2, rotation=5), generator())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (AugmentSpec(flip=True), (5,), r"augment\.flip: .*vectors of 5 features"),
        (AugmentSpec(crop=8), (3, 9, 8), r"augment\.crop: 8 .*9x8.*0 to 7"),
    ],
)
def test_augmentation_that_does_not_fit_is_refused(spec, shape, message):
    with pytest.raises(InputError, match=message):
        check_augment(spec, shape)
