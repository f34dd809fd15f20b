"""The gallery of a segmentation: a few test images, and what every peer makes of them."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from overriding import parsed
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.evaluate import predict
from peerlearn.engine.precision import Precision
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.task import Trained
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.segmentation.data.masks import MaskSplit, SegmentationDataset
from peerlearn.tasks.segmentation.gallery import gallery, spread, visible

PLAIN = Precision(torch.device("cpu"), bf16=False, channels_last=False)


class Says(nn.Module):
    """The same logits of every class at every pixel; the image as drawn is added to the first."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(logits, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias[:, None, None].expand(len(x), -1, *x.shape[-2:])


def dataset(y: Tensor, side: int = 8, multilabel: bool = False) -> SegmentationDataset:
    x = torch.arange(len(y), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, side, side)
    split = MaskSplit(x.contiguous(), y)
    return SegmentationDataset(
        name="tiny", train=split, val=split, test=split, classes=3, class_names=("a", "b", "c"),
        multilabel=multilabel,
    )  # fmt: skip


def made(data: SegmentationDataset, **peers: nn.Module) -> dict[str, np.ndarray]:
    members = peers.pop("members", None)
    cohort = Cohort(peers, "none", form="sigmoid" if data.multilabel else "softmax")
    forward = partial(predict, dict(cohort.peers), precision=PLAIN)
    return gallery(forward, split=data.test, data=data, batch_size=4, members=members)


def test_images_are_spread_over_the_split() -> None:
    assert spread(100, 6).tolist() == [8, 25, 41, 58, 75, 91]
    assert spread(3, 6).tolist() == [0, 1, 2]


def test_every_peer_and_the_ensemble_have_a_map() -> None:
    y = torch.zeros(12, 8, 8, dtype=torch.uint8)
    y[:, 0] = 255
    found = made(dataset(y), one=Says(0, 2, 1), two=Says(0, 0, 9))
    assert found["who"].tolist() == ["one", "two", "ensemble"]
    assert found["index"].tolist() == [1, 3, 5, 7, 9, 11]
    assert found["images"][:, 0, 0].tolist() == [1, 3, 5, 7, 9, 11]
    assert found["truth"].shape == found["images"].shape == (6, 8, 8)
    assert np.unique(found["truth"][:, 0]).tolist() == [255]
    assert [np.unique(maps).tolist() for maps in found["predicted"]] == [[1], [2], [2]]


def test_the_ensemble_is_that_of_the_members() -> None:
    y = torch.zeros(2, 8, 8, dtype=torch.uint8)
    found = made(dataset(y), one=Says(0, 2, 1), two=Says(0, 0, 9), members=["one"])
    assert np.unique(found["predicted"][-1]).tolist() == [1]


def test_overlapping_masks_show_the_last_label_and_none_where_there_is_none() -> None:
    y = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    y[0, 0], y[0, 2, 0], y[0, 0, 7], y[0, 1, 6] = 1, 1, 0, 255
    found = made(dataset(y, multilabel=True), one=Says(1, 1, -1), two=Says(-1, -1, -1))
    assert found["class_names"].tolist() == ["a", "b", "c", "no label"]
    assert [row[0] for row in found["truth"][0].tolist()] == [2, 0, 0, 0, 0, 0, 255, 3]
    assert [np.unique(maps).tolist() for maps in found["predicted"][:2]] == [[1], [3]]


def test_large_images_are_thinned_out() -> None:
    found = made(dataset(torch.zeros(2, 600, 600, dtype=torch.uint8), side=600), one=Says(1, 0, 0))
    assert found["images"].shape == found["truth"].shape == (2, 200, 200)
    assert found["predicted"].shape == (2, 2, 200, 200)


@pytest.mark.parametrize(("channels", "shape"), [(1, ()), (2, ()), (3, (3,)), (4, (3,))])
def test_images_of_any_kind_become_visible(channels: int, shape: tuple[int, ...]) -> None:
    x = torch.linspace(-3, 5, 2 * channels * 16).reshape(2, channels, 4, 4)
    shown = visible(x)
    assert shown.shape == (2, 4, 4, *shape)
    assert shown.dtype == np.uint8
    assert (shown.reshape(2, -1).min(1).tolist(), shown.reshape(2, -1).max(1).tolist()) == (
        [0, 0],
        [255, 255],
    )
    assert visible(torch.full((1, channels, 4, 4), torch.nan)).max() == 0


def test_a_gallery_is_written_whole_and_holds_no_objects(tmp_path: Path) -> None:
    found = made(dataset(torch.zeros(2, 8, 8, dtype=torch.uint8)), one=Says(1, 0, 0))
    folder = RunFolder(tmp_path / "run")
    folder.save_gallery(found)
    with np.load(folder.gallery, allow_pickle=False) as file:
        assert {name: file[name].tolist() for name in file.files} == {
            name: array.tolist() for name, array in found.items()
        }
    assert [path.name for path in folder.path.iterdir()] == ["gallery.npz"]


TINY = [
    *("epochs=1", "batch_size=4", "threads=1", "precision=fp32", "compression=null"),
    *(f"peers.{name}.arguments={{levels: 2, width: 2}}" for name in ("teacher", "s1", "s2")),
]


def test_a_run_leaves_a_gallery_of_its_selected_peers_and_tells_hd95(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("test", 8)):
        y = np.zeros((count, 16, 16), np.uint8)
        y[:, 4:12, 4:12] = 1
        y[:, 0] = 255
        arrays |= {f"x_{part}": (80 * y + draw.integers(0, 80, y.shape)).astype(np.uint8)}
        arrays |= {f"y_{part}": y}
    np.savez(tmp_path / "mine.npz", **arrays)
    recipe, given = find_recipe("styles-segment")
    words = [*TINY, f"data.name={tmp_path / 'mine.npz'}"]
    config = recipe.resolve(given, parsed(*words))
    results = run_recipe(recipe, config, tmp_path / "run")
    (block,) = results["arms"].values()
    assert block["mean_peer"]["hd95"]["mean"] >= 0
    assert set(block["sizes"]["s1"]) == {"parameters", "multiply_adds", "latency_ms"}
    with np.load(tmp_path / "run" / "gallery.npz", allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    assert found["who"].tolist() == ["teacher", "s1", "s2", "ensemble"]
    assert np.array_equal(found["truth"], arrays["y_test"][found["index"]])
    assert np.array_equal(found["images"], arrays["x_test"][found["index"]])

    trainer = recipe.build(config)
    for name, peer in trainer.cohort.peers.items():
        peer.load_state_dict(RunFolder(tmp_path / "run").load_best(name))
    again = trainer.task.finish(
        Trained(trainer.cohort, trainer.precision, trainer.forward, [])
    ).pictures
    assert np.array_equal(again["predicted"], found["predicted"])
