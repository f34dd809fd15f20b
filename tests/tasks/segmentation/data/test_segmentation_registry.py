import os

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.data.masks import IGNORED, SegmentationInfo
from peerlearn.tasks.segmentation.data.registry import MASK_SETS, load_segmentation
from peerlearn.tasks.segmentation.data.spec import SegmentationDataSpec

NO_REAL_DATA = "needs real data: set PEERLEARN_DATA to its folder"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """An empty home, so that no test sees this user's own files."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def scenes():
    return load_segmentation(SegmentationDataSpec())


def write(path, rows=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    x = np.zeros((rows, 4, 4), np.uint8)
    y = np.arange(rows * 16, dtype=np.uint8).reshape(x.shape) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)


def test_scenes_hold_every_class_in_every_split_and_background_rules(scenes):
    assert (scenes.name, scenes.sample_shape) == ("digits-scenes", (1, 48, 48))
    assert scenes.class_names == ("background", "even", "odd")
    assert [len(part) for part in (scenes.train, scenes.val, scenes.test)] == [300, 60, 100]
    for part in (scenes.train, scenes.val, scenes.test):
        shares = part.y.flatten().bincount(minlength=3) / part.y.numel()
        assert float(shares.min()) > 0.05
        assert 0.6 < float(shares[0]) < 0.95


def test_scenes_are_the_same_for_every_seed_and_use_their_bytes(scenes):
    again = load_segmentation(SegmentationDataSpec(split_seed=4))
    assert torch.equal(again.train.x, scenes.train.x)
    assert torch.equal(again.test.y, scenes.test.y)
    assert scenes.train.x.dtype == torch.uint8
    assert int(scenes.train.x.min()) < 40
    assert int(scenes.train.x.max()) > 180


def test_digits_are_brighter_than_the_background(scenes):
    x, y = scenes.train.x[:, 0].float(), scenes.train.y
    assert float(x[y > 0].mean() - x[y == 0].mean()) > 2 * float(x[y == 0].std())


def test_a_name_is_found_in_the_root_before_its_segmentation_folder(tmp_path):
    write(tmp_path / "segmentation" / "cells.npz", 6)
    spec = SegmentationDataSpec(name="cells", root=str(tmp_path))
    assert len(load_segmentation(spec).test) == 6
    write(tmp_path / "cells.npz", 8)
    assert len(load_segmentation(spec).test) == 8
    assert MASK_SETS.get("cells", str(tmp_path)) == tmp_path / "cells.npz"


def test_names_and_descriptions_leave_other_files_out(tmp_path):
    write(tmp_path / "segmentation" / "cells.npz")
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((3, 2)), y_train=np.zeros(3))
    assert MASK_SETS.names(str(tmp_path)) == ("digits-scenes", "cells")
    first, second = MASK_SETS.describe(str(tmp_path))
    assert (first.rows, first.place) == ((360, 100), "embedded")
    assert second.place == str(tmp_path / "segmentation" / "cells.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "digit-scenes"}, r"data\.name: unknown .* 'digit-scenes'\. Did you mean 'digits"),
        ({"name": "none/of/this.npz"}, r"data\.name: none/of/this\.npz: no such file"),
        ({"size": 8}, r"data\.size: .*digits-scenes is not a folder"),
        ({"ignore": 0}, r"data\.ignore: 0; every pixel of digits-scenes counts"),
        ({"labels": 301}, r"data\.labels: 301 .*up to 300"),
        ({"train_size": 301}, r"data\.train_size: 301 .*up to 300"),
    ],
)
def test_what_cannot_be_is_refused_by_field(options, message):
    with pytest.raises(InputError, match=message):
        load_segmentation(SegmentationDataSpec(**options))


def test_misspelt_and_other_files_are_refused(tmp_path):
    write(tmp_path / "cells.npz")
    with pytest.raises(InputError, match=r"no such file .*Did you mean .*cells\.npz"):
        load_segmentation(SegmentationDataSpec(name=str(tmp_path / "cell.npz")))
    (tmp_path / "a.csv").write_text("label,text\n")
    with pytest.raises(InputError, match=r"a\.csv: allowed: an \.npz file, or .*train/images"):
        load_segmentation(SegmentationDataSpec(name=str(tmp_path / "a.csv")))


def test_there_is_nothing_to_get_for_embedded_or_unknown_names():
    with pytest.raises(InputError, match="nothing to download"):
        MASK_SETS.get("digits-scenes")
    with pytest.raises(InputError, match="Did you mean 'digits-scenes'"):
        MASK_SETS.get("digit-scenes")


@pytest.mark.parametrize(
    ("field", "value"), [("size", 0), ("size", (4, 0)), ("ignore", 256), ("crop", 1)]
)
def test_wrong_values_and_unknown_fields_are_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        SegmentationDataSpec(**{field: value})


def test_a_name_alone_is_a_short_form():
    assert SegmentationDataSpec.model_validate("camvid").name == "camvid"


def test_info_survives_its_file(scenes, tmp_path):
    info = SegmentationInfo.from_dataset(scenes)
    (tmp_path / "data.json").write_text(info.model_dump_json())
    assert SegmentationInfo.load(tmp_path / "data.json") == info
    assert info.rows == {"train": 300, "val": 60, "test": 100}
    assert info.content == "masks of images of 1×48×48"
    assert info.mean == scenes.mean


@pytest.mark.shared_data
@pytest.mark.skipif("PEERLEARN_DATA" not in os.environ, reason=NO_REAL_DATA)
def test_real_street_scenes_leave_void_out():
    data = load_segmentation(SegmentationDataSpec(name="camvid"))
    assert data.sample_shape == (3, 120, 160)
    assert (data.classes, data.class_names[-1]) == (11, "bicyclist")
    assert [len(part) for part in (data.train, data.val, data.test)] == [184, 51, 117]
    assert data.test.y.unique().tolist() == [*range(11), IGNORED]


@pytest.mark.shared_data
@pytest.mark.skipif("PEERLEARN_DATA" not in os.environ, reason=NO_REAL_DATA)
def test_real_membranes_are_two_classes():
    data = load_segmentation(SegmentationDataSpec(name="membrane", labels=5))
    assert (data.sample_shape, data.classes) == ((1, 512, 512), 2)
    assert int((data.train.strata == 0).sum()) == 5
    inside = torch.cat([data.val.y, data.test.y]).float().mean()
    assert 0.7 < float(inside) < 0.85
