"""Every documented option of segmentation and of learning styles changes what comes out."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_option import assert_every_option_is_listed, assert_option_acts
from overriding import parsed
from PIL import Image

from peerlearn.systems.registry import find_recipe
from peerlearn.systems.styles.config import StylesSegmentConfig
from peerlearn.tasks.config import RecipeConfig

#: Ten images of 16x16, networks that train in milliseconds.
TINY = [
    "data={name: scenes.npz, train_size: 10}", "epochs=2", "batch_size=4", "precision=fp32",
    "threads=1", "lr=0.01",
    "peers.teacher.arguments={width: 4, levels: 1}", "peers.s1.arguments={levels: 1}",
    "peers.s2.arguments={levels: 1}", "evaluation.batch_size=64",
]  # fmt: skip
BLOCKS = ("data", "augment", "objective", "compression", "stages")
#: Overrides before, and the change itself, which must change the trained weights.
TRAINING = {
    "data.name": ([], "data.name=no-val.npz"),
    "data.train_size": ([], "data.train_size=9"),
    "data.labels": ([], "data.labels=5"),
    "data.split_seed": ([], "data.split_seed=1"),
    "data.val_size": (["data.name=no-val.npz", "data.train_size=null"], "data.val_size=0.5"),
    "data.size": (["data.name=photos", "data.size=16"], "data.size=[16, 24]"),
    "data.ignore": ([], "data.ignore=2"),
    "data.values": ([], "data.values=[0, [1, 2]]"),
    "augment.flip": ([], "augment.flip=true"),
    "augment.flip_vertical": ([], "augment.flip_vertical=true"),
    "augment.rotate90": ([], "augment.rotate90=true"),
    "augment.rotation": ([], "augment.rotation=30"),
    "augment.scale": ([], "augment.scale=[0.7, 1.4]"),
    "augment.crop": ([], "augment.crop=8"),
    "augment.brightness": ([], "augment.brightness=0.5"),
    "augment.contrast": ([], "augment.contrast=0.5"),
    "labelled_per_batch": (["data.labels=5"], "labelled_per_batch=2"),
    "objective.loss": ([], "objective.loss=ce"),
    "objective.dice_weight": ([], "objective.dice_weight=0.1"),
    "objective.class_weights": ([], "objective.class_weights=[0.2, 1, 1]"),
    "objective.label_smoothing": ([], "objective.label_smoothing=0.2"),
    "teacher": (["stages.teacher.epochs=1", "compression=null"], "teacher=s1"),
    "compression.ratio": ([], "compression.ratio=0.5"),
    "compression.of": ([], "compression.of=each"),
    "stages.teacher": ([], "stages.teacher.epochs=1"),
    "without": ([], "without=[teacher] & transfer.edges=[{from: s1, to: s2}]"),
}  # fmt: skip
ELSEWHERE = {
    "data.root": "where files are; tests/data/test_segmentation_registry.py",
    "data.val_labels": "which rows validate; tests/data/test_splits.py",
    "data.in_memory": "how images are held; tests/data/test_segmentation_loaders.py",
    "data.workers": "where images are read; tests/data/test_segmentation_loaders.py",
    "data.damaged": "what folders are read; tests/data/test_image_folder.py",
    **dict.fromkeys(RecipeConfig.model_fields, "tests/engine/test_options.py"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with masks in a file with and one without validation images, and in a folder."""
    made = tmp_path_factory.mktemp("masks")
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, (30, 4, 4)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    x = (80 * y + draw.integers(0, 80, y.shape)).astype(np.uint8)
    parts = {"train": slice(12), "val": slice(12, 20), "test": slice(20, 30)}
    arrays = {
        f"{key}_{part}": a[rows] for part, rows in parts.items() for key, a in (("x", x), ("y", y))
    }
    np.savez(made / "scenes.npz", **arrays)
    np.savez(made / "no-val.npz", **{k: a for k, a in arrays.items() if "val" not in k})
    for part, rows in parts.items():
        for kind, images in (("images", x[rows]), ("masks", y[rows])):
            (made / "photos" / part / kind).mkdir(parents=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(made / "photos" / part / kind / f"{number}.png")
    return made


@cache
def trained(*words: str) -> Any:
    """The weights of every peer, exact."""
    recipe, given = find_recipe("styles-segment")
    trainer = recipe.build(recipe.resolve(given, parsed(*TINY, *words)))
    trainer.run()
    return {
        f"{peer}.{name}": tensor.double().flatten().tolist()
        for peer, module in trainer.cohort.peers.items()
        for name, tensor in module.state_dict().items()
    }


def test_invariant_6_covers_every_documented_option() -> None:
    assert_every_option_is_listed(StylesSegmentConfig, BLOCKS, TRAINING, ELSEWHERE)


@pytest.mark.parametrize("option", TRAINING)
def test_invariant_6_option_changes_the_training(
    option: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert_option_acts(trained, TRAINING, option)
