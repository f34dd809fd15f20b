import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.segmentation.data.arrays import holds_masks, masks_from_arrays
from peerlearn.tasks.segmentation.data.masks import IGNORED, MaskSplit, as_targets
from peerlearn.tasks.segmentation.data.registry import load_segmentation
from peerlearn.tasks.segmentation.data.spec import SegmentationDataSpec


def arrays(labels=3, rows=6, side=(4, 5), **changed):
    """Label maps 0..labels-1 with every label in every image."""
    rng = np.random.default_rng(0)
    found = {}
    for part in ("train", "test"):
        found[f"x_{part}"] = rng.integers(0, 256, (rows, *side, 3), dtype=np.uint8)
        found[f"y_{part}"] = np.resize(np.arange(labels), (rows, *side)).astype(np.uint8)
    return found | changed


def read(**changed):
    return masks_from_arrays(arrays(**changed), "f.npz")


def load(tmp_path, changed, **options):
    np.savez(tmp_path / "f.npz", **arrays(**changed))
    return load_segmentation(SegmentationDataSpec(name=str(tmp_path / "f.npz"), **options))


def test_images_are_channels_first_and_masks_keep_their_labels(tmp_path):
    data, given = load(tmp_path, {}, val_size=2), arrays()
    assert data.sample_shape == (3, 4, 5)
    assert (data.classes, data.class_names, data.multilabel) == (3, ("0", "1", "2"), False)
    assert [len(part) for part in (data.train, data.val, data.test)] == [4, 2, 6]
    assert np.array_equal(data.test.x.numpy(), given["x_test"].transpose(0, 3, 1, 2))
    assert np.array_equal(data.test.y.numpy(), given["y_test"])
    assert data.test.y.dtype == torch.uint8


@pytest.mark.parametrize("dtype", ["u1", "i4", "i8", "f4"])
@pytest.mark.parametrize("layout", ["NHW", "N1HW", "NHW1"])
def test_layouts_and_whole_dtypes_of_masks_are_alike(dtype, layout):
    y = arrays()["y_train"].astype(dtype)
    given = {"NHW": y, "N1HW": y[:, None], "NHW1": y[..., None]}[layout]
    assert torch.equal(read(y_train=given).train.y, read().train.y)


def test_255_and_minus_one_do_not_count():
    y = arrays()["y_train"].astype(np.int64)
    y[0, 0, :2] = (-1, 255)
    train = read(y_train=y).train
    assert train.y[0, 0, :3].tolist() == [IGNORED, IGNORED, 2]
    assert train.targets(torch.tensor([0]))[0, 0, :3].tolist() == [UNLABELLED, UNLABELLED, 2]


@pytest.mark.parametrize(
    ("ignore", "names", "kept"),
    [
        (2, None, {0: 0, 1: 1, 2: IGNORED}),
        (0, None, {0: IGNORED, 1: 0, 2: 1}),
        (1, ["a", "b", "c"], {0: 0, 1: IGNORED, 2: 1}),
        (None, ["a", "b", "Void"], {0: 0, 1: 1, 2: IGNORED}),
        (None, ["unlabelled", "b", "c"], {0: IGNORED, 1: 0, 2: 1}),
        (None, ["a", "void", "c"], {0: 0, 1: 1, 2: 2}),
        (1, ["a", "b", "void"], {0: 0, 1: IGNORED, 2: 1}),
    ],
)
@pytest.mark.parametrize("said_by", ["array", "spec"])
def test_an_ignored_label_leaves_no_gap_between_the_classes(tmp_path, ignore, names, kept, said_by):
    changed = {} if names is None else {"classes": np.array(names)}
    if said_by == "array" and ignore is not None:
        changed["ignore"] = np.array(ignore)
    data = load(tmp_path, changed, **({"ignore": ignore} if said_by == "spec" else {}))
    expected = np.vectorize(kept.get)(arrays()["y_test"])
    assert np.array_equal(data.test.y.numpy(), expected)
    left = [value for value, place in kept.items() if place != IGNORED]
    assert data.classes == len(left)
    assert data.class_names == tuple(names[v] if names else str(v) for v in left)


def test_the_field_overrides_the_array(tmp_path):
    data = load(tmp_path, {"ignore": np.array(0)}, ignore=2)
    assert data.class_names == ("0", "1")


