import numpy as np
import pytest
import torch
from PIL import Image

from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.segmentation.data.loaders import segmentation_loader
from peerlearn.tasks.segmentation.data.masks import IGNORED
from peerlearn.tasks.segmentation.data.registry import load_segmentation
from peerlearn.tasks.segmentation.data.spec import SegmentationDataSpec, SegmentAugmentSpec

PARTS = {"train/": 6, "val/": 2, "test/": 3}


def pixels(seed, size=(5, 7)):
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def labels(seed, size=(5, 7), classes=3):
    return np.roll(np.resize(np.arange(classes), (size[1], size[0])), seed).astype(np.uint8)


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if mode == "P":
        image.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250])
    image.save(path)


@pytest.fixture
def folder(tmp_path):
    """Images and masks of three classes, 5 wide and 7 high, in `parts`."""

    def make(parts=PARTS, mode="L"):
        for place, (part, rows) in enumerate(parts.items()):
            for row in range(rows):
                seed = 10 * place + row
                save(tmp_path / f"{part}images/{row}.png", pixels(seed))
                save(tmp_path / f"{part}masks/{row}.png", labels(seed), mode)
        return tmp_path

    return make


def load(path, **options):
    return load_segmentation(SegmentationDataSpec(name=str(path), **options))


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_images_and_masks_are_paired_by_name_and_exact(folder, mode, in_memory):
    data = load(folder(mode=mode), in_memory=in_memory)
    assert (len(data.train), len(data.val), len(data.test)) == (6, 2, 3)
    assert (data.sample_shape, data.classes) == ((3, 7, 5), 3)
    assert np.array_equal(data.test.x[1].numpy(), pixels(21).transpose(2, 0, 1))
    assert np.array_equal(data.test.y[1].numpy(), labels(21))


def test_a_folder_without_splits_is_divided(folder):
    data = load(folder({"": 20}), val_size=4)
    assert (len(data.train), len(data.val), len(data.test)) == (12, 4, 4)


def test_streamed_files_give_the_batches_of_memory(folder):
    path, spec = folder(), SegmentAugmentSpec(flip=True, rotation=20, crop=6, contrast=0.2)
    memory, stream = (load(path, in_memory=kind, labels=3) for kind in (True, False))
    assert (memory.mean, memory.std) == (stream.mean, stream.std)
    assert torch.equal(memory.train.strata, stream.train.strata)
    loaders = [segmentation_loader(data, 4, 3, spec, 2, 1, 2) for data in (memory, stream)]
    for first, second in zip(*(loader.epoch(2) for loader in loaders), strict=True):
        assert all(map(torch.equal, first.views, second.views))
        assert torch.equal(first.y, second.y)
        assert torch.equal(first.index, second.index)


def test_hidden_masks_and_lost_images_are_not_read(folder):
    path = folder()
    data = load(path, in_memory=False, labels=2, train_size=4)
    hidden = (data.train.strata == UNLABELLED).nonzero()[:, 0]
    for file in (path / "train/masks").iterdir():
        file.unlink()
    assert bool((data.train.masks(hidden) == IGNORED).all())
    assert data.train.rows(hidden).shape == (2, 3, 7, 5)


def test_auto_holds_small_folders_in_memory(folder, monkeypatch):
    path = folder()
    assert load(path).in_memory
    monkeypatch.setattr("peerlearn.data.registry.available_memory", lambda: 400)
    assert not load(path).in_memory


