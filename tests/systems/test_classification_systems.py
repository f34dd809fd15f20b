"""The classifying recipes on every kind of data they take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from overriding import parsed
from PIL import Image

from peerlearn.data import loaders
from peerlearn.errors import InputError
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

QUICK = ["epochs=4", "batch_size=16", "lr=0.05", "precision=fp32", "threads=1"]


def block(*overrides: str, out: Path | None = None, resume: bool = False) -> dict:
    recipe, given = find_recipe("dml")
    config = recipe.resolve(given, parsed(*QUICK, *overrides))
    (arm,) = run_recipe(recipe, config, out, resume)["arms"].values()
    return arm


def mean(summary: dict) -> float:
    return summary["mean"]


def test_vectors_with_several_labels_a_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype("float32")
    y = (x[:, :3] > 0).astype("int64")
    path = tmp_path / "several.npz"
    np.savez(path, x_train=x[:120], y_train=y[:120], x_test=x[120:], y_test=y[120:])
    arm = block(f"data={path}", "peers.a=mlp", "peers.b=mlp", "epochs=15")
    assert mean(arm["mean_peer"]["accuracy"]) > 0.85
    assert mean(arm["ensemble"]["f1"]) > 0.85
    assert mean(arm["between_peers"]["agreement"]["a~b"]) > 0.5


def test_a_folder_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 8)):
        for label, level in (("dark", 60), ("light", 190)):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(level, 20, size=(12, 12, 3)).clip(0, 255).astype("uint8")
                Image.fromarray(pixels).save(folder / f"{number}.png")
    arm = block(f"data={tmp_path / 'photos'}", "epochs=6", "data.val_size=0.2")
    assert mean(arm["ensemble"]["accuracy"]) > 0.9


def test_unlabelled_rows_teach_through_the_edges_alone() -> None:
    """Without edges they must not matter; with edges they must."""
    options = ["data.train_size=400", "data.labels=100", "labelled_per_batch=8"]
    options += ["evaluation.select=last"]
    few = block(*options, "arm=independent")
    rows = block(*options, "transfer.rows=labelled", "transfer.weight_schedule=constant")
    everything = block(*options, "transfer.weight_schedule=constant")
    assert mean(few["mean_peer"]["accuracy"]) > 0.3
    assert rows["mean_peer"] != everything["mean_peer"]


def test_four_peers_of_four_kinds() -> None:
    arm = block("peers.c=mlp", "peers.d={model: resnet8, arguments: {width: 4}}", "epochs=1")
    assert set(arm["peers"]) == {"a", "b", "c", "d"}
    assert len(arm["edges"]) == 12
    assert mean(arm["cost"]["forwards_per_step"]) == 4


def test_one_peer_alone_is_plain_training_and_with_edges_an_error() -> None:
    alone = block("peers.b=null", "transfer=none", "epochs=1")
    twin = block("transfer=none", "epochs=1")
    assert alone["peers"]["a"] == twin["peers"]["a"]
    with pytest.raises(InputError, match="two different peers"):
        block("peers.b=null")


def test_shared_data_is_found_by_name(shared_data: Path) -> None:
    arm = block("data=gtsrb", "data.train_size=430", "epochs=1", "peers.b=null", "transfer=none")
    assert 0 < mean(arm["mean_peer"]["accuracy"]) < 1


def test_rows_can_be_streamed_through_worker_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Watched(loaders.DataLoader):
        def __init__(self, *positional: Any, **named: Any) -> None:
            asked.append(named["num_workers"])
            super().__init__(*positional, **named)

    monkeypatch.setattr(loaders, "DataLoader", Watched)
    memory = block("epochs=1")
    streamed = block("epochs=1", "data.in_memory=false", "data.workers=1")
    assert asked == [1]
    assert streamed["mean_peer"] == memory["mean_peer"]


def test_a_run_of_an_older_version_lacks_new_options_and_still_resumes(tmp_path: Path) -> None:
    before = block("epochs=1", out=tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    written = yaml.safe_load(config.read_text())
    del written["data"]["workers"]
    config.write_text(yaml.safe_dump(written))
    assert block("epochs=1", out=tmp_path / "run", resume=True) == before
    with pytest.raises(InputError, match="batch_size: was"):
        block("epochs=1", "batch_size=13", out=tmp_path / "run", resume=True)


def test_one_peer_alone_may_learn_from_itself() -> None:
    options = ["peers.b=null", "epochs=2", "evaluation.select=last"]
    alone = block(*options, "transfer=none")
    own = block(*options, "transfer={from: self, teacher_temperature: 0.5}")
    assert [(edge["from"], edge["to"]) for edge in own["edges"]] == [("a", "a")]
    assert own["peers"]["a"]["nll"] != alone["peers"]["a"]["nll"]
