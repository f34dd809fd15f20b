"""Classes are the labels that occur; whatever is decided about them is said or refused."""

import re
import resource

import numpy as np
import pytest

from peerlearn.data.arrays import source_from_arrays
from peerlearn.data.classes import in_order, read_class_names
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import DataSpec
from peerlearn.errors import InputError


def arrays(y, y_test=None, **more):
    """Rows of two numbers with these labels; test has those of train unless it is given."""
    y = np.asarray(y)
    y_test = y if y_test is None else np.asarray(y_test)
    rows = {"x_train": np.zeros((len(y), 2)), "x_test": np.zeros((len(y_test), 2))}
    return rows | {"y_train": y, "y_test": y_test} | more


def read(*args, count=None, **more):
    return source_from_arrays(arrays(*args, **more), "mine", count)


def test_labels_from_0_on_are_their_classes():
    source = read([0, 2, 1, 2])
    assert (source.classes, source.class_names, source.account.notes) == (3, (), ())
    assert source.train.y.tolist() == [0, 2, 1, 2]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (range(1, 11), [str(n) for n in range(1, 11)]),
        ([3, 900007, 12], ["3", "12", "900007"]),
        ([0, 10**12, 5 * 10**12], ["0", "1000000000000", "5000000000000"]),
        ([0.0, 1e12], ["0", "1000000000000"]),
        ([999_999_999, 5], ["5", "999999999"]),
    ],
)
def test_labels_with_gaps_are_as_many_classes_as_occur_named_by_them(labels, names):
    y = np.tile(np.array(list(labels)), 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = read(y)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
    assert source.classes == len(names) and source.class_names == tuple(names)
    assert [float(names[c]) for c in source.train.y.tolist()] == y.tolist()
    assert [float(names[c]) for c in source.test.y.tolist()] == y.tolist()
    (note,) = source.account.notes
    assert note.startswith(f"y_train holds {len(names)} labels")


def test_a_row_without_a_label_stays_so_beside_gaps():
    source = read([5, -1, 7, 5], [7, 5])
    assert source.train.y.tolist() == [0, -1, 1, 0] and source.class_names == ("5", "7")


def test_a_class_that_train_lacks_is_one_where_all_labels_together_count_from_0():
    source = read([0, 1, 3, 3], [2, 0])
    assert source.classes == 4 and source.test.y.tolist() == [2, 0]
    with pytest.raises(InputError, match=r"y_test: 1 labels .* holds 4, .* of y_train; .* 0 to 3"):
        read([0, 1, 2, 3], [4, 0])
    with pytest.raises(InputError, match=r"holds 8, which is no class of y_train; allowed: 5, 7"):
        read([5, 7], [5, 8])


def test_names_say_how_many_classes_there_are():
    source = read([0, 1, 1], [2, 0], class_names=np.array(["a", "b", "c", "d"]))
    assert source.classes == 4 and source.class_names == ("a", "b", "c", "d")
    with pytest.raises(InputError, match=r"y_train: .* holds 900007, which has no name: class_n"):
        read([0, 900007], class_names=np.array(["a", "b"]))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([b"cat", b"h\xc3\xa4ndler"], ("cat", "händler")),
        (["1.0", " 1"], ("1.0", " 1")),
    ],
)
def test_names_are_kept_as_typed_and_bytes_are_read(names, said):
    assert read([0, 1], class_names=np.array(names)).class_names == said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cat", "dog", "cat"], "has 'cat' twice, as 0 and 2"),
        (["cat", " "], "has an empty name at 1"),
        ([b"\xff", b"a"], "bytes that are no UTF-8"),
        ([["cat"]], r"shape \(1, 1\)"),
    ],
)
def test_names_that_tell_no_class_are_refused(names, said):
    with pytest.raises(InputError, match=f"mine: class_names .*{said}"):
        read_class_names(np.array(names), "mine")


def diabetes(rows=353):
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return {"x_train": x[:rows], "y_train": y[:rows], "x_test": x[rows:], "y_test": y[rows:]}


