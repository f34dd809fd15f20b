"""`rows.npz`: what every test row scored, whole or refused."""

from pathlib import Path

import numpy as np
import pytest

from peerlearn.errors import InputError
from peerlearn.row_scores import read_row_scores, read_row_set, write_row_scores

SCORES = {
    "a": {"accuracy": np.array([1, 0, 1], np.float32), "nll": np.array([0.1, 2, np.nan])},
    "ensemble": {"accuracy": np.ones(3, np.float32)},
}


def test_scores_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    write_row_scores(path, SCORES, "0123abcd")
    back = read_row_scores(path)
    assert {who: set(found) for who, found in back.items()} == {
        who: set(found) for who, found in SCORES.items()
    }
    assert back["a"]["nll"].dtype == np.float32
    np.testing.assert_array_equal(back["a"]["nll"], SCORES["a"]["nll"].astype(np.float32))
    assert read_row_set(path) == "0123abcd"
    assert [p.name for p in tmp_path.iterdir()] == ["rows.npz"], "nothing is left beside it"


@pytest.mark.parametrize(
    "name", ["a/b.npy", "straße", "../../x", "half \ud800", "with\0end", "x:y"]
)
def test_a_class_of_any_name_has_a_score(tmp_path: Path, name: str) -> None:
    found = {f"union.{name}": np.arange(2), "union.other": np.zeros(2)}
    write_row_scores(tmp_path / "rows.npz", {"a": found})
    back = read_row_scores(tmp_path / "rows.npz")["a"]
    (other,) = back.keys() - {"union.other"}
    np.testing.assert_array_equal(back[other], [0, 1])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a/x": np.array([None])}, "pickled"),
        ({"a/x": np.zeros((2, 2), np.float32)}, r"float32 \(2, 2\)"),
        ({"a/x": np.zeros(2)}, "float64"),
        ({"a/x": np.zeros(2, np.float32), "a/y": np.zeros(3, np.float32)}, "3 rows, others have 2"),
        ({"alone": np.zeros(2, np.float32)}, "ensemble/accuracy"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=said) as error:
        read_row_scores(path)
    assert str(path) in str(error.value)
    with pytest.raises(InputError, match="does not say which rows"):
        read_row_set(path)


def test_a_damaged_file_and_one_that_is_too_big_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.npz"
    write_row_scores(path, SCORES)
    monkeypatch.setattr("peerlearn.memory.available_memory", lambda: 8)
    with pytest.raises(InputError, match=r"rows\.npz"):
        read_row_scores(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"rows\.npz: not an \.npz file, or cut short"):
        read_row_scores(path)
    with pytest.raises(InputError, match="no such file"):
        read_row_set(tmp_path / "none.npz")
