import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from peerlearn.data.npz import read_npz, write_npz
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import DataSpec
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED, labelled_rows

RNG = np.random.default_rng(0)


def arrays(**changes):
    parts = {"train": 12, "val": 4, "test": 6}
    made = {}
    for part, rows in parts.items():
        made[f"x_{part}"] = RNG.integers(0, 256, (rows, 5, 4, 3), dtype=np.uint8)
        made[f"y_{part}"] = np.arange(rows) % 3
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


@pytest.fixture
def saved(tmp_path):
    def save(**changes):
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays(**changes))
        return path

    return save


def with_value(array, value, *where):
    array = array.copy()
    array[where] = value
    return array


FLOATS = RNG.random((12, 5, 4, 3))


def floats(**changes):
    return {
        "x_train": FLOATS, "x_val": FLOATS[:4].copy(), "x_test": FLOATS[:6].copy(), **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4), (1, 5, 4)),
        ((5, 4, 3), (3, 5, 4)),
        ((5, 4, 1), (1, 5, 4)),
        ((5, 4, 4), (4, 5, 4)),
        ((3, 5, 6), (3, 5, 6)),
        ((2, 5, 6), (2, 5, 6)),
        ((7,), (7,)),
    ],
)
def test_every_layout_becomes_channels_first(saved, shape, expected):
    x = {
        f"x_{part}": RNG.random((rows, *shape)).astype("f4")
        for part, rows in (("train", 12), ("val", 4), ("test", 6))
    }
    source = read_npz(saved(**x))
    assert source.train.sample_shape == expected
    first = x["x_train"][1]
    if len(shape) == 3 and shape[-1] in (1, 3, 4):
        first = first.transpose(2, 0, 1)
    assert np.array_equal(source.train.x[1].numpy().ravel(), first.ravel())


def test_bytes_stay_bytes_and_floats_become_single(saved):
    assert read_npz(saved()).train.x.dtype == torch.uint8
    assert read_npz(saved(**floats())).train.x.dtype == torch.float32


def test_labels_of_any_number_type_become_classes(saved):
    for dtype in ("u1", "i2", "f4", "f8"):
        source = read_npz(saved(y_train=(np.arange(12) % 3).astype(dtype)[:, None]))
        assert source.train.y.dtype == torch.int64
        assert source.train.y.tolist() == [0, 1, 2] * 4
        assert source.classes == 3


def test_minus_one_in_train_is_an_unlabelled_row(saved):
    y = np.array([0, 1, 2, -1] * 3)
    source = read_npz(saved(y_train=y))
    assert int((source.train.y == UNLABELLED).sum()) == 3
    assert source.classes == 3


def test_several_labels_a_row(saved):
    y = RNG.integers(0, 2, (22, 5)).astype("f4")
    y[3] = np.nan
    source = read_npz(saved(y_train=y[:12], y_val=y[12:16], y_test=y[16:].astype("i8")))
    assert source.multilabel
    assert source.classes == 5
    assert source.test.y.dtype == torch.float32
    assert labelled_rows(source.train.y).tolist() == [row != 3 for row in range(12)]


def test_missing_val_is_held_out_and_names_are_kept(saved):
    path = saved(x_val=None, y_val=None, class_names=np.array(["cat", "dog", "elk"]))
    data = load_dataset(DataSpec(name=str(path), val_size=3))
    assert (len(data.train), len(data.val), len(data.test)) == (9, 3, 6)
    assert data.class_names == ("cat", "dog", "elk")
    assert data.name == "mine"


