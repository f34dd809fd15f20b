import os
import sys
from pathlib import Path

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
    monkeypatch.setattr("peerlearn.data.registry.available_memory", lambda: 100)
    assert not load(path).in_memory


def test_two_sizes_are_refused_with_both_files_and_fitted_on_request(folder):
    path = folder()
    Image.fromarray(pixels(0, size=(9, 4))).save(path / "val" / "dog" / "0.png")
    with pytest.raises(InputError, match=r"val/dog/0\.png: 9x4 .*0\.png has 5x7.*data\.size"):
        load(path)
    assert load(path, size=6).sample_shape == (3, 6, 6)


def save(path: Path, array: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tif", "gif", "PNG", "JPG", "ppm"])
def test_whatever_pillow_reads_is_read(folder, suffix):
    path = folder()
    save(path / "train" / "cat" / f"more.{suffix}", pixels(0))
    data = load(path)
    assert len(data.train) == 13
    assert data.account.files == {"train": 13, "val": 4, "test": 6}


def test_what_is_not_read_is_told(folder):
    path = folder()
    for name in ("train/cat/.ipynb_checkpoints", "train/__MACOSX", "train/cat/deep", "extra"):
        (path / name).mkdir()
        save(path / name / "0.png", pixels(0))
    for name in ("Thumbs.db", "train/cat/notes.txt", "train/cat/.DS_Store", "train/list.csv"):
        (path / name).touch()
    data = load(path)
    assert data.class_names == ("cat", "dog")
    assert len(data.train) == 13
    assert {it.reason: set(it.names) for it in data.account.left_out} == {
        "hidden": {
            "Thumbs.db", "train/__MACOSX/", "train/cat/.DS_Store", "train/cat/.ipynb_checkpoints/",
        },
        "no image": {"train/cat/notes.txt"},
        "beside the class folders": {"train/list.csv"},
        "beside train/, val/, test/": {"extra/"},
    }  # fmt: skip
    assert "1 image in subfolders of classes count to the class" in data.account.notes


@pytest.mark.parametrize(
    ("called", "part"),
    [
        ("valid", "val"),
        ("Validation", "val"),
        ("dev", "val"),
        ("Test", "test"),
        ("testing", "test"),
    ],
)
def test_parts_may_have_their_other_names(folder, called, part):
    path = folder()
    (path / part).rename(path / called)
    data = load(path)
    assert (len(data.train), len(data.val), len(data.test)) == (12, 4, 6)
    assert f"{called}/ is read as {part}/" in data.account.notes


def test_names_near_those_of_parts_are_refused_rather_than_left_out(folder):
    path = folder()
    (path / "test").rename(path / "tset")
    with pytest.raises(InputError, match=r"tset: holds images, but is none .*Did you mean .*/test"):
        load(path)
    (path / "tset").rename(path / "test_2")
    with pytest.raises(InputError, match=r"test_2: holds images"):
        load(path)
    (path / "test_2").rename(path / "valid")
    with pytest.raises(InputError, match=r"val/ and valid/ both mean val"):
        load(path)


def test_class_folders_alone_are_divided(folder):
    path = folder(parts={"train": 20}) / "train"
    data = load(path, val_size=4)
    assert (len(data.train), len(data.val), len(data.test)) == (32, 4, 4)
    assert data.class_names == ("cat", "dog")
    assert data.account.notes == (
        "no train/: the folders are the classes",
        "no val: 4 of train are held out for it",
        "no test: 4 of train are held out for it",
    )


def test_a_folder_around_the_right_one_is_told(folder):
    with pytest.raises(InputError, match=r"has no train/.*Did you mean .*inner"):
        (inner := folder()).rename(outer := inner.with_name("inner"))
        outer.parent.joinpath("around").mkdir()
        outer.rename(outer.parent / "around" / "inner")
        load(outer.parent / "around")


def test_every_damaged_image_is_listed_or_left_out(folder):
    path = folder()
    for place in ("train/cat/0", "train/dog/5", "test/dog/1"):
        file = path / f"{place}.png"
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError) as refused:
        load(path)
    lines = str(refused.value).splitlines()
    assert [line.split(": cannot")[0] for line in lines[:3]] == [
        str(path / f"{place}.png") for place in ("train/cat/0", "train/dog/5", "test/dog/1")
    ]
    assert lines[3] == "3 damaged images: mend or remove, or say data.damaged=leave_out."
    data = load(path, damaged="leave_out")
    assert (len(data.train), len(data.val), len(data.test)) == (10, 4, 5)
    assert data.train.y.tolist() == [0] * 5 + [1] * 5
    assert data.account.left_out[0].names == (
        "test/dog/1.png",
        "train/cat/0.png",
        "train/dog/5.png",
    )


