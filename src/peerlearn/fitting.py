"""`peerlearn.fit`: train any cohort on data at hand, without a recipe."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from peerlearn.cohort import Cohort
from peerlearn.data.arrays import source_from_arrays
from peerlearn.data.datasets import Dataset
from peerlearn.data.info import RowInfo
from peerlearn.data.loaders import split_rows, train_loader
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import AugmentSpec, DataSpec
from peerlearn.data.splits import build_dataset
from peerlearn.data.words import data_facts, label_counts
from peerlearn.engine.description import beginning
from peerlearn.engine.result import TrainingResult
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.settings import PeerSettings, TrainingSpec
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.task import RowEvaluator
from peerlearn.engine.trainer import Observer, Trainer
from peerlearn.engine.weight_files import described
from peerlearn.errors import InputError
from peerlearn.metrics.assessment import ClassificationAssessment
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.validation import validated

Data = Dataset | str | Path | Mapping[str, Any]


def fit(
    cohort: Cohort,
    data: Data,
    epochs: int = 30,
    *,
    augment: AugmentSpec | Mapping[str, Any] | None = None,
    peers: Mapping[str, Mapping[str, Any]] | None = None,
    labelled_per_batch: int = 0,
    workers: int = 0,
    seed: int = 0,
    folder: str | Path | None = None,
    resume: bool = False,
    observe: Observer | None = None,
    **training: Any,
) -> TrainingResult:
    """Train a cohort; afterwards every peer holds the weights that did best on validation.

    ```python
    result = peerlearn.fit(cohort, "digits", epochs=30, lr=0.05)
    result.block["mean_peer"]["accuracy"]
    ```

    Args:
        cohort: the peers, with their initial weights.
        data: a `Dataset`; the name or path that `--data` takes; or arrays or tensors by name:
            `x_train, y_train, x_test, y_test` and optionally `x_val, y_val`.
        epochs: passes over the training rows.
        augment: random changes of training images; none by default.
        peers: what single peers do their own way, by name: `lr`, `optimiser`, `lr_schedule`,
            `view`.
        labelled_per_batch: labelled rows in every batch, where some rows have no label.
        workers: processes that read and augment rows, for a `Dataset` that is not in memory.
        seed: keys batches, augmentation and dropout.
        folder: run folder for checkpoints and metrics; None keeps everything in memory.
        resume: continue what `folder` holds.
        observe: is told what begins (`facts`: lines by a word), and of every step and epoch.
        **training: any field of `TrainingSpec`: `batch_size`, `lr`, `optimiser`, `precision`, ...

    Raises InputError: an unknown field, a value that is not allowed, or data that cannot be used;
    RunError: a loss that is not finite, or a file that cannot be written.
    """
    spec = validated(TrainingSpec, {"epochs": epochs} | training)
    Catalogue(CLASSIFICATION).selecting(spec.evaluation.metric, "fit")
    settings = {
        name: validated(PeerSettings, own, f"peers.{name}") for name, own in (peers or {}).items()
    }
    if strangers := settings.keys() - set(cohort.names):
        raise InputError(
            f"peers: {sorted(strangers)} not in the cohort ({', '.join(cohort.names)})"
        )
    augmentation = validated(AugmentSpec, augment or {}, "augment")
    dataset = read_data(data)
    loader = train_loader(
        dataset,
        spec.batch_size,
        seed,
        augmentation,
        views=1 + max((own.view for own in settings.values()), default=0),
        labelled_per_batch=labelled_per_batch,
        workers=workers,
    )
    rows = partial(split_rows, data=dataset, batch_size=spec.evaluation.batch_size)
    test, val, train = (rows(split) for split in (dataset.test, dataset.val, dataset.train))
    assessment = partial(ClassificationAssessment, members=spec.evaluation.members)
    info = RowInfo.from_dataset(dataset)
    told = data_facts(info, dataset.account, label_counts(dataset.train.y, dataset.classes))
    evaluator = RowEvaluator(test, val, assessment, train, told)
    stages = [TrainingStage("fit", spec.epochs, loader)]
    trainer = Trainer(cohort, stages, spec, evaluator, peers=settings, seed=seed)
    if observe is not None:
        trainer.observe = observe
    trainer.observe(beginning(trainer))
    if folder is None:
        return trainer.run(resume)
    trainer.folder = RunFolder(Path(folder))
    trainer.folder.about = partial(_about, cohort, dataset)
    with trainer.folder.held():
        asked = {"epochs": epochs, "seed": seed, "data": dataset.name} | training
        plain = {
            key: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for key, value in asked.items()
        }
        trainer.folder.open(plain, resume)
        return trainer.run(resume)


def _about(cohort: Cohort, data: Dataset, peer: str) -> dict[str, Any]:
    """What the header of a peer's file of weights says of its network and its data."""
    kind = type(cohort.peers[peer] if peer in cohort.names else cohort.trunk)
    return {
        "model": f"{kind.__module__}.{kind.__qualname__}",
        **described(RowInfo.from_dataset(data).model_dump()),
    }


def read_data(data: Data) -> Dataset:
    """Any form of `data` that `fit` takes as a `Dataset`; InputError: names what is at fault."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | Path):
        return load_dataset(DataSpec(name=str(data)))
    if isinstance(data, Mapping):
        arrays = {
            name: value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
            for name, value in data.items()
        }
        return build_dataset("arrays", source_from_arrays(arrays, "data"), DataSpec())
    raise InputError(
        f"data: found {type(data).__name__}; allowed: a Dataset, a name or path, or a mapping with "
        "x_train, y_train, x_test, y_test"
    )
