"""How many new classes there are, from features of a network that has seen none of their labels."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.data.fingerprint import data_fingerprint
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.shared_stages import SharedStages
from peerlearn.engine.trainer import Observer, Trainer
from peerlearn.errors import InputError
from peerlearn.files import read_json, write_json
from peerlearn.locks import held
from peerlearn.models import MODELS
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.assembly import load_data
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset
from peerlearn.tasks.discovery.data.registry import load_discovery
from peerlearn.tasks.discovery.metrics.class_count import CountScore, Estimate, estimate_classes
from peerlearn.tasks.discovery.stages import first_stages, pooled_features
from peerlearn.tasks.discovery.task import DiscoveryTask

SHARED = "shared"
"""Folder of the stages before the joint one, in that of the run that takes them over."""
ESTIMATE = "classes.json"
MOST = 30
"""The largest candidate, unless somebody names others."""
PROBES_NEED = 4
"""Known classes: fewer cannot be divided into those that are known and those that play new."""
ROWS = 4_000
"""Unlabelled rows that are clustered, at most, and labelled ones beside them."""


def estimate_new_classes(
    config: DiscoveryConfig,
    folder: Path,
    candidates: Sequence[int] | None = None,
    observe: Observer | None = None,
) -> Estimate:
    """Train the stages before the joint one, and count clusters of the features they make.

    What has been done before is in `folder` and is not done again: the weights of these stages in
    `shared/`, from where a run with `shared=folder / "shared"` takes them, and the estimate in
    `classes.json`.

    Args:
        config: of the run, `classes` aside.
        folder: of the run.
        candidates: numbers of new classes to choose from; None for 2 to 30, or as far as there
            are rows.
        observe: is told of every step and epoch.

    Raises InputError: data or networks that cannot be used, unlabelled rows that may be of known
    classes, candidates that do not fit, or a folder begun with others or another configuration.
    """
    if config.data.generalised:
        raise InputError(
            "classes: unlabelled rows may be of known classes here, and are counted as if they "
            "were not; give a number"
        )
    data = load_data(config, partial(load_discovery, config.data), MODELS.check)
    largest = len(data.unlabelled) - 1
    chosen = list(candidates or range(2, min(MOST, largest) + 1))
    if not chosen or min(chosen) < 2 or max(chosen) > largest:
        raise InputError(
            f"classes: candidates {_span(chosen)} for {largest + 1} unlabelled rows; allowed: from "
            f"2 to {largest}"
        )
    shared = RunFolder(folder / SHARED)
    with held(folder):
        shared.open(config.dump(), resume=True, complete=config.completed)
        shared.check_data(data_fingerprint(data))
        if (folder / ESTIMATE).exists():
            return read_estimate(folder / ESTIMATE, chosen)
        cohort = pretrained(config, data, shared, observe)
        with threadpool_limits(config.threads):
            estimate = count_clusters(cohort, data, chosen, config.seed)
        write_json(folder / ESTIMATE, asdict(estimate))
        return estimate


def pretrained(
    config: DiscoveryConfig, data: DiscoveryDataset, folder: RunFolder, observe: Observer | None
) -> Cohort:
    """The branches after the stages before the joint one, kept in `folder` for runs to share."""
    # These stages are the same however many new classes there are.
    task = DiscoveryTask(config.model_copy(update={"classes": 1}), data)
    stages = first_stages(config, data)
    trainer = Trainer(task.cohort(), stages, config, peers=config.peers, seed=config.seed)
    trainer.folder, trainer.shared = folder, SharedStages(folder.path, task.fingerprint)
    if observe is not None:
        trainer.observe = observe
    trainer.run(resume=True)
    return trainer.cohort


def count_clusters(
    cohort: Cohort, data: DiscoveryDataset, candidates: Sequence[int], seed: int
) -> Estimate:
    """`estimate_classes` of the first branch's pooled features, over at most `ROWS` rows each."""

    def features(rows: Tensor) -> Tensor:
        return pooled_features(cohort, cohort.names[0], data, rows)

    def some(rows: Tensor) -> Tensor:
        if len(rows) <= ROWS:
            return rows
        return rows[torch.randperm(len(rows), generator=keyed_generator(seed, "counted"))[:ROWS]]

    unlabelled, labelled = features(some(data.unlabelled)), some(data.labelled)
    y = data.train.y[labelled]
    if len(y.unique()) < PROBES_NEED:
        return estimate_classes(unlabelled, None, None, candidates, seed)
    return estimate_classes(unlabelled, features(labelled), y, candidates, seed)


def read_estimate(path: Path, candidates: Sequence[int]) -> Estimate:
    """An estimate that was made before; InputError: it is none, or of other candidates."""
    found: Any = read_json(path)
    try:
        estimate = Estimate(found["count"], tuple(CountScore(**s) for s in found["scores"]))
    except (KeyError, TypeError):
        raise InputError(f"{path}: not an estimate; delete it to make one") from None
    before = [score.count for score in estimate.scores]
    if before != sorted(set(candidates)):
        raise InputError(
            f"{path}: was chosen from {_span(before)}, now from {_span(candidates)}; delete it to "
            "choose again"
        )
    return estimate


def _span(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "none"