def test_a_regression_target_is_refused_and_can_be_insisted_on(tmp_path):
    given = diabetes()
    distinct = len(np.unique(given["y_train"]))
    said = f"y_train: looks like a regression target: {distinct} different values from 25 to 346"
    with pytest.raises(InputError, match=f"{said} in 353 .* say data.classes={distinct};"):
        source_from_arrays(given, "mine")
    with pytest.raises(InputError, match="looks like a regression target"):
        read(np.arange(60))
    whole = diabetes(442)["y_train"]  # 442 rows of 214 amounts
    with pytest.raises(InputError, match=r"214 different values .* in 442 rows, 2\.1"):
        read(whole)
    assert read(np.arange(90) % 30).classes == 30
    with pytest.raises(InputError, match="looks like a regression target"):
        read(np.arange(90) % 30 * 7)
    given["y_test"] = given["y_train"][: len(given["x_test"])]
    np.savez(tmp_path / "mine.npz", **given)
    for count in (distinct, 400):  # those that occur; those from 0 on
        data = load_dataset(DataSpec(name=str(tmp_path / "mine.npz"), classes=count))
        assert data.classes == count


def test_a_number_of_classes_that_does_not_fit_is_refused():
    assert read([0, 1, 1], count=5).classes == 5
    with pytest.raises(
        InputError, match=r"data.classes: 4, but mine: y_train holds 2 labels, 3, 9"
    ):
        read([3, 9], count=4)
    with pytest.raises(InputError, match=r"data.classes: 11, but digits has 10 classes"):
        load_dataset(DataSpec(name="digits", classes=11))


def test_texts_are_classes_named_as_typed():
    source = read(["1.0", "", " 1", "10", "9"], ["9", "10"])
    assert source.class_names == (" 1", "1.0", "10", "9")
    assert source.train.y.tolist() == [1, -1, 0, 2, 3] and source.test.y.tolist() == [3, 2]
    assert source.account.notes == ("y_train holds texts: 4 classes, named as typed",)
    assert read(["10", "9", "1"]).class_names == ("1", "9", "10")
    assert (
        "labels 'Cat' and 'cat ' of y_train are two classes" in read(["Cat", "cat "]).account.notes
    )
    with pytest.raises(InputError, match=r"y_test: label 'dog' is no class of y_train"):
        read(["cat", "bird"], ["dog"])
    named = read(["b", "a"], class_names=np.array(["b", "c", "a"]))
    assert named.train.y.tolist() == [0, 2] and named.classes == 3


def test_one_hot_rows_are_said_to_be_read_as_several_labels():
    one_hot = np.eye(3)[[0, 1, 2, 1]]
    (note,) = read(one_hot).account.notes
    assert "every row of y has exactly one of 3 labels" in note and "argmax" in note
    assert read(np.maximum(one_hot, [[0, 0, 1]])).account.notes == ()


@pytest.mark.parametrize("swapped", [False, True])
def test_splits_in_two_scales_are_refused(swapped):
    scaled, bytes_ = np.linspace(0, 1, 12).reshape(6, 2), np.linspace(0, 255, 12).reshape(6, 2)
    train, test = (bytes_, scaled) if swapped else (scaled, bytes_)
    y = np.arange(6) % 2
    given = {"x_train": train, "y_train": y, "x_test": test, "y_test": y}
    said = (
        "x_test holds 0 to 1 but x_train 0 to 255" if swapped else "x_train holds 0 to 1 but x_te"
    )
    with pytest.raises(InputError, match=re.escape(said)):
        source_from_arrays(given, "mine")
    source_from_arrays(given | {"x_train": scaled, "x_test": 3 * scaled - 1}, "mine")


def test_whole_numbers_are_ordered_by_value_and_other_names_as_texts():
    assert in_order(map(str, range(12))) == [str(n) for n in range(12)]
    assert in_order(["10", "9", "a"]) == ["10", "9", "a"]


def test_far_more_names_than_labels_are_told():
    names = np.array([f"c{number}" for number in range(1000)])
    (note,) = read([0, 1, 2, 2], class_names=names).account.notes
    assert note == "class_names has 1,000 names, but y_train holds 3 labels: 997 never occur"
    (note,) = read([0, 1, 2, 2], count=7).account.notes
    assert note == "data.classes says 7 classes, but y_train holds 3 labels: 4 never occur"
    assert read([0, 1, 2, 2], class_names=names[:5]).account.notes == ()
