"""What the systems that classify images or vectors share: configuration and assembly."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data import Dataset, DataSpec, RowInfo, load_dataset
from peerlearn.data.datasets import Split
from peerlearn.data.loaders import split_rows, train_loader
from peerlearn.data.spec import AugmentChoice
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.models import MODELS
from peerlearn.objectives.classification import Classification
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import seeded_rng
from peerlearn.systems.assembly import (
    Plan,
    assemble,
    first_outputs,
    load_data,
    load_initial_weights,
    one_stage,
    reported_rows,
)
from peerlearn.systems.recipe import RecipeConfig
from peerlearn.transfer.outputs import OutputForm

PROBE_ROWS = 1_000


class ClassificationConfig(RecipeConfig):
    """Configuration of the systems that classify."""

    data: DataSpec = Field(DataSpec(), description="which data, and how much of it")
    augment: AugmentChoice = Field(AugmentChoice(), description="random changes of images")
    labelled_per_batch: int = Field(
        0, ge=0, description="labelled rows in every batch where some rows have none; 0: as drawn"
    )
    objective: Classification = Field(Classification(), description="see Classification")


def load_classification_data(config: ClassificationConfig) -> Dataset:
    """The data of `config`; where they cannot be used, what else is wrong is told as well.

    Raises:
        InputError: data that cannot be used, and then also unknown models and peers.
    """
    return load_data(config, partial(load_dataset, config.data), MODELS.check)


def build_classification(
    config: ClassificationConfig, data: Dataset | None = None, plan: Plan = one_stage
) -> Trainer:
    """A trainer for `config`: peers with keyed initial weights, and what they train on.

    Args:
        config: of the recipe.
        data: from `load_classification_data`; None to load them.
        plan: divides the training into stages.

    Raises:
        InputError: data, models or edges that cannot be used, or do not fit each other; lists
            what is wrong with each of them.
    """
    data = data or load_classification_data(config)
    cohort = build_cohort(config, data)
    load_initial_weights(cohort, config)
    check_outputs(cohort, data, config.seed)
    loader = train_loader(
        data,
        config.batch_size,
        config.seed,
        config.augment.resolve(data),
        views=1 + max(peer.view for peer in config.peers.values()),
        labelled_per_batch=config.labelled_per_batch,
        workers=config.data.workers,
    )
    rows = partial(split_rows, data=data, batch_size=config.evaluation.batch_size)
    validation, test = rows(data.val), rows(data.test)
    return Trainer(
        cohort,
        plan(config, loader),
        config,
        validation=validation,
        report=reported_rows(config, validation, test),
        peers=config.peers,
        seed=config.seed,
        probe=probe_rows(data, config.evaluation.batch_size),
        info=RowInfo.from_dataset(data),
    )


def build_cohort(config: ClassificationConfig, data: Dataset | RowInfo) -> Cohort:
    """The peers of `config`, each with initial weights keyed by the seed and its name.

    Raises:
        InputError: lists every peer that cannot be built and what is wrong with the edges.
    """

    def build_peer(name: str) -> nn.Module:
        peer, field = config.peers[name], f"peers.{name}.model"
        with seeded_rng(config.seed, "weights", name):
            return MODELS.build(peer.model, data.sample_shape, data.classes, peer.arguments, field)

    form: OutputForm = "sigmoid" if data.multilabel else "softmax"
    return assemble(config, build_peer, config.objective, form)


def check_outputs(cohort: Cohort, data: Dataset, seed: int) -> None:
    """See that every peer gives one logit per class, before anything is trained or written.

    What the edges learn themselves is made here, where the shape of outputs is known.

    Raises:
        InputError: a peer fails on two rows of the data, or gives another number of outputs.
    """
    x, _ = next(
        iter(split_rows(Split(data.train.rows(torch.arange(2)), data.train.y[:2]), data, 2)())
    )
    outputs = first_outputs(cohort, x, f"rows of shape {data.sample_shape} of data {data.name!r}")
    for name, output in outputs.items():
        shape = tuple(output.logits.shape)
        if shape != (2, data.classes):
            raise InputError(
                f"peers.{name}: gives outputs of shape {shape} for 2 rows; data {data.name!r} "
                f"has {data.classes} classes, so (2, {data.classes}) is needed"
            )
    with seeded_rng(seed, "transfer"):
        cohort.transfer.prepare(outputs)


def probe_rows(data: Dataset, batch_size: int) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """The first labelled training rows, without augmentation, for the flatness probe."""
    index = labelled_rows(data.train.y).nonzero().flatten()[:PROBE_ROWS]
    return split_rows(Split(data.train.rows(index), data.train.y[index]), data, batch_size)
