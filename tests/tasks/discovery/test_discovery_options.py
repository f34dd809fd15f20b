"""Every documented option of category discovery changes what comes out."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from every_option import assert_every_option_is_listed, assert_option_acts
from tiny_discovery import ALONE, digit_arrays, tiny_discovery, weights

from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.discovery.config import (
    DiscoveryConfig,
)

#: Images whose last maps are of 3x3, so that they have parts.
LARGE = "data={name: large.npz, train_size: 128}"
#: Parts compared by degrees, which every number moves.
SOFT_PARTS = [LARGE, "objective.pseudo_labels=soft_cosine"]
HARD = [*ALONE, "objective.pseudo_labels=hard_cosine"]
UNO = [*ALONE, "method=uno"]

BLOCKS = (
    "data", "augment", "peers", "objective", "objective.parts", "uno", "stages", "stages.rotation",
    "stages.supervised", "evaluation",
)  # fmt: skip
#: Overrides before, and the change itself, which must change the trained weights.
TRAINING: dict[str, tuple[list[str], str]] = {
    "epochs": ([], "epochs=2"),
    "batch_size": ([], "batch_size=16"),
    "lr": ([], "lr=0.01"),
    "seed": ([], "seed=1"),
    "transfer": ([], "transfer=none"),
    "ema": ([], "ema=0.5"),
    "data.name": ([], "data.name=large.npz"),
    "data.train_size": ([], "data.train_size=120"),
    "data.split_seed": ([], "data.split_seed=1"),
    "data.known": ([], "data.known=4"),
    "data.unlabelled_known": ([], "data.unlabelled_known=0.2"),
    "data.test_size": (["data={labelled: old.npz, unlabelled: new.npz}"], "data.test_size=0.5"),
    "peers.compares": ([], "peers.local.compares=pooled"),
    "peers.fed_by": ([], "peers.local.fed_by=global"),
    "peers.model": ([], "peers.global={model: resnet8, arguments: {width: 4}}"),
    "peers.arguments": ([], "peers.global.arguments.width=0.5"),
    "peers.lr": ([], "peers.local.lr=0.5"),
    "peers.groups": ([], "peers.local.groups={'heads.*': {lr: 0.5}}"),
    "peers.optimiser": ([], "peers.local.optimiser=adam"),
    "peers.lr_schedule": ([], "peers.local.lr_schedule=constant"),
    "peers.frozen": ([], "peers.local.frozen=true"),
    "augment.crop": ([], "augment.crop=2"),
    "augment.flip": ([], "augment.flip=true"),
    "augment.cutout": ([], "augment.cutout=3"),
    "augment.rotation": ([], "augment.rotation=20"),
    "augment.blend": ([], "augment.blend=0.4"),
    "augment.noise": ([], "augment.noise=0.2"),
    "classes": ([], "classes=4"),
    "method": ([], "method=uno"),
    "labelled_per_batch": ([], "labelled_per_batch=8"),
    "copies": ([], "copies=1"),
    "stages.rotation.epochs": ([], "stages.rotation.epochs=2"),
    "stages.supervised.epochs": ([], "stages.supervised.epochs=2"),
    "stages.supervised.trunk": ([], "stages.supervised.trunk=false"),
    "stages.rotation.lr": ([], "stages.rotation.lr=0.5"),
    "stages.rotation.optimiser": ([], "stages.rotation.optimiser=adam"),
    "stages.rotation.lr_schedule": ([], "stages.rotation.lr_schedule=constant"),
    "stages.supervised.lr": ([], "stages.supervised.lr=0.5"),
    "stages.supervised.optimiser": ([], "stages.supervised.optimiser=adam"),
    "stages.supervised.lr_schedule": ([], "stages.supervised.lr_schedule=constant"),
    "objective.pseudo_labels": (ALONE, "objective.pseudo_labels=soft_cosine"),
    "objective.of": ([*ALONE, *SOFT_PARTS, "peers.global.compares=null"], "objective.of=parts"),
    "objective.top_k": (ALONE, "objective.top_k=2"),
    "objective.threshold": (HARD, "objective.threshold=0.999"),
    "objective.criterion": (ALONE, "objective.criterion=positive"),
    "objective.pair_views": (ALONE, "objective.pair_views=1"),
    "objective.consistency": (ALONE, "objective.consistency=50"),
    "objective.ramp": (ALONE, "objective.ramp=1"),
    "objective.incremental": (ALONE, "objective.incremental=true"),
    "objective.unlabelled_are_new": (ALONE, "objective.unlabelled_are_new=1"),
    "objective.parts.size": (SOFT_PARTS, "objective.parts.size=32"),
    "objective.parts.sharpness": (SOFT_PARTS, "objective.parts.sharpness=1"),
    "objective.parts.momentum": (SOFT_PARTS, "objective.parts.momentum=0"),
    "objective.parts.crop": (SOFT_PARTS, "objective.parts.crop=1"),
    "uno.heads": (UNO, "uno.heads=2"),
    "uno.over_factor": (UNO, "uno.over_factor=0"),
    "uno.hidden": (UNO, "uno.hidden=8"),
    "uno.projected": (UNO, "uno.projected=4"),
    "uno.temperature": (UNO, "uno.temperature=0.5"),
    "uno.epsilon": (UNO, "uno.epsilon=0.5"),
    "uno.iterations": (UNO, "uno.iterations=1"),
}
#: Options that change what is reported, not how weights move.
REPORTING: dict[str, tuple[list[str], str]] = {
    "evaluation.members": ([], "evaluation.members=[local]"),
    "evaluation.every": (["epochs=2"], "evaluation.every=1"),
}
ELSEWHERE = {
    "peers.bayesian": "only null; tests/systems/test_bayesian_system.py",
    "weights": "a file; tests/systems/test_discovery_system.py",
    "peers.weights": "a file; tests/engine/test_frozen_peers.py",
    "peers.view": "only 0; tests/systems/test_discovery_system.py",
    "data.labelled": "files; tests/data/test_discovery_data.py",
    "data.unlabelled": "files; tests/data/test_discovery_data.py",
    "data.overlap": "files; tests/data/test_discovery_data.py",
    "data.size": "folders; tests/data/test_discovery_data.py",
    "data.fit": "folders; tests/data/test_image_folder.py",
    "data.damaged": "folders; tests/data/test_discovery_data.py",
    "data.root": "where files are; tests/data/test_discovery_data.py",
    "evaluation.select": "only last; tests/systems/test_discovery_system.py",
    "evaluation.metric": "only cluster_accuracy; tests/systems/test_discovery_system.py",
    "evaluation.metrics": "of classifiers; tests/engine/test_own_metrics.py",
    "evaluation.report": "only test; tests/systems/test_discovery_system.py",
    "evaluation.flatness": "refused; tests/systems/test_discovery_system.py",
    "evaluation.noise": "refused; tests/systems/test_discovery_system.py",
    "evaluation.ood": "of classifiers; tests/tasks/test_out_of_distribution.py",
    "evaluation.corruption": "of classifiers; tests/tasks/test_out_of_distribution.py",
    "evaluation.calibrate": "refused, as nothing is validated; tests/engine/test_calibration.py",
    "evaluation.patience": "refused, as select is last; tests/engine/test_growth.py",
    "evaluation.last_epochs": "of mean_last, which nothing is reported by",
    "evaluation.batch_size": "how fast; test_evaluation_batch_size_changes_no_metric",
    **dict.fromkeys(
        RecipeConfig.model_fields.keys() - {"data", "augment", "peers", "evaluation"},
        "tests/engine/test_options.py",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Digits of 24x24 pixels, and digits in two files, in the current folder."""
    folder = tmp_path_factory.mktemp("files")
    arrays = digit_arrays()
    large = {k: v.repeat(3, 1).repeat(3, 2) if v.ndim == 3 else v for k, v in arrays.items()}
    np.savez(folder / "large.npz", **large)
    x, y = arrays["x_train"], arrays["y_train"]
    for name, rows in (("old", y < 5), ("new", y >= 5)):
        np.savez(folder / f"{name}.npz", x=x[rows], y=y[rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@cache
def trained(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Final weights, and what is reported of them."""
    trainer = tiny_discovery(*overrides)
    result = trainer.run()
    block = {k: v for k, v in result.block.items() if k not in ("cost", "sizes")}
    return weights(trainer), block | {"validated": ["val" in r for r in result.history]}


def test_invariant_6_covers_every_documented_option() -> None:
    assert_every_option_is_listed(DiscoveryConfig, BLOCKS, TRAINING, REPORTING, ELSEWHERE)


@pytest.mark.parametrize("option", TRAINING)
def test_invariant_6_option_changes_the_training(option: str) -> None:
    assert_option_acts(lambda *words: trained(*words)[0], TRAINING, option)


@pytest.mark.parametrize("option", REPORTING)
def test_invariant_6_option_changes_the_report(option: str) -> None:
    assert_option_acts(lambda *words: trained(*words)[1], REPORTING, option)
    before, change = REPORTING[option]
    assert trained(*before, change)[0] == trained(*before)[0], f"{change} changed the training"


def test_evaluation_batch_size_changes_no_metric() -> None:
    plain, small = trained()[1], trained("evaluation.batch_size=7")[1]
    for name in ("cluster_accuracy", "known_accuracy", "pair_precision"):
        assert plain["peers"]["global"][name] == small["peers"]["global"][name]
