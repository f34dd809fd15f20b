import sys

import numpy as np
import pytest
import torch
from PIL import Image

from peerlearn.data.loaders import train_loader
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import AugmentSpec, DataSpec
from peerlearn.errors import InputError

PARTS = {"train": 6, "val": 2, "test": 3}


def pixels(seed, size=(5, 7), mode="RGB"):
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """train, val and test of classes cat and dog, PNG, 5 wide and 7 high."""

    def make(mode="RGB", parts=PARTS):
        for part, rows in parts.items():
            for label, name in enumerate(("cat", "dog")):
                (tmp_path / part / name).mkdir(parents=True)
                for row in range(rows):
                    array = pixels(100 * row + label, mode=mode)
                    Image.fromarray(array).save(tmp_path / part / name / f"{row}.png")
        return tmp_path

    return make


def load(path, **options):
    return load_dataset(DataSpec(name=str(path), **options))


def test_classes_are_the_sorted_folders_and_pixels_are_exact(folder):
    data = load(folder())
    assert (len(data.train), len(data.val), len(data.test)) == (12, 4, 6)
    assert data.class_names == ("cat", "dog")
    assert data.sample_shape == (3, 7, 5)
    assert data.train.y.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(data.train.x[7].numpy(), pixels(101).transpose(2, 0, 1))


def test_grey_files_have_one_channel_unless_one_is_coloured(folder):
    path = folder(mode="L")
    assert load(path).sample_shape == (1, 7, 5)
    Image.fromarray(pixels(0)).save(path / "train" / "cat" / "0.png")
    assert load(path).sample_shape == (3, 7, 5)


def test_missing_val_and_test_are_held_out(folder):
    data = load(folder(parts={"train": 20}), val_size=4)
    assert (len(data.train), len(data.val), len(data.test)) == (32, 4, 4)


def test_streamed_files_give_the_batches_of_memory(folder):
    path, spec = folder(), AugmentSpec(crop=1, flip=True)
    memory, stream = (load(path, in_memory=kind, labels=4) for kind in (True, False))
    assert memory.mean == stream.mean
    assert memory.std == stream.std
    loaders = [
        train_loader(data, 4, 3, spec, views=2, labelled_per_batch=1, workers=1)
        for data in (memory, stream)
    ]
    assert [loader.workers for loader in loaders] == [0, 1]
    for first, second in zip(*(loader.epoch(2) for loader in loaders), strict=True):
        assert all(map(torch.equal, first.views, second.views))
        assert torch.equal(first.index, second.index)
        assert torch.equal(first.y, second.y)


def test_a_streamed_split_decodes_only_what_is_asked_for(folder):
    path = folder()
    data = load(path, in_memory=False, train_size=4)
    for file in (path / "test").rglob("*.png"):
        file.unlink()
    assert len(data.train) == 4
    assert data.train.rows(torch.tensor([2])).shape == (1, 3, 7, 5)


def test_auto_holds_small_folders_in_memory(folder, monkeypatch):
    path = folder()
    assert load(path).in_memory
    monkeypatch.setattr("peerlearn.data.registry.MEMORY_LIMIT", 100)
    assert not load(path).in_memory


def test_two_sizes_are_refused_with_both_files_and_fitted_on_request(folder):
    path = folder()
    Image.fromarray(pixels(0, size=(9, 4))).save(path / "val" / "dog" / "0.png")
    with pytest.raises(InputError, match=r"val/dog/0\.png: 9x4 .*0\.png has 5x7.*data\.size"):
        load(path)
    assert load(path, size=6).sample_shape == (3, 6, 6)


def test_size_is_refused_where_it_has_no_effect():
    with pytest.raises(InputError, match=r"data\.size: .*digits is not a folder"):
        load("digits", size=8)


def test_wrong_folders_are_refused_by_name(folder):
    path = folder()
    (path / "test" / "dgo").mkdir()
    with pytest.raises(InputError, match=r"test/dgo: not a class of train\. Did you mean 'dog'"):
        load(path)
    (path / "test" / "dgo").rmdir()
    (path / "train" / "empty").mkdir()
    with pytest.raises(InputError, match="train/empty: no images"):
        load(path)


def test_a_folder_without_train_or_with_one_class_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no train/"):
        load(tmp_path)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="at least 2 classes"):
        load(tmp_path)


@pytest.mark.parametrize("length", [0, 20, 80])
def test_damaged_images_are_named(folder, length):
    path = folder()
    file = path / "train" / "dog" / "3.png"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InputError, match=r"train/dog/3\.png: cannot be read as an image"):
        load(path)


def test_sixteen_bit_images_are_refused_rather_than_clipped(folder):
    path = folder()
    Image.fromarray(np.full((7, 5), 40_000, np.uint16)).save(path / "train" / "cat" / "0.png")
    with pytest.raises(InputError, match="more than 8 bits"):
        load(path)


def test_without_pillow_the_pip_command_is_named(folder, monkeypatch):
    path = folder()
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"pip install 'peerlearn\[image\]'"):
        load(path)
