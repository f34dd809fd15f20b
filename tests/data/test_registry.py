import os
from pathlib import Path

import numpy as np
import pytest
import torch

from peerlearn.data.catalogue import writable_root
from peerlearn.data.registry import DATASETS, load_dataset
from peerlearn.data.spec import DataSpec
from peerlearn.errors import InputError


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """An empty home, so that no test sees this user's own downloads."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def write(path, rows=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = np.zeros((rows, 4), "f4"), np.arange(rows) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)


def test_digits_are_scaled_and_split_alike_for_every_seed():
    data = load_dataset(DataSpec())
    other = load_dataset(DataSpec(split_seed=5))
    assert (len(data.train), len(data.val), len(data.test)) == (1257, 180, 360)
    assert data.sample_shape == (1, 8, 8)
    assert (data.train.x.dtype, int(data.train.x.max())) == (torch.uint8, 255)
    assert torch.equal(data.test.x, other.test.x)
    assert torch.equal(data.train.x, other.train.x)
    assert min(data.test.y.bincount().tolist()) >= 34
    assert data.class_names == tuple("0123456789")


def test_a_name_is_found_in_the_root_before_its_images(tmp_path):
    write(tmp_path / "images" / "gtsrb.npz", 20)
    spec = DataSpec(name="gtsrb", root=str(tmp_path))
    assert len(load_dataset(spec).test) == 20
    write(tmp_path / "gtsrb.npz", 30)
    assert len(load_dataset(spec).test) == 30
    assert DATASETS.get("gtsrb", str(tmp_path)) == tmp_path / "gtsrb.npz"


def test_the_environment_names_the_root_and_the_field_overrides_it(tmp_path, monkeypatch):
    write(tmp_path / "a" / "mine.npz", 20)
    write(tmp_path / "b" / "mine.npz", 30)
    monkeypatch.setenv("PEERLEARN_DATA", str(tmp_path / "a"))
    assert len(load_dataset(DataSpec(name="mine")).test) == 20
    assert len(load_dataset(DataSpec(name="mine", root=str(tmp_path / "b"))).test) == 30


def test_names_and_descriptions_cover_embedded_downloads_and_files(tmp_path):
    write(tmp_path / "images" / "mine.npz")
    names = DATASETS.names(str(tmp_path))
    assert names == ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "mine")
    places = {line.name: line.place for line in DATASETS.describe(str(tmp_path))}
    assert places["digits"] == "embedded"
    assert places["cifar100"].startswith("download")
    assert places["mine"] == str(tmp_path / "images" / "mine.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar1O", r"data\.name: unknown data set or path 'cifar1O'\. Did you mean 'cifar10'"),
        ("none/of/this.npz", r"data\.name: none/of/this\.npz: no such file"),
    ],
)
def test_unknown_data_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        load_dataset(DataSpec(name=name))


def test_a_misspelt_path_names_its_neighbour(tmp_path):
    write(tmp_path / "flowers.npz")
    with pytest.raises(InputError, match=r"no such file .*Did you mean .*flowers\.npz"):
        load_dataset(DataSpec(name=str(tmp_path / "flower.npz")))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("label,text\n")
    with pytest.raises(InputError, match=r"a\.csv: allowed: an \.npz file"):
        load_dataset(DataSpec(name=str(tmp_path / "a.csv")))


def test_there_is_nothing_to_get_for_embedded_or_unknown_names():
    with pytest.raises(InputError, match="shipped with scikit-learn"):
        DATASETS.get("digits")
    with pytest.raises(InputError, match="Did you mean 'mnist'"):
        DATASETS.get("mnits")


def test_downloads_avoid_a_folder_marked_read_only(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("PEERLEARN_DATA", str(shared))
    assert writable_root(None) == shared
    shared.chmod(0o555)
    assert writable_root(None) == Path("~/.cache/peerlearn").expanduser()
    with pytest.raises(InputError, match=r"data\.root: .*shared cannot be written"):
        writable_root(str(shared))


def test_streamed_arrays_keep_the_statistics_of_memory(tmp_path):
    spec = DataSpec(in_memory=False)
    streamed, held = load_dataset(spec), load_dataset(DataSpec())
    assert not streamed.in_memory
    assert (streamed.mean, streamed.std) == (held.mean, held.std)


@pytest.mark.shared_data
@pytest.mark.skipif("PEERLEARN_DATA" not in os.environ, reason="PEERLEARN_DATA is not set")
@pytest.mark.parametrize(
    ("name", "shape", "classes", "rows"),
    [
        ("mnist", (1, 28, 28), 10, (18_000, 2_000, 10_000)),
        ("fashion_mnist", (1, 28, 28), 10, (13_500, 1_500, 5_000)),
        ("cifar10", (3, 32, 32), 10, (20_000, 4_000, 1_000)),
        ("gtsrb", (3, 32, 32), 43, (3_528, 392, 2_526)),
    ],
)
def test_real_files_load_with_every_class_in_every_split(name, shape, classes, rows):
    data = load_dataset(DataSpec(name=name))
    assert data.sample_shape == shape
    assert data.classes == classes
    assert tuple(map(len, (data.train, data.val, data.test))) == rows
    for split in (data.train, data.val, data.test):
        assert int(split.y.bincount(minlength=classes).min()) > 0


@pytest.mark.shared_data
@pytest.mark.skipif("PEERLEARN_DATA" not in os.environ, reason="PEERLEARN_DATA is not set")
def test_real_training_subsets_are_balanced():
    data = load_dataset(DataSpec(name="cifar10", train_size=2000, labels=100))
    assert len(data.train) == 2000
    assert (data.train.y[data.train.y >= 0]).bincount().tolist() == [10] * 10
