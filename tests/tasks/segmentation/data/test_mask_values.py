"""What the values of masks mean is decided over all masks together, said, and never guessed."""

import numpy as np
import pytest
from PIL import Image

from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.data.arrays import masks_from_arrays
from peerlearn.tasks.segmentation.data.registry import load_segmentation
from peerlearn.tasks.segmentation.data.spec import SegmentationDataSpec
from peerlearn.validation import validated

SIDE = 16
ROWS = {"train": 6, "val": 2, "test": 3}


def square(values, rows):
    """Masks with a square of each value, on the first one."""
    masks = np.full((rows, SIDE, SIDE), values[0])
    for place, value in enumerate(values[1:]):
        masks[:, 2 + 5 * place : 6 + 5 * place, 3:9] = value
    return masks


def given(values, test=None, dtype=np.uint8, **more):
    masks = {part: square(values, rows) for part, rows in ROWS.items()}
    if test is not None:
        masks["test"] = square(test, ROWS["test"])
    draw = np.random.default_rng(0)
    arrays = {f"y_{part}": y.astype(dtype) for part, y in masks.items()}
    for part, rows in ROWS.items():
        arrays[f"x_{part}"] = draw.integers(0, 256, (rows, SIDE, SIDE), dtype=np.uint8)
    return arrays | more


def read(form, folder, arrays, **options):
    """The arrays, read from an `.npz` or from a folder of files."""
    if form == "npz":
        np.savez(folder / "mine.npz", **arrays)
        spec = SegmentationDataSpec(name=str(folder / "mine.npz"), **options)
        return load_segmentation(spec)
    if "class_names" in arrays:
        (folder / "classes.txt").write_text("\n".join(arrays["class_names"].tolist()))
    for part, rows in ROWS.items():
        for kind, axis in (("images", "x"), ("masks", "y")):
            (folder / part / kind).mkdir(parents=True)
            for row in range(rows):
                image = Image.fromarray(arrays[f"{axis}_{part}"][row])
                image.save(folder / part / kind / f"{row}.png")
    return load_segmentation(SegmentationDataSpec(name=str(folder), **options))


forms = pytest.mark.parametrize("form", ["npz", "folder"])


@forms
def test_train_of_0_and_1_beside_test_of_0_and_255_is_never_read_as_if_nothing_was_there(
    form, tmp_path
):
    arrays = given([0, 1], test=[0, 255])
    with pytest.raises(InputError, match="some masks hold 1 and others 255") as refused:
        read(form, tmp_path / form if form == "folder" else tmp_path, arrays)
    said = str(refused.value)
    assert "1 (train 144 in 6, val 48 in 2), 255 (test 72 in 3)" in said
    assert "data.ignore=255" in said and "data.values=[0,[1,255]]" in said


@forms
def test_values_given_settle_it(form, tmp_path):
    data = read(form, tmp_path, given([0, 1], test=[0, 255]), values=[0, [1, 255]])
    assert data.classes == 2 and data.class_names == ("0", "1+255")
    assert np.array_equal(data.test.y.numpy(), square([0, 1], 3))
    assert np.array_equal(data.train.y.numpy(), square([0, 1], 6))


@forms
def test_a_few_grey_pixels_beside_black_and_white_are_no_classes(form, tmp_path):
    arrays = given([0, 255])
    arrays["y_train"][0, 0, :3] = 128
    with pytest.raises(InputError, match=r"128 \(train 3 in 1\), 255 \(train 144 in 6"):
        read(form, tmp_path / "a" if form == "folder" else tmp_path, arrays)
    data = read(form, tmp_path, arrays, values=[0, 255])
    assert data.class_names == ("0", "255")
    assert data.train.y.unique().tolist() == [0, 1, 255] and (data.train.y == 255).sum() == 3
    assert data.account.notes[-1] == "pixels of value 128 do not count: 3 of them"


@forms
def test_a_stray_1_beside_black_and_white_does_not_take_the_white_away(form, tmp_path):
    arrays = given([0, 255])
    arrays["y_train"][0, 0, 0] = 1
    with pytest.raises(InputError, match="does 255 mark an object, or pixels that do not count"):
        read(form, tmp_path, arrays)


def test_smoothed_edges_are_asked_about_as_such(tmp_path):
    arrays = given([0, 255])
    for part in ("train", "test"):
        y = arrays[f"y_{part}"]
        y[:, 0, :3], y[:, 1, :3] = (31, 95, 159), (63, 127, 191)
    with pytest.raises(InputError, match=r"data.values=\[0,255\] where those between are edges"):
        read("npz", tmp_path, arrays)