def test_black_and_white_masks_are_two_classes_unless_white_is_ignored(tmp_path):
    both = {key: (arrays()[key] > 0) * np.uint8(255) for key in ("y_train", "y_test")}
    data = load(tmp_path, both)
    assert data.classes == 2
    assert np.array_equal(data.test.y.numpy(), both["y_test"] // 255)
    with pytest.raises(InputError, match="only label 0 occurs"):
        load(tmp_path, both, ignore=255)


def test_names_may_be_more_than_the_labels_that_occur():
    assert read(class_names=np.array(["a", "b", "c", "d"])).classes == 4


def test_masks_that_overlap_have_a_plane_for_each_label():
    y = np.zeros((6, 2, 4, 5), np.float32)
    y[:, 1] = 1
    y[0, :, 0, 0] = np.nan
    source = read(y_train=y, y_test=np.nan_to_num(y).astype(np.uint8))
    assert (source.multilabel, source.classes) == (True, 2)
    targets = source.train.targets(torch.tensor([0, 1]))
    assert targets.dtype == torch.float32
    assert targets[0, :, 0, 0].isnan().all()
    assert targets[1].flatten(1).mean(1).tolist() == [0, 1]


def test_a_mask_without_labels_is_an_unlabelled_row(tmp_path):
    y = arrays()["y_train"]
    y[:3] = IGNORED
    data = load(tmp_path, {"y_train": y}, val_size=1)
    assert sorted(data.train.strata.tolist()) == [UNLABELLED] * 3 + [0, 0]
    assert data.val.strata.tolist() == [0]


def test_labels_keep_whole_masks_and_all_images(tmp_path):
    few, all_ = (load(tmp_path, {}, val_size=1, labels=n) for n in (2, None))
    known = few.train.strata == 0
    assert int(known.sum()) == 2
    assert torch.equal(few.train.x, all_.train.x)
    assert torch.equal(few.train.y[known], all_.train.y[known])
    assert bool((few.train.y[~known] == IGNORED).all())


def test_train_size_keeps_images_and_not_the_validation_split(tmp_path):
    few, all_ = (load(tmp_path, {}, val_size=2, train_size=n) for n in (3, None))
    assert len(few.train) == 3
    assert torch.equal(few.val.x, all_.val.x)


def test_targets_of_stored_masks_are_what_objectives_read():
    masks = torch.tensor([[[0, 254, IGNORED]]], dtype=torch.uint8)
    assert as_targets(masks).tolist() == [[[0, 254, UNLABELLED]]]
    several = as_targets(torch.tensor([[[[0, 1, IGNORED]]]], dtype=torch.uint8))
    assert several[0, 0, 0, :2].tolist() == [0, 1]
    assert bool(several[0, 0, 0, 2].isnan())


def test_memory_counts_images_and_masks():
    split = MaskSplit(torch.zeros(2, 3, 4, 5).byte(), torch.zeros(2, 4, 5).byte())
    assert split.nbytes == 2 * 4 * 4 * 5


WRONG = np.zeros((6, 4, 5), np.uint8)


def holding(value, dtype="f4", key="y_train"):
    y = arrays()[key].astype(dtype)
    y[2, 3, 1] = value
    return {key: y}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": WRONG[:5]}, "f.npz: x_train has 6 rows but y_train has 5"),
        ({"y_train": WRONG[:, 0, 0]}, r"f.npz: y_train: shape \(6,\); allowed: \(N,H,W\)"),
        (
            {"y_test": WRONG[:, :3]},
            r"f.npz: y_test has shape \(6, 3, 5\) but x_test has \(6, 4, 5, 3\); .* here 4 and 5",
        ),
        ({"x_train": np.zeros((6, 20), np.uint8)}, r"x_train has shape \(6, 20\); images are"),
        (
            {"x_test": np.zeros((6, 5, 4, 3), np.uint8), "y_test": WRONG.reshape(6, 5, 4)},
            r"x_test has shape \(6, 5, 4, 3\) but x_train",
        ),
        (
            holding(0.5),
            "y_train: 1 pixels are wrong: image 2 holds 0.5 at row 3, column 1, which is not a "
            "whole number",
        ),
        (holding(np.nan), "image 2 holds nan .* not a whole number"),
        (holding(-2, "i4"), "image 2 holds -2 .*allowed: 0 to 254, and 255 or -1"),
        (holding(300, "i4"), "image 2 holds 300"),
        (
            holding(7, "u1", "y_test"),
            "y_test: .*image 2 holds 7 .*is no class of train; allowed: 0 to 2, and 255",
        ),
        (holding(254, "u1"), r"values have gaps.* 2 \(train 39 in 6, test 40 in 6\), 254"),
        ({"classes": np.array(["a", "b"])}, "y_train: label 2, but there are only 2 class names"),
        ({"classes": np.array([["a", "b"]])}, r"classes has shape \(1, 2\)"),
        ({"y_train": WRONG + 1}, "y_train: only label 1 occurs; at least two"),
        ({"y_train": WRONG + 255}, "y_train: no pixel has a label"),
        ({"y_test": WRONG + 255}, "y_test: no pixel has a label"),
        ({"ignore": np.array([1, 2])}, r"ignore has shape \(2,\)"),
        ({"ignore": np.array(0.5)}, "ignore has shape .* dtype float64"),
        ({"y_train": np.full((6, 4, 5), "a")}, "y_train: dtype <U1; allowed: whole numbers"),
        ({"x_tset": WRONG, "x_val": WRONG}, "array 'y_val' is missing"),
    ],
)
def test_wrong_arrays_are_refused_with_the_place(changed, message):
    with pytest.raises(InputError, match=message):
        read(**changed)


