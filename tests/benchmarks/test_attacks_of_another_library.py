"""What peerlearn does around the attacks of another library, without that library."""

from pathlib import Path

import numpy as np

from benchmarks.backdoor.with_art import PLANS, Rows, divided, unit


def test_rows_are_written_as_purify_reads_them(tmp_path: Path) -> None:
    x = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    for rows, expected in (
        (Rows(x, np.array([1, 0])), x.transpose(0, 2, 3, 1)),
        (Rows(x[:, :1], np.array([1, 0])), x[:, 0]),
    ):
        with np.load(rows.save(tmp_path / "rows.npz")) as saved:
            assert (saved["x_train"] == expected).all()
            assert saved["y_train"].tolist() == [1, 0]


def test_clean_rows_are_none_of_those_that_are_poisoned() -> None:
    clean, train, test = divided("digits", PLANS["digits"], 50)
    assert (len(clean.y), len(train.y), len(test.y)) == (50, 400, 360)
    mine, poisoned = ({x.tobytes() for x in rows.x} for rows in (clean, train))
    assert not mine & poisoned
    assert set(clean.y) == set(range(10)), "of every class"


def test_pixels_in_0_to_1_come_back_as_they_were() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert (np.rint(255 * unit(every)).astype(np.uint8) == every).all()
