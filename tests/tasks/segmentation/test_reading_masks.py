"""Images of any size under a run that segments: whole or in tiles, a few at a time."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from overriding import parsed

from peerlearn.errors import InputError
from peerlearn.serving import Predictor, open_run
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.segmentation.mask_files import palette
from peerlearn.tasks.segmentation.tiling import Tiles, Tiling

SIDE = 8
LOCAL = '''
from torch import nn

def local(in_shape, classes):
    """A pixel depends on those at most two away."""
    return nn.Sequential(
        nn.Conv2d(in_shape[0], 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, classes, 3, padding=1)
    )
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of small networks that see two pixels far, on colour images of 8x8."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "local_nets.py").write_text(LOCAL)
    sys.path.insert(0, str(folder))
    draw = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"x_{part}"] = draw.integers(0, 255, (6, SIDE, SIDE, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = arrays[f"x_{part}"][..., 0] // 128
    np.savez(folder / "my.npz", **arrays)
    words = [f"peers.{name}={{model: 'python:local_nets:local'}}" for name in ("teacher", "s1")]
    words += ["peers.s2=null", "transfer=none", "compression=null", "evaluation.members=[s1]"]
    words += [f"data.name={folder / 'my.npz'}", "evaluation.batch_size=4", "epochs=1", "threads=1"]
    recipe, given = find_recipe("styles-segment")
    run_recipe(recipe, recipe.resolve(given, parsed(*words)), folder / "run")
    yield open_run(folder / "run", trust=True)
    sys.path.remove(str(folder))


def save(folder, *shape) -> Path:
    path = folder / "x.npy"
    np.save(path, np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8))
    return path


def predicted(run, path, **tiling):
    return [made.probabilities for made in Predictor(run, "s1", **tiling).predict([path])]


@pytest.mark.parametrize(("tile", "overlap"), [(16, 4), (16, 0), (13, 7)])
def test_tiles_predict_what_the_whole_image_does_away_from_their_borders(
    run, tmp_path, tile, overlap
):
    path = save(tmp_path, 1, 3, 50, 37)
    (whole,), (tiled,) = predicted(run, path), predicted(run, path, tile=tile, overlap=overlap)
    far = torch.ones(50, 37, dtype=torch.bool)
    for row, column in Tiles(50, 37, tile, overlap).corners:
        inner = torch.zeros(tile, tile, dtype=torch.bool)
        inner[2:-2, 2:-2] = True
        far[row : row + tile, column : column + tile] &= inner
    assert far.any()
    torch.testing.assert_close(tiled[0][:, far], whole[0][:, far].float())
    assert not torch.allclose(tiled[0], whole[0].float(), atol=1e-6)
    torch.testing.assert_close(tiled.sum(1), torch.ones(1, 50, 37))


@pytest.mark.parametrize(
    ("size", "cut"),
    [((1024, 1024), False), ((1025, 20), True), ((20, 1025), True), ((8, 8), False)],
)
def test_only_large_images_are_cut(size, cut):
    tiles = Tiling().tiles(*size, (100, 60))
    assert (tiles is not None) == cut
    if tiles is not None:
        assert (tiles.tile, tiles.overlap) == ((100, 60), 15)


def test_large_is_relative_to_the_images_of_training():
    assert Tiling().tiles(2000, 2000, (500, 500)) is None
    assert Tiling().tiles(2001, 2000, (500, 500)) is not None
    tiles = Tiling(overlap=7).tiles(3000, 10, (500, 400))
    assert tiles is not None
    assert tiles.overlap == 7


def test_said_tiles_hold_for_every_image():
    assert Tiling(64, 3).tiles(10, 2000, (8, 8)) == Tiles(10, 2000, (64, 64), 3)
    assert Tiling(64).tiles(10, 10, (8, 8)) == Tiles(10, 10, (64, 64), 16)


@pytest.mark.parametrize("given", [(0, None), (-3, None), (8, 8), (8, -1), (None, -1)])
def test_tiles_that_cannot_be(given):
    with pytest.raises(InputError, match=r"^--(tile|overlap): "):
        Tiling(*given)


def test_images_are_read_a_few_at_a_time(run, tmp_path):
    """As many pixels as four images of 8x8, and at least one image."""
    for side, counts in ((8, [4, 4, 2]), (16, [1] * 10), (5, [10])):
        made = predicted(run, save(tmp_path, 10, side, side, 3))
        assert [len(part) for part in made] == counts
        assert {part.shape[1:] for part in made} == {(2, side, side)}


def test_progress_counts_tiles_and_knows_their_number(run, tmp_path):
    path, told = save(tmp_path, 2, 3, 20, 20), []
    predictor = Predictor(run, "s1", tile=8, overlap=2)
    list(predictor.predict([path], lambda done, total: told.append((done, total))))
    assert told == [(4, 18), (8, 18), (9, 18), (13, 18), (17, 18), (18, 18)]


def test_bad_inputs_are_told_before_the_first_prediction(run, tmp_path):
    np.save(tmp_path / "bad.npy", np.zeros((2, 9, 9), np.uint8))
    with pytest.raises(InputError, match=r"bad\.npy: shape"):
        Predictor(run, "s1").predict([save(tmp_path, 1, 3, 9, 9), tmp_path / "bad.npy"])


def test_colours_are_distinct_and_far_apart_at_first():
    colours = palette().astype(int)
    assert colours.shape == (256, 3)
    assert len({tuple(colour) for colour in colours.tolist()}) == 256
    assert colours[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    few = colours[:8]
    assert min(np.abs(a - b).sum() for n, a in enumerate(few) for b in few[:n]) >= 128