@pytest.mark.parametrize(("suffix", "cut"), [("jpg", 200), ("png", 30), ("webp", 40), ("bmp", 60)])
@pytest.mark.parametrize("whole", [2 * 1024**3, 0])
def test_truncated_images_of_a_streamed_set_are_found_before_training(
    folder, suffix, cut, whole, monkeypatch
):
    monkeypatch.setattr("peerlearn.data.image_form.CHECKED_WHOLE", whole)
    path = folder()
    file = path / "val" / "dog" / f"more.{suffix}"
    save(file, pixels(3))
    assert len(load(path, in_memory=False).val) == 5
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(InputError, match=rf"more\.{suffix}: cannot be read as an image"):
        load(path, in_memory=False)


def test_a_class_of_damaged_images_is_refused(folder):
    path = folder()
    for file in (path / "train" / "dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match="no image of class 'dog' in train can be read"):
        load(path, damaged="leave_out")


def test_only_headers_are_read_of_large_sets(folder, monkeypatch):
    monkeypatch.setattr("peerlearn.data.image_form.CHECKED_WHOLE", 0)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert len(load(folder(), in_memory=False).train) == 12


def test_images_are_fitted_as_asked_for(tmp_path):
    bright = np.full((10, 20, 3), 200, np.uint8)
    bright[:, :5] = 0
    for number, name in enumerate(["a", "b"] * 4):
        save(tmp_path / "train" / name / f"{number}.png", bright)
    made = {fit: load(tmp_path, size=10, fit=fit, val_size=2) for fit in ("crop", "pad", "resize")}
    rows = {fit: data.train.x[0, 0] for fit, data in made.items()}
    assert bool((rows["crop"][:, 1:] == 200).all())  # the dark quarter is cut off
    assert rows["pad"][0].tolist() == [0] * 10
    assert rows["pad"][5, 4:].tolist() == [200] * 6
    assert rows["resize"][5, 0] == 0
    assert rows["resize"][0, 4:].tolist() == [200] * 6
    said = {fit: data.account.notes[0] for fit, data in made.items()}
    assert said == {
        "crop": "8 images fitted to 10×10, centre-cropped (data.fit: crop): "
        "up to 50 % of a 20×10 image is cut off",
        "pad": "8 images fitted to 10×10, padded (data.fit: pad): "
        "up to 50 % of a 20×10 image is black border",
        "resize": "8 images fitted to 10×10, resized: "
        "the sides of a 20×10 image change by a factor of 2.00",
    }


def test_mixed_colours_and_several_pictures_are_told(folder):
    path = folder()
    save(path / "train" / "cat" / "grey.png", pixels(0, mode="L"))
    frames = [Image.fromarray(pixels(number)) for number in (1, 2)]
    frames[0].save(path / "val" / "cat" / "two.tif", save_all=True, append_images=frames[1:])
    assert load(path).account.notes[:2] == (
        "1 grey image of 24 read as RGB",
        "only the first picture (frame, page) is read of val/cat/two.tif",
    )


def test_a_pipe_is_left_out_and_never_waited_for(folder):
    path = folder()
    os.mkfifo(path / "train" / "cat" / "pipe.png")
    assert load(path).account.left_out[0].names == ("train/cat/pipe.png",)


def test_links_to_a_folder_around_them_end(folder):
    path = folder()
    (path / "train" / "cat" / "again").symlink_to(path / "train" / "cat")
    assert len(load(path).train) == 12


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


def test_files_that_are_in_two_parts_are_counted_whatever_they_are_called(tmp_path):
    for number, part in enumerate(("train", "test")):
        for place, name in enumerate(("a", "b")):
            for row in range(4):
                seed = 100 * number + 10 * place + row
                save(tmp_path / part / name / f"{row}.png", pixels(seed))
    assert load(tmp_path).account.notes == ("no val: 1 of train are held out for it",)
    (tmp_path / "test/b/copy.png").write_bytes((tmp_path / "train/a/2.png").read_bytes())
    for in_memory in (True, False):
        notes = load(tmp_path, in_memory=in_memory).account.notes
        assert notes[0] == "1 of 9 rows of test is in train too"
