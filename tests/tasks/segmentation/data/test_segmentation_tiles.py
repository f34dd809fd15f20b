from itertools import pairwise

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.tiling import Tiles

SIZES = [(64, 64), (70, 33), (16, 100), (5, 9), (1, 1), (17, 16)]


def image(height, width, channels=2):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(channels, height, width, generator=generator)


def predict_tiled(predict, given, tile, overlap, batch_size=1):
    """What `predict` gives for an image, read tile by tile."""
    tiles = Tiles(*given.shape[1:], tile, overlap)
    numbers = range(len(tiles))
    return tiles.blend(
        predict(tiles.cut(given, numbers[first : first + batch_size]))
        for first in numbers[::batch_size]
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0, 1, 4, 12])
def test_what_is_predicted_pixel_by_pixel_comes_out_whole(size, overlap):
    given = image(*size)
    found = predict_tiled(lambda tiles: 2 * tiles, given, 16, overlap, batch_size=3)
    torch.testing.assert_close(found, 2 * given)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [1.0, 0.3])
def test_a_constant_stays_constant(size, value):
    found = predict_tiled(lambda tiles: torch.full_like(tiles, value), image(*size), (16, 8), 5)
    torch.testing.assert_close(found, torch.full_like(found, value), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("length", range(1, 80))
def test_tiles_cover_the_image_and_overlap_as_asked(length):
    rows = sorted({row for row, _ in Tiles(length, 8, (16, 8), 5).corners})
    assert rows[0] <= 0
    assert rows[-1] + 16 >= length
    assert all(after - before <= 16 - 5 for before, after in pairwise(rows))
    if length > 16:
        assert (rows[0], rows[-1]) == (0, length - 16)
        assert len(rows) == -(-(length - 5) // (16 - 5))


def test_a_tile_larger_than_the_image_holds_its_reflection():
    given = image(3, 4)
    (tile,) = Tiles(3, 4, (5, 12), 2).cut(given)
    assert tile.shape == (2, 5, 12)
    assert torch.equal(tile[:, 1:4, 4:8], given)
    assert torch.equal(tile[:, 0], tile[:, 1])
    assert torch.equal(tile[:, :, :4], tile[:, :, 4:8].flip(2))


def test_seams_are_smooth_where_tiles_disagree():
    tiles = Tiles(9, 24, (9, 16), 8)
    assert tiles.corners == [(0, 0), (0, 8)]
    found = tiles.blend([torch.stack([torch.zeros(1, 9, 16), torch.ones(1, 9, 16)])])[0]
    assert bool((found[:, :8] == 0).all())
    assert bool((found[:, 16:] == 1).all())
    steps = found[0].diff()
    assert bool((steps >= 0).all())
    assert float(steps.max()) < 0.2
    torch.testing.assert_close(found, 1 - found.flip(1))


def test_batches_of_tiles_do_not_change_the_result():
    given = image(40, 50)
    first, second = (predict_tiled(torch.sqrt, given, 16, 6, batch_size=n) for n in (1, 7))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [(0, 0, "tile: 0"), (16, 16, "overlap: 16 .*0 to 15"), ((16, 4), -1, "overlap: -1 .*0 to 3")],
)
def test_tiles_that_cannot_be_are_refused(tile, overlap, message):
    with pytest.raises(InputError, match=message):
        Tiles(64, 64, tile, overlap)


def test_other_images_and_batch_sizes_are_refused():
    with pytest.raises(InputError, match="image: 5x5 pixels; these tiles are of 8x8"):
        Tiles(8, 8, 4, 1).cut(image(5, 5))