def test_names_come_from_a_file_and_say_what_is_ignored(folder):
    path = folder()
    (path / "classes.txt").write_text("road\ncar\nvoid\n\n")
    data = load(path)
    assert data.class_names == ("road", "car")
    assert np.array_equal(data.test.y[0].numpy() == IGNORED, labels(20) == 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("road\n\ncar", "line 2 is empty"),
        ("a\nb\na", "line 3 repeats 'a'"),
        ("a\nb", "train/masks: label 2, but there are only 2 class names"),
    ],
)
def test_wrong_names_are_refused(folder, text, message):
    path = folder()
    (path / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        load(path)


def test_black_and_white_files_are_two_classes(tmp_path):
    for row in range(6):
        save(tmp_path / f"images/{row}.png", pixels(row))
        bits = labels(row) > 0
        save(tmp_path / f"masks/{row}.png", bits if row % 2 else bits * np.uint8(1))
    assert load(tmp_path, val_size=1).classes == 2
    for row in range(6):
        save(tmp_path / f"masks/{row}.png", (labels(row) > 0) * np.uint8(255))
    data = load(tmp_path, val_size=1)
    assert data.classes == 2
    assert data.train.y.unique().tolist() == [0, 1]


def test_two_sizes_are_refused_with_both_files_and_resized_on_request(folder):
    path = folder()
    save(path / "val/images/0.png", pixels(0, (10, 14)))
    save(path / "val/masks/0.png", labels(10).repeat(2, 0).repeat(2, 1))
    with pytest.raises(InputError, match=r"val/images/0\.png: 10x14 .*0\.png has 5x7.*data\.size"):
        load(path)
    data = load(path, size=(7, 5))
    assert data.sample_shape == (3, 7, 5)
    assert np.array_equal(data.val.y[0].numpy(), labels(10))
    assert load(path, size=6).test.y.shape == (3, 6, 6)
    assert set(load(path, size=6).test.y.unique().tolist()) == {0, 1, 2}


def damage(path, change):
    def write(place, array, **kept):
        save(path / place, array, **kept)

    match change:
        case "no mask":
            (path / "train/masks/3.png").unlink()
        case "no image":
            (path / "val/images/1.png").unlink()
        case "other size":
            write("test/masks/2.png", labels(0, (7, 5)))
        case "colours":
            write("train/masks/0.png", pixels(0))
        case "jpeg":
            (path / "train/masks/0.png").unlink()
            write("train/masks/0.jpg", labels(0))
        case "deep":
            write("train/masks/0.png", labels(0).astype(np.uint16))
        case "new label":
            write("val/masks/1.png", labels(0) + np.uint8(1))
        case "two files":
            write("train/images/2.jpg", pixels(0))
        case "empty":
            for file in (path / "test/masks").iterdir():
                save(file, np.full((7, 5), 255, np.uint8))
        case "broken":
            (path / "train/masks/4.png").write_bytes(b"\x89PNG")
        case "no masks":
            (path / "val/masks").rename(path / "val/labels")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no mask", r"train/images/3\.png: has no mask; expected .*train/masks/3\.png\.$"),
        ("no image", r"val/masks/1\.png: has no image; expected .*val/images/1\.png"),
        ("other size", r"test/masks/2\.png: 7x5 .* its image .*test/images/2\.png has 5x7"),
        ("colours", r"train/masks/0\.png: colour mode RGB, with #.*\n1 mask in colours; allowed"),
        ("jpeg", r"train/masks/0\.jpg: allowed for masks: PNG.*masks/0\.png"),
        ("deep", r"train/masks/0\.png: colour mode I;16"),
        ("new label", r"val/masks/1\.png: label 3 is no class of train; allowed: 0 to 2"),
        ("two files", r"train/images/2\.png: has the name of .*2\.jpg"),
        ("empty", r"test/masks: no pixel has a label"),
        ("broken", r"train/masks/4\.png: cannot be read as an image"),
        ("no masks", r"val/masks: no such folder; .*val has images/, labels/\."),
    ],
)
def test_what_is_wrong_is_named_by_file(folder, change, message):
    path = folder()
    damage(path, change)
    with pytest.raises(InputError, match=message):
        load(path)


def test_a_folder_of_neither_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds neither train/ nor masks/; expected train/images"):
        load(tmp_path)


def test_images_and_masks_are_turned_upright_each(folder):
    path = folder()
    tags = Image.Exif()
    tags[0x0112] = 6
    lying = Image.fromarray(np.rot90(pixels(0), 1))
    lying.save(path / "train/images/0.png", exif=tags)
    data = load(path)
    assert np.array_equal(data.train.x[0].numpy(), pixels(0).transpose(2, 0, 1))
    assert np.array_equal(data.train.y[0].numpy(), labels(0))


def test_images_and_masks_may_be_of_any_exact_format_and_in_subfolders(folder):
    path = folder()
    save(path / "train/images/deep/a.webp", pixels(50))
    save(path / "train/masks/deep/a.bmp", labels(50))
    save(path / "train/images/.ipynb_checkpoints/b.png", pixels(51))
    (path / "test").rename(path / "Testing")
    data = load(path)
    assert (len(data.train), len(data.test)) == (7, 3)
    assert np.array_equal(data.train.y[-1].numpy(), labels(50))
    assert data.account.files == {"train": 7, "val": 2, "test": 3}
    assert data.account.left_out[0].names == ("train/images/.ipynb_checkpoints/",)
    assert "Testing/ is read as test/" in data.account.notes