def several(part="train", value=2, labels=2):
    y = np.zeros((6, labels, 4, 5), np.uint8)
    y[1, 0, 2, 3] = value
    return {f"y_{part}": y}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (several() | several("test", 1), "image 1 holds 2 at row 2, column 3.*allowed: 0 to 1,"),
        (several(value=1), r"y_test has shape \(6, 4, 5\) but y_train"),
        (
            several(value=1) | several("test", 1) | {"classes": np.array(["a"])},
            "1 class names; expected one for each of 2 labels",
        ),
    ],
)
def test_wrong_masks_that_overlap_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        read(**changed)


def test_ignore_is_refused_for_masks_that_overlap():
    given = arrays(**several(value=1), **several("test", 1))
    with pytest.raises(InputError, match=r"data\.ignore: 1, but f\.npz holds 2 masks"):
        masks_from_arrays(given, "f.npz", ignore=1)


def test_a_missing_array_is_named():
    given = arrays()
    del given["y_test"]
    with pytest.raises(InputError, match=r"array 'y_test' is missing.*Found: x_train"):
        masks_from_arrays(given, "f.npz")


def test_files_of_masks_are_known_by_the_shape_of_their_targets(tmp_path):
    np.savez(tmp_path / "masks.npz", **arrays())
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((3, 2)), y_train=np.zeros(3))
    np.savez(tmp_path / "graph.npz", x=np.zeros((3, 2)))
    (tmp_path / "broken.npz").write_bytes(b"PK")
    assert [path.stem for path in sorted(tmp_path.iterdir()) if holds_masks(path)] == ["masks"]


def test_pickled_masks_are_never_loaded(tmp_path):
    np.savez(tmp_path / "f.npz", **arrays(y_train=np.array([{}] * 6)))
    with pytest.raises(InputError, match=r"array 'y_train' holds pickled"):
        load_segmentation(SegmentationDataSpec(name=str(tmp_path / "f.npz")))


@pytest.mark.parametrize("axis", [3, 1])
def test_grey_masks_drawn_in_rgb_are_read_as_grey(axis):
    plain = read()
    drawn = {key: np.stack([y] * 3, axis) for key, y in arrays().items() if key[0] == "y"}
    source = read(**drawn)
    assert torch.equal(source.test.y, plain.test.y)
    assert not source.multilabel
    (note,) = source.account.notes
    assert note == "y_train, y_test: masks with equal channels are read as grey"


def test_masks_in_colours_or_with_labels_last_are_refused_in_words_of_their_own():
    y = np.stack([arrays()["y_train"]] * 3, 3)
    y[0, 0, 0] = (9, 8, 7)
    with pytest.raises(InputError, match=r"y_train: shape \(6, 4, 5, 3\) .* masks are in colours"):
        read(y_train=y, y_test=y)
    last = np.stack([arrays()["y_train"] == label for label in range(3)], 3)
    with pytest.raises(InputError, match=r"labels last.*y_train\.transpose\(0, 3, 1, 2\)"):
        read(y_train=last, y_test=last)


def test_masks_that_overlap_without_a_label_are_refused_and_missing_labels_told():
    planes = np.stack([arrays()["y_train"] == label for label in (1, 2)], 1).astype(np.uint8)
    with pytest.raises(InputError, match=r"no pixel is 1, .*; 255 does not count: give y // 255"):
        read(y_train=planes * 255, y_test=planes * 255)
    with pytest.raises(InputError, match=r"y_train: no pixel is 1, so nothing has a label\.$"):
        read(y_train=planes * 0, y_test=planes)
    half = planes.copy()
    half[:, 1] = 0
    names = np.array(["tree", "house"])
    (note,) = read(y_train=planes, y_test=half, classes=names).account.notes
    assert note == "1 of 2 labels are in no mask of test: house"


def test_one_part_may_be_drawn_in_rgb_and_arrays_that_are_not_read_are_told(tmp_path):
    y = arrays()["y_train"]
    data = load(tmp_path, {"y_train": np.stack([y] * 3, 3), "depth": y})
    assert "y_train: masks with equal channels are read as grey" in data.account.notes
    assert "arrays that are not read: depth" in data.account.notes
    assert data.classes == 3
