"""Invariant 6: every documented option changes the result, or is listed here with its purpose."""

from functools import cache

import pytest
from every_option import assert_every_option_is_listed, assert_option_acts, documented_options
from tiny import tiny_trainer, weights

from peerlearn.tasks.classification.config import ClassificationConfig
from peerlearn.tasks.config import PeerSpec

BLOCKS = ("lr_schedule", "evaluation", "data", "augment", "objective")
#: Options that must change the trained weights: overrides before, and the change itself.
TRAINING = {
    "epochs": ([], "epochs=3"),
    "batch_size": ([], "batch_size=16"),
    "lr": ([], "lr=0.01"),
    "optimiser": ([], "optimiser=adamw"),
    "optimiser.momentum": ([], "optimiser.momentum=0.5"),
    "lr_schedule.kind": ([], "lr_schedule.kind=linear"),
    "lr_schedule.warmup": ([], "lr_schedule.warmup=0"),
    "lr_schedule.final": ([], "lr_schedule.final=0.5"),
    "lr_schedule.milestones": (["lr_schedule=multi_step"], "lr_schedule.milestones=[0.5]"),
    "lr_schedule.gamma": (["lr_schedule=multi_step"], "lr_schedule.gamma=0.5"),
    "clip_norm": ([], "clip_norm=0.1"),
    "accumulate": ([], "accumulate=2"),
    "ema": ([], "ema=0.5"),
    "precision": ([], "precision=bf16"),
    "seed": ([], "seed=1"),
    "arm": ([], "arm=independent"),
    "arms": ([], "arms.mutual={lr: 0.01}"),
    "transfer": ([], "transfer=none"),
    "transfer.classes": ([], "transfer.classes=non_target"),
    "peers": ([], "peers.c=mlp"),
    "peers.model": ([], "peers.b={model: resnet8, arguments: {width: 4}}"),
    "peers.arguments": ([], "peers.a.arguments.hidden=[8]"),
    "peers.lr": ([], "peers.b.lr=0.5"),
    "peers.optimiser": ([], "peers.b.optimiser=adam"),
    "peers.lr_schedule": ([], "peers.b.lr_schedule=constant"),
    "peers.view": ([], "peers.b.view=1"),
    "peers.groups": ([], "peers.b.groups={'*.bias': {lr: 0.5}}"),
    "peers.bayesian": ([], "peers.b.bayesian=last"),
    "peers.frozen": ([], "peers.b.frozen=true"),
    "data.name": ([], "data.name=mnist"),
    "data.train_size": ([], "data.train_size=90"),
    "data.labels": ([], "data.labels=50"),
    "data.val_labels": (
        ["data.labels=50", "epochs=6", "lr=0.05", "transfer.weight_schedule=constant"],
        "data.val_labels=10",
    ),
    "data.split_seed": ([], "data.split_seed=1"),
    "augment.crop": ([], "augment.crop=2"),
    "augment.flip": ([], "augment.flip=true"),
    "augment.cutout": ([], "augment.cutout=3"),
    "augment.rotation": ([], "augment.rotation=20"),
    "augment.blend": ([], "augment.blend=0.4"),
    "augment.noise": ([], "augment.noise=0.2"),
    "labelled_per_batch": (["data.labels=50"], "labelled_per_batch=8"),
    "objective.function": (
        [],
        "objective.function=python:torch.nn.functional:multi_margin_loss",
    ),
    "objective.label_smoothing": ([], "objective.label_smoothing=0.1"),
    "objective.entropy": ([], "objective.entropy=0.5"),
    "objective.entropy_rows": (
        ["data.labels=50", "objective.entropy=0.5"],
        "objective.entropy_rows=labelled",
    ),
}
#: Options that change what is reported or kept, not how weights move.
REPORTING = {
    "evaluation.select": (["epochs=6", "lr=0.3"], "evaluation.select=last"),
    "evaluation.metric": (["epochs=8", "lr=0.1"], "evaluation.metric=nll"),
    "evaluation.metrics": ([], "evaluation.metrics=['python:own_parts:worst_recall']"),
    "evaluation.last_epochs": (
        ["evaluation.select=mean_last", "epochs=4"],
        "evaluation.last_epochs=1",
    ),
    "evaluation.report": (["evaluation.select=last"], "evaluation.report=val+test"),
    "evaluation.members": ([], "evaluation.members=[a]"),
    "evaluation.every": (["epochs=3"], "evaluation.every=3"),
    "evaluation.patience": (
        ["epochs=6", "lr=0.3", "transfer.weight_schedule=constant"],
        "evaluation.patience=1",
    ),
    "evaluation.calibrate": ([], "evaluation.calibrate=temperature"),
    "evaluation.flatness": ([], "evaluation.flatness=true"),
    "evaluation.noise": ([], "evaluation.noise=[0, 0.5]"),
    "evaluation.ood": ([], "evaluation.ood=[digits]"),
    "evaluation.corruption": (["evaluation.corruption=[noise]"], "evaluation.corruption=[blur]"),
}
#: Options that say where or how fast, and must leave every number alone; or are tested elsewhere.
ELSEWHERE = {
    "recipe": "the name of the system itself",
    "device": "where to run; tests/engine/test_precision.py",
    "threads": "how fast; tests/engine/test_trainer.py",
    "peers.weights": "files; tests/engine/test_frozen_peers.py",
    "transport": "where peers are; test_mesh.py, test_snapshots.py and test_public_rows.py here",
    "checkpoint_minutes": "how often to save; tests/engine/test_trainer.py",
    "evaluation.batch_size": "how fast; tests/engine/test_trainer.py",
    "data.val_size": "digits has its own validation rows; tests/data/test_registry.py",
    "data.root": "where files are; tests/data/test_registry.py",
    "data.classes": "labels that leave it open; tests/data/test_classes.py",
    "data.in_memory": "how rows are held; tests/data/test_loaders.py",
    "data.workers": "where rows are read; tests/data/test_loaders.py",
    "data.size": "image folders only; tests/data/test_image_folder.py",
    "data.fit": "image folders only; tests/data/test_image_folder.py",
    "data.damaged": "image folders only; tests/data/test_image_folder.py",
}


@cache
def trained(*overrides: str) -> tuple[dict, dict]:
    """Final weights and the reported block."""
    trainer = tiny_trainer(*overrides)
    result = trainer.run()
    return weights(trainer), {
        "block": {k: v for k, v in result.block.items() if k not in ("cost", "sizes")},
        "validated": ["val" in record for record in result.history],
    }


def test_invariant_6_covers_every_documented_option() -> None:
    # Arguments of an optimiser are torch's to document; edges have a walker of their own.
    others = {"optimiser.momentum", "transfer.classes"}
    listed = (TRAINING.keys() | REPORTING.keys() | ELSEWHERE.keys()) - others
    of_peers = set(documented_options(PeerSpec, (), "peers."))
    assert of_peers < listed
    assert_every_option_is_listed(ClassificationConfig, BLOCKS, listed - of_peers)


@pytest.mark.parametrize("option", TRAINING)
def test_invariant_6_option_changes_the_training(
    option: str, request: pytest.FixtureRequest
) -> None:
    if option == "data.name":
        request.getfixturevalue("shared_data")
    assert_option_acts(lambda *words: trained(*words)[0], TRAINING, option)


@pytest.mark.parametrize("option", REPORTING)
def test_invariant_6_option_changes_the_report(option: str) -> None:
    assert_option_acts(lambda *words: trained(*words)[1], REPORTING, option)
