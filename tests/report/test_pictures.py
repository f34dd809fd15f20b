"""Pictures show what the arrays hold."""

import base64
import io

import numpy as np
import pytest

from peerlearn.report.pictures import photograph
from peerlearn.tasks.segmentation import class_maps

Image = pytest.importorskip("PIL.Image")

CLASSES = ["background", "<road>", "boat"]


def pixels(uri: str) -> np.ndarray:
    """The picture of a data URI as RGBA."""
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def colour(text: str) -> list[int]:
    return [*bytes.fromhex(text[1:]), 255]


def test_a_class_map_has_the_colours_of_its_classes_and_lets_the_page_through():
    colours = class_maps.class_colours(CLASSES)
    assert colours == (None, *class_maps.CLASS_COLOURS[:2])
    shown = pixels(class_maps.class_map(np.array([[0, 1], [2, 1]], np.uint8), colours))
    assert shown[0, 0, 3] == 0
    assert shown[0, 1].tolist() == shown[1, 1].tolist() == colour(colours[1])
    assert shown[1, 0].tolist() == colour(colours[2])


def test_pixels_that_do_not_count_are_hatched_in_two_greys():
    shown = pixels(class_maps.class_map(np.full((8, 8), 255, np.uint8), ["#0072b2"]))
    found = {tuple(value) for value in shown.reshape(-1, 4).tolist()}
    assert found == {tuple(colour(grey)) for grey in class_maps.HATCH}


def test_more_classes_than_colours_take_turns():
    colours = class_maps.class_colours([f"c{number}" for number in range(30)])
    assert len(set(class_maps.CLASS_COLOURS)) == len(class_maps.CLASS_COLOURS) == 20
    assert colours[20:] == colours[:10]


def test_disagreement_is_the_share_of_pairs_that_differ():
    maps = np.array([[[0, 1, 2]], [[0, 1, 1]], [[0, 2, 0]]], np.uint8)
    shares = class_maps.disagreement(maps)
    assert shares.tolist() == [[0, 170, 255]]
    shown = pixels(class_maps.disagreement_map(shares))
    assert shown[0, :, 3].tolist() == [0, 170, 255]
    assert shown[0, 2].tolist() == colour(class_maps.DISAGREEMENT)


def test_photographs_keep_their_pixels_and_large_ones_stay_small():
    small = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    assert np.array_equal(pixels(photograph(small))[..., :3], small)
    rows, columns = np.indices((256, 256))
    large = np.stack([rows, columns, (rows + columns) // 2], -1).astype(np.uint8)
    uri = photograph(large)
    assert len(uri) < 60_000
    assert np.abs(pixels(uri)[..., :3].astype(int) - large).mean() < 12