@forms
def test_three_values_with_gaps_are_asked_about(form, tmp_path):
    arrays = given([0, 127, 255])
    with pytest.raises(InputError, match=r"have gaps.* data.values=\[0,127,255\], others then"):
        read(form, tmp_path / "a" if form == "folder" else tmp_path, arrays)
    data = read(form, tmp_path, arrays, values=[0, 127, 255])
    assert data.classes == 3 and np.array_equal(data.test.y.numpy(), square([0, 1, 2], 3))


@pytest.mark.parametrize(
    ("values", "more", "names", "said"),
    [
        ([0, 255], {}, ("0", "1"), "black and white: 255 is class 1"),
        ([1, 2, 3], {}, ("1", "2", "3"), "1 to 3 and no 0: 3 classes"),
        ([0, 1, 2, 255], {}, ("0", "1", "2"), "value 255 do not count: 9.4% of all masks"),
        ([0, 1, 255], {}, ("0", "1"), "value 255 do not count: 9.4%"),
        (
            [0, 4],
            {"class_names": np.array(list("abcde"))},
            tuple("abcde"),
            "3 of 5 classes are in no test mask",
        ),
        ([0, 1, -1], {"dtype": np.int64}, ("0", "1"), "value 255 do not count"),
    ],
    ids=str,
)
def test_plain_values_are_read_and_told(values, more, names, said):
    source = masks_from_arrays(given(values, **more), "mine.npz")
    assert source.class_names == names
    notes = source.account.notes
    assert said in notes[-1]


def test_minus_one_says_what_does_not_count_and_is_no_object():
    with pytest.raises(InputError, match="only label 0 occurs"):
        masks_from_arrays(given([0, -1], dtype=np.int64), "mine.npz")


def test_white_is_void_where_the_option_says_so(tmp_path):
    arrays = given([0, 1], test=[0, 255])
    assert read("npz", tmp_path, arrays, ignore=255).classes == 2


def test_palettes_that_differ_are_refused_with_the_files(tmp_path):
    for number, colours in enumerate([(0, 0, 0, 200, 0, 0), (200, 0, 0, 0, 0, 0)]):
        for kind, values in (("images", [9, 200]), ("masks", [0, 1])):
            (tmp_path / kind).mkdir(exist_ok=True)
            image = Image.fromarray(square(values, 1)[0].astype(np.uint8))
            if kind == "masks":
                image.putpalette(colours)
            image.save(tmp_path / kind / f"{number}.png")
    with pytest.raises(
        InputError, match=r"masks/1.png: value 0 is #c80000, but in .*0.png it is #0"
    ):
        load_segmentation(SegmentationDataSpec(name=str(tmp_path)))


def test_a_value_is_of_one_class():
    with pytest.raises(ValueError, match="names a value twice"):
        SegmentationDataSpec(values=[0, [1, 0]])
    with pytest.raises(ValueError, match="given beside 'values'"):
        SegmentationDataSpec(values=[0, 1], ignore=3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({0: "ground", 255: "tree"}, "Did you mean data.values=[0,255]? Names of classes go into"),
        ({"ground": 0, "tree": [1, 255]}, "Did you mean data.values=[0,[1,255]]? Names"),
        ("0, 255", "found '0, 255'; expected a list with the label value of each class"),
        ({"#ff0000": 1}, "Colours are no label values: save masks as grey or palette images"),
        ([0, 256], "found [0, 256]; expected a list with the label value of each class, 0 to 255"),
        ([[0, 0, 0], [255, 0, 0]], "names a value twice, 0; expected a list"),
    ],
)
def test_values_of_another_form_show_the_form_with_an_example(values, said):
    with pytest.raises(InputError) as refused:
        validated(SegmentationDataSpec, {"values": values}, "data")
    (line,) = str(refused.value).splitlines()
    assert line.startswith("data.values: ")
    assert said in line
    assert "data.values=[0,255] or data.values=[0,[1,255]]" in line


@forms
def test_classes_that_no_test_mask_has_are_told(form, tmp_path):
    data = read(form, tmp_path, given([0, 1, 2], test=[0, 1]))
    (note,) = data.account.notes
    assert note.startswith("1 of 3 classes are in no test mask")
    assert note.endswith(": 2")
