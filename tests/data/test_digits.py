"""Digits from scikit-learn's file are those that it gives itself."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from peerlearn.data import digits


def test_the_file_holds_what_scikit_learn_gives() -> None:
    pixels, labels = digits.read_digit_file()
    expected, classes = load_digits(return_X_y=True)
    assert np.array_equal(pixels, expected)
    assert np.array_equal(labels, classes)


def test_scikit_learn_is_not_imported_for_them() -> None:
    code = (
        "import sys; from peerlearn.data.digits import read_digit_file; read_digit_file(); "
        "print('sklearn' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


@pytest.mark.parametrize("content", [None, b"no gzip", b""])
def test_another_file_there_is_left_to_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    file = tmp_path / "digits.csv.gz"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(digits, "FILE", file)  # absolute, so it takes the package's place
    pixels, _ = digits.read_digit_file()
    assert np.array_equal(pixels, load_digits().data)
