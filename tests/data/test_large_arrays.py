"""Large arrays are mapped and their parts share them: the same data, in less memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from peerlearn.data import arrays, datasets, npz
from peerlearn.data.datasets import Dataset, PlacedSplit
from peerlearn.data.fingerprint import data_fingerprint
from peerlearn.data.loaders import train_loader
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import DataSpec
from peerlearn.errors import InputError

PARTS = ("train", "val", "test")


def write(path: Path, shape: tuple[int, ...], dtype: str = "uint8", save=np.savez) -> Path:
    generator, content = np.random.default_rng(0), {}
    for part, rows in (("train", 120), ("test", 30)):
        content[f"x_{part}"] = generator.integers(0, 256, (rows, *shape)).astype(dtype)
        content[f"y_{part}"] = np.arange(rows) % 3
    save(path, **content)
    return path


def load(path: Path, monkeypatch: pytest.MonkeyPatch, large: int, **options) -> Dataset:
    for module in (arrays, datasets, npz):
        monkeypatch.setattr(module, "LARGE", large)
    return load_dataset(DataSpec(name=str(path), **options))


@pytest.mark.parametrize("options", [{}, {"train_size": 30}, {"labels": 12}])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((3, 4, 4), "uint8"), ((4, 4, 3), "uint8"), ((5,), "float32")]
)
def test_large_data_are_those_of_small_ones(tmp_path, monkeypatch, shape, dtype, options) -> None:
    path = write(tmp_path / "rows.npz", shape, dtype)
    small = load(path, monkeypatch, 1 << 40, **options)
    large = load(path, monkeypatch, 1, **options)
    assert isinstance(large.train, PlacedSplit)
    assert (small.mean, small.std, small.account) == (large.mean, large.std, large.account)
    assert data_fingerprint(small) == data_fingerprint(large)
    for part in PARTS:
        mine, other = getattr(small, part), getattr(large, part)
        assert torch.equal(mine.x, other.x)
        assert torch.equal(mine.y, other.y)
        assert (mine.nbytes, mine.sample_shape) == (other.nbytes, other.sample_shape)
    pairs = zip(
        train_loader(small, 32, 0).epoch(0), train_loader(large, 32, 0).epoch(0), strict=True
    )
    for mine, other in pairs:
        assert torch.equal(mine.x, other.x)
        assert other.x.is_contiguous()


def test_stored_arrays_are_mapped_and_compressed_ones_are_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(npz, "LARGE", 1)
    for save, mapped in ((np.savez, True), (np.savez_compressed, False)):
        found = npz.read_arrays(write(tmp_path / "rows.npz", (3, 4, 4), save=save))["x_train"]
        base = found
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap) == mapped


def test_what_is_written_to_a_mapped_array_stays_in_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(npz, "LARGE", 1)
    path = write(tmp_path / "rows.npz", (3, 4, 4))
    before = path.read_bytes()
    npz.read_arrays(path)["x_train"][:] = 7
    assert path.read_bytes() == before


def test_fortran_order_is_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(npz, "LARGE", 1)
    values = np.asfortranarray(np.arange(24.0).reshape(4, 6))
    np.savez(tmp_path / "rows.npz", a=values)
    assert np.array_equal(npz.read_arrays(tmp_path / "rows.npz")["a"], values)


def test_damage_in_a_mapped_array_is_found(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "rows.npz", (3, 4, 4))
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"array 'x_train' is damaged \(Bad CRC-32"):
        load(path, monkeypatch, 1)


def test_values_that_are_not_finite_are_counted_over_all_parts(tmp_path, monkeypatch) -> None:
    x = np.zeros((9, 2), np.float32)
    x[4, 1], x[7, 0] = np.nan, np.inf
    monkeypatch.setattr(arrays, "VALUES_PER_CHUNK", 4)
    with pytest.raises(InputError, match="2 values are NaN or infinite, the first in row 4"):
        arrays.read_rows(x, "x")
