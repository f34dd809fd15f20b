"""Rows with a class, or several labels: images and vectors."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from peerlearn.calling import called
from peerlearn.cohort import Cohort
from peerlearn.data.account import Account
from peerlearn.data.augment import Normalisation
from peerlearn.data.datasets import BatchLoader, Dataset
from peerlearn.data.fingerprint import Fingerprint, split_fingerprint
from peerlearn.data.given import read_given
from peerlearn.data.info import RowInfo
from peerlearn.data.items import kept_ids
from peerlearn.data.loaders import evaluation_batches, split_rows, train_loader
from peerlearn.data.registry import DATASETS, load_dataset
from peerlearn.data.spec import AugmentSpec
from peerlearn.data.words import label_counts
from peerlearn.engine.evaluate import Forward, Rows
from peerlearn.engine.public_rows import PublicRows
from peerlearn.engine.task import Block, Purpose
from peerlearn.errors import InputError
from peerlearn.models import MODELS
from peerlearn.modes import evaluating
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import preserved_rng
from peerlearn.reading.outside import PUBLIC, Outside, read_outside, read_public, told_of
from peerlearn.reading.rows import RowReader
from peerlearn.tasks.classification.config import ClassificationConfig
from peerlearn.tasks.classification.outside import outside_name, told_apart
from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.contract import Task
from peerlearn.token_ids import check_ids
from peerlearn.transfer.outputs import PeerOutput

PROBE_ROWS = 1_000


class ClassificationTask(Task[ClassificationConfig, Dataset, RowInfo]):
    """Classify rows.

    Attributes:
        outside: data sets outside the distribution that rows are told from, by short names.
    """

    outside: Mapping[str, Outside]
    Config: ClassVar[type[RecipeConfig]] = ClassificationConfig
    Reader = RowReader
    catalogue = DATASETS
    models = MODELS

    @classmethod
    def read(cls, config: ClassificationConfig) -> Dataset:
        return load_dataset(config.data)

    @classmethod
    def given(cls, config: ClassificationConfig, data: Any) -> Dataset:
        return read_given(data, config.data).data

    def row_sets(self) -> Mapping[str, Rows]:
        """The splits, and by their names the sets of rows outside their distribution."""
        size, info = self.config.evaluation.batch_size, self.info
        self.outside = read_outside(self.config.evaluation.ood, info, self.config)
        others = {
            outside_name(name): partial(evaluation_batches, it.split, size, info.mean, info.std)
            for name, it in self.outside.items()
        }
        return {**super().row_sets(), **others}

    @cached_property
    def public(self) -> Mapping[str, Outside]:
        """The data set of rows on which peers meet that publish predictions, by its name."""
        name = self.config.transport.public
        return {} if name is None else {name: read_public(name, self.info, self.config)}

    def public_rows(self, named: str) -> PublicRows:
        info = self.info
        return PublicRows(self.public[named].split, info.mean, info.std, info.classes)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        found = dict(super().fingerprint)
        for name, it in self.public.items():
            found[f"{PUBLIC}: {name}"] = split_fingerprint(it.split)
        for number, it in enumerate(self.outside.values()):
            found[f"evaluation.ood.{number}: {it.typed}"] = split_fingerprint(it.split)
        return found

    @property
    def account(self) -> Account:
        return super().account + told_of(self.outside) + told_of(self.public, "public")

    def evaluate(self, forward: Forward, purpose: Purpose) -> Block:
        block = super().evaluate(forward, purpose)
        if purpose == "validation" or not self.outside:
            return block
        sets = {name: forward(self.rows[outside_name(name)]) for name in self.outside}
        members = self.config.evaluation.members
        return told_apart(block, sets, self.info.classes, members)

    def evaluate_reported(self, forward: Forward) -> Block:
        return super().evaluate(forward, "report")

    def normalisation(self) -> Normalisation:
        if len(self.info.sample_shape) != 3 or self.info.dtype == "items":
            return super().normalisation()
        return Normalisation.of(self.info.mean, self.info.std)

    def few(self) -> tuple[Any, Tensor, str]:
        train = self.data.train
        rows = train.select(torch.arange(2))
        x, y = next(iter(split_rows(rows, self.data, 2)()))
        return x, y, f"rows of shape {self.info.sample_shape} of data {self.info.name!r}"

    def check(self, cohort: Cohort, outputs: Mapping[str, PeerOutput], y: Tensor) -> None:
        classes = self.info.classes
        for name, output in outputs.items():
            if (shape := tuple(output.logits.shape)) != (2, classes):
                raise InputError(
                    f"peers.{name}: gives outputs of shape {shape} for 2 rows; data "
                    f"{self.info.name!r} has {classes} classes, so (2, {classes}) is needed"
                )
        self._check_ids(cohort)

    def _check_ids(self, cohort: Cohort) -> None:
        """Refuse ids of tokens that an embedding of a peer does not have, in any row."""
        parts = {part: kept_ids(getattr(self.data, part)) for part in ("train", "val", "test")}
        parts |= {f"evaluation.ood {it.typed}": kept_ids(it.split) for it in self.outside.values()}
        parts |= {f"{PUBLIC} {name}": kept_ids(it.split) for name, it in self.public.items()}
        if any(parts.values()) and cohort.trunk is None:
            few = self.few()[0]
            with evaluating(cohort), preserved_rng():
                check_ids(dict(cohort.peers.items()), few, lambda net: called(net, few, ""), parts)

    def loader(self) -> BatchLoader:
        return self.batches(self.config.batch_size)

    def batches(self, size: int) -> BatchLoader:
        """Training batches of so many rows."""
        config = self.config
        return train_loader(
            self.data,
            size,
            config.seed,
            self.augmentation(),
            views=config.views,
            labelled_per_batch=config.labelled_per_batch,
            workers=config.data.workers,
        )

    def augmentation(self) -> AugmentSpec:
        """Random changes of training rows."""
        return self.config.augment.resolve(self.data)

    def label_counts(self) -> Sequence[int] | None:
        return label_counts(self.data.train.y, self.info.classes)

    def probe(self) -> Rows:
        """The first labelled training rows, without augmentation."""
        train = self.data.train
        index = labelled_rows(train.y).nonzero().flatten()[:PROBE_ROWS]
        return split_rows(
            train.select(index).decoded(), self.data, self.config.evaluation.batch_size
        )