WRONG = {
    "missing": ({"x_test": None}, r"'x_test' is missing\. .*Found"),
    "misspelt": (
        {"x_train": None, "x_trian": FLOATS}, r"'x_train' is missing\. Did you mean 'x_trian'",
    ),
    "half a val": ({"y_val": None}, "'y_val' is missing"),
    "misspelt val": (
        {"x_val": None, "y_val": None, "x_valid": FLOATS}, "unknown array 'x_valid'.*'x_val'",
    ),
    "objects": ({"y_train": np.array([0, "a", None] * 4, dtype=object)}, "'y_train' .*pickled"),
    "nan": (
        floats(x_train=with_value(with_value(FLOATS, np.nan, 7, 0), np.inf, 9, 1, 1, 1)),
        r"x_train: 13 values are NaN or infinite, the first in row 7",
    ),
    "overflow": (floats(x_test=FLOATS[:6] * 1e300), "x_test: .*infinite, the first in row 0"),
    "lengths": ({"y_val": np.arange(3)}, "x_val has 4 rows but y_val has 3"),
    "empty": ({"x_test": np.zeros((0, 5, 4, 3), "u1"), "y_test": np.zeros(0)}, "x_test is empty"),
    "x type": ({"x_train": FLOATS.astype("i8")}, "x_train: dtype int64; allowed: uint8"),
    "x axes": ({"x_train": np.zeros(12)}, r"x_train: shape \(12,\); allowed"),
    "no pixels": ({"x_train": np.zeros((12, 0, 4), "u1")}, r"x_train: shape \(12, 0, 4\)"),
    "y text": ({"y_train": np.array(["a", "b"] * 6)}, "y_val holds int64, but other labels are te"),
    "y axes": ({"y_train": np.zeros((12, 2, 2))}, r"y_train: shape \(12, 2, 2\)"),
    "fractions": (
        {"y_train": with_value(np.arange(12) % 3.0, 0.5, 4)},
        r"y_train: 1 labels are wrong: row 4 holds 0\.5, which is not a whole number",
    ),
    "nan label": ({"y_test": with_value(np.zeros(6), np.nan, 2)}, "y_test: .*row 2 holds nan"),
    "below": ({"y_train": with_value(np.arange(12) % 3, -2, 5)}, "y_train: .*row 5 holds -2"),
    "unlabelled test": ({"y_test": with_value(np.zeros(6, int), -1, 1)}, "y_test: .*holds -1"),
    "unlabelled val": ({"y_val": with_value(np.zeros(4, int), -1, 1)}, "y_val: .*holds -1"),
    "new class": (
        {"y_test": with_value(np.zeros(6, int), 3, 5)},
        "y_test: 1 labels are wrong: row 5 holds 3, which is no class of y_train; .*0 to 2",
    ),
    "one class": ({"y_train": np.zeros(12, int)}, "y_train: only class 0 occurs"),
    "no label": ({"y_train": np.full(12, -1)}, "y_train: no row has a label"),
    "row shapes": (
        {"x_test": np.zeros((6, 9, 4, 3), "u1")}, r"x_test has shape \(6, 9, 4, 3\) but x_train",
    ),
    "row types": ({"x_test": FLOATS[:6]}, "x_test is float64 but x_train is uint8"),
    "label shapes": ({"y_test": np.zeros((6, 3))}, r"y_test has shape \(6, 3\) but y_train"),
    "not 0 or 1": (
        {
            "y_train": with_value(np.zeros((12, 3)), 2, 4, 1),
            "y_val": np.zeros((4, 3)),
            "y_test": np.zeros((6, 3)),
        },
        "y_train: 1 rows of .*labels are not made of 0 and 1.*row 4",
    ),
    "names": ({"class_names": np.array(["a", "b"])}, "which has no name: class_names has 2;"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_refused_with_file_and_array(saved, case):
    changes, message = WRONG[case]
    path = saved(**changes)
    with pytest.raises(InputError, match=message) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_pickles_are_never_loaded(saved, tmp_path):
    with pytest.raises(InputError, match="'x_train' holds pickled"):
        read_npz(saved(x_train=np.array([Explosive()] * 12)))
    path = tmp_path / "pickle.npz"
    path.write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(InputError, match=r"pickle\.npz: not an \.npz file"):
        read_npz(path)


@pytest.mark.parametrize("length", [0, 3, 100, 1000])
def test_truncated_files_are_refused(saved, length):
    path = saved()
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"mine\.npz: not an \.npz file, or cut short"):
        read_npz(path)


def test_damaged_bytes_inside_an_array_are_noticed(saved):
    path = saved()
    raw = bytearray(path.read_bytes())
    raw[400] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"mine\.npz: array 'x_train' is damaged"):
        read_npz(path)


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(InputError, match="single array"):
        read_npz(tmp_path / "one.npz")
    (tmp_path / "text.npz").write_text("label,text\n")
    with pytest.raises(InputError, match=r"text\.npz: not an \.npz"):
        read_npz(tmp_path / "text.npz")
    with pytest.raises(InputError, match="no such file"):
        read_npz(tmp_path / "none.npz")


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    write_npz(tmp_path / "a.npz", {"x": np.zeros(2)})

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        write_npz(tmp_path / "a.npz", {"x": np.ones(2)})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 0]


def lying_npz(path, shape, values=b"") -> None:
    """An archive whose x_train says that it is of a shape and holds some bytes."""
    content = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x_train.npy", content.getvalue() + values)
        for name, array in arrays(x_train=None).items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)


@pytest.mark.parametrize("shape", [(10**12,), (10**9, 10**9, 10**9), (2**62, 8)])
def test_a_header_that_says_more_than_there_is_takes_no_memory(tmp_path, shape):
    lying_npz(tmp_path / "lies.npz", shape)
    with pytest.raises(InputError, match=r"'x_train' is damaged .*announced, 0 are"):
        read_npz(tmp_path / "lies.npz")


def test_what_this_machine_cannot_hold_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    lying_npz(tmp_path / "bomb.npz", (500_000,), bytes(4_000_000))
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    monkeypatch.setattr("peerlearn.memory.available_memory", lambda: 1_000_000)
    with pytest.raises(InputError, match=r"bomb\.npz: needs 4 MB of memory, and 1 MB are avail"):
        read_npz(tmp_path / "bomb.npz")


def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        read_npz(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        load_dataset(DataSpec(name=str(tmp_path / "pipe.npz")))


def test_rows_that_two_parts_share_are_counted(saved):
    x = RNG.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
    x_test = np.stack([x[3], x[3], *RNG.integers(0, 256, (4, 5, 4, 3), dtype=np.uint8)])
    account = read_npz(saved(x_train=x, x_test=x_test)).account
    assert account.notes == ("2 of 6 rows of test are in train too",)
    assert read_npz(saved()).account.notes == ()


def test_arrays_that_are_not_read_are_told(saved):
    account = read_npz(saved(weights=np.arange(3), X_more=np.arange(3))).account
    assert account.notes == ("arrays that are not read: weights, X_more",)


@pytest.mark.parametrize(
    ("attack", "by"),
    [
        (np.array('{"kind": "sig", "target": 0}'), " by attack 'sig'"),
        (np.array('{"kind": "\x1b[31m"}'), ""),
        (np.arange(3), ""),
    ],
)
def test_data_that_are_marked_as_poisoned_are_told_before_all_else(saved, attack, by):
    notes = read_npz(saved(attack=attack, poisoned=np.zeros(12, bool))).account.notes
    assert notes == (
        f"marked as poisoned{by}: some training rows carry a backdoor's trigger",
        "arrays that are not read: attack, poisoned",
    )
    alone = read_npz(saved(attack=attack)).account.notes
    assert alone == ("arrays that are not read: attack",), "one of the two marks nothing"