def test_damaged_images_and_masks_are_listed_or_left_out_in_pairs(folder):
    path = folder()
    for name in ("train/images/1.png", "train/masks/4.png"):
        (path / name).write_bytes((path / name).read_bytes()[:50])
    with pytest.raises(InputError, match=r"(?s)images/1\.png: cannot.*masks/4\.png: cannot"):
        load(path)
    data = load(path, damaged="leave_out")
    assert len(data.train) == 4
    assert data.account.left_out[0].names == ("train/images/1.png", "train/masks/4.png")
    assert np.array_equal(data.train.y[1].numpy(), labels(2))


def test_a_byte_order_mark_is_no_part_of_a_class_name(folder):
    path = folder()
    lines = "\r\n".join(["void", "ground", "tree"])
    (path / "classes.txt").write_text(lines, encoding="utf-8-sig", newline="")
    data = load(path)
    assert data.class_names == ("ground", "tree")


def test_resizing_tells_how_proportions_change(folder):
    (note,) = load(folder(), size=8).account.notes
    assert note == (
        "11 images fitted to 8×8, resized: the sides of a 5×7 image change by a factor of 1.40"
    )


def drawn(path, name, mode, alpha=255):
    """Save a mask again, with the same values in channels of colours."""
    with Image.open(path / name) as image:
        array = np.array(image)
    planes = [array] * (1 if mode == "LA" else 3)
    planes += [np.full_like(array, alpha)] if mode in ("LA", "RGBA") else []
    save(path / name, np.stack(planes, 2))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_masks_drawn_in_colours_are_read_as_grey_and_told(folder, mode):
    path = folder()
    names = [str(mask.relative_to(path)) for mask in path.glob("*/masks/*.png")]
    for name in names:
        drawn(path, name, mode)
    data = load(path, in_memory=False)
    assert np.array_equal(data.test.y[1].numpy(), labels(21))
    what = "grey with alpha" if mode == "LA" else f"{mode} with equal channels"
    assert f"11 masks are {what}: read as grey" in data.account.notes
    assert set(load(path, size=6).test.y.unique().tolist()) == {0, 1, 2}


def test_alpha_of_masks_is_not_read_and_said(folder):
    path = folder()
    drawn(path, "train/masks/0.png", "RGBA", alpha=7)
    drawn(path, "train/masks/1.png", "RGB")
    data = load(path)
    assert np.array_equal(data.train.y[0].numpy(), labels(0))
    assert data.account.notes[-2:] == (
        "2 masks of 11 are RGB or RGBA with equal channels: read as grey",
        "1 mask of 11 is not opaque everywhere: alpha is not read",
    )


def test_masks_of_true_colours_are_listed_with_those_of_other_sizes(folder):
    path = folder()
    drawn(path, "train/masks/3.png", "RGB")
    one = np.zeros((7, 5, 3), np.uint8)
    one[2, 4] = (255, 0, 0)
    save(path / "train/masks/0.png", one)
    save(path / "val/masks/1.png", pixels(3))
    damage(path, "other size")
    with pytest.raises(InputError) as refused:
        load(path)
    said = str(refused.value).splitlines()
    assert len(said) == 4
    assert "test/masks/2.png: 7x5 pixels" in said[0]
    assert said[1].endswith("train/masks/0.png: colour mode RGB, with #ff0000 at row 2, column 4")
    assert "val/masks/1.png: colour mode RGB" in said[2]
    assert said[3].startswith("2 masks in colours; allowed for masks: one channel (grey, palette")


def test_masks_in_alpha_and_longer_names_and_empty_names_are_told(folder):
    path = folder()
    whole = np.dstack([np.full((7, 5, 3), 255, np.uint8), labels(0) * np.uint8(100)])
    save(path / "train/masks/0.png", whole)
    with pytest.raises(InputError, match="mode RGBA, where alpha alone differs, which is not read"):
        load(path)
    (path / "train/masks/0.png").rename(path / "train/masks/0_mask.png")
    with pytest.raises(InputError, match=r"0\.png: has no mask; .*Did you mean .*0_mask\.png\?"):
        load(path)
    save(path / "train/masks/0.png", labels(0))
    (path / "train/masks/0_mask.png").unlink()
    (path / "classes.txt").write_text("\n")
    with pytest.raises(InputError, match=r"classes\.txt: is empty"):
        load(path)


def test_of_masks_with_several_pictures_the_first_is_read_and_said(folder):
    path = folder()
    (path / "train/masks/0.png").unlink()
    frames = [Image.fromarray(labels(seed)) for seed in (0, 1)]
    frames[0].save(path / "train/masks/0.tif", save_all=True, append_images=frames[1:])
    data = load(path)
    assert "only the first picture (frame, page) is read of masks 0.tif" in data.account.notes
    assert np.array_equal(data.train.y[0].numpy(), labels(0))
