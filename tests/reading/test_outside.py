"""Rows of other data sets, read as those of a run are, without their labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from peerlearn.data.info import RowInfo
from peerlearn.data.spec import DataSpec
from peerlearn.errors import InputError
from peerlearn.reading.outside import read_outside, told_of
from peerlearn.tasks.classification.config import ClassificationConfig

DRAW = np.random.default_rng(0)


def info(shape: tuple[int, ...] = (1, 8, 8), dtype: Any = "uint8", **more: Any) -> RowInfo:
    channels = (0.5,) * shape[0]
    known: dict[str, Any] = {"name": "mine", "classes": 3, "class_names": ("x", "y", "z")}
    return RowInfo(
        **known | {"rows": {}, "sample_shape": shape, "dtype": dtype},
        **{"mean": channels, "std": channels} | more,
    )


def config(**data: Any) -> ClassificationConfig:
    peers: Any = {"a": {"model": "mlp"}}
    return ClassificationConfig(recipe="dml", peers=peers, data=DataSpec(**data))


def pixels(*shape: int) -> np.ndarray:
    return DRAW.integers(0, 255, shape, dtype=np.uint8)


def read(*names: Any, of: RowInfo | None = None) -> Any:
    return read_outside([str(name) for name in names], of or info(), config())


@pytest.mark.parametrize(
    ("arrays", "rows", "part"),
    [
        ({"x": (5, 8, 8)}, 5, "row"),
        ({"x_train": (7, 8, 8), "y_train": (7,)}, 7, "row"),
        ({"x_train": (7, 8, 8), "x_test": (4, 1, 8, 8), "y_test": (4,)}, 4, "test row"),
    ],
    ids=["rows alone", "one part", "a test part"],
)
def test_test_rows_are_read_or_all_there_are(
    tmp_path: Path, arrays: dict, rows: int, part: str
) -> None:
    made = {name: pixels(*shape) for name, shape in arrays.items()}
    np.savez(tmp_path / "other.npz", **made)
    found = read(tmp_path / "other.npz")["other"]
    x = made.get("x_test", made.get("x", made.get("x_train")))
    assert found.split.x.shape == (rows, 1, 8, 8)
    assert np.array_equal(found.split.x.numpy().squeeze(), np.asarray(x).squeeze())
    assert set(found.split.y.tolist()) == {-1}
    assert found.part == part


def test_named_sets_arrays_and_folders_of_images_in_the_size_and_colours_of_the_run(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "plain.npy", pixels(3, 8, 8))
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(pixels(20, 12, 3)).save(tmp_path / f"pets/{name}/{number}.png")
    found = read("digits", tmp_path / "plain.npy", tmp_path / "pets")
    sizes = {name: (len(it.split), it.part) for name, it in found.items()}
    assert sizes == {"digits": (360, "test row"), "plain": (3, "row"), "pets": (4, "row")}
    index = torch.arange(3)
    assert {it.split.rows(index).shape for it in found.values()} == {(3, 1, 8, 8)}
    (first, *others) = told_of(found).notes
    assert first == "out of distribution: digits (360 test rows), plain (3 rows), pets (4 rows)"
    assert any(line.startswith("pets: ") and "grey" in line for line in others), others


def test_names_that_are_alike_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "other.npz", x=pixels(5, 8, 8))
    found = read(tmp_path / "a/other.npz", tmp_path / "b/other.npz")
    assert list(found) == ["a/other", "b/other"]
    with pytest.raises(InputError, match=r"evaluation.ood.\d: '.*' is named twice"):
        read(tmp_path / "a/other.npz", tmp_path / "a/other.npz")


def test_rows_that_do_not_fit_are_refused_by_entry(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", x=pixels(5, 8, 8))
    np.savez(tmp_path / "large.npz", x_test=pixels(5, 9, 9))
    np.savez(tmp_path / "floats.npz", x=DRAW.random((5, 8, 8)))
    np.savez(tmp_path / "named.npz", images=pixels(5, 8, 8))
    np.savez(tmp_path / "empty.npz", x=pixels(0, 8, 8))
    for name, said in {
        "large.npz": "x_test: shape (5, 9, 9), but the run was trained on uint8 rows of shape "
        "(1, 8, 8); expected (N, 1, 8, 8) or (N, 8, 8)",
        "floats.npz": "dtype float64, but the run was trained on uint8",
        "named.npz": "found images; allowed: one of the arrays x_test, x, x_train",
        "empty.npz": "there is no row",
        "goof.npz": "no such file or folder. Did you mean",
    }.items():
        with pytest.raises(InputError) as error:
            read(tmp_path / "good.npz", tmp_path / name)
        assert str(error.value).startswith(f"evaluation.ood.1: {tmp_path / name}")
        assert said in str(error.value)
    with pytest.raises(InputError, match=r"ood.0: unknown data set or path 'digit'. Did you mean"):
        read("digit")
    with pytest.raises(InputError, match=r"ood.0: digits: sample_shape \(1, 8, 8\), but the run"):
        read("digits", of=info((3, 8, 8)))


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (info(multilabel=True), "several labels a row"),
        (info(dtype="items"), "items that were made in Python"),
    ],
)
def test_runs_that_read_nothing_of_the_kind_refuse_it(of: RowInfo, said: str) -> None:
    with pytest.raises(InputError, match=f"evaluation.ood: found 'digits', but .* {said}"):
        read("digits", of=of)
    assert read(of=of) == {}
