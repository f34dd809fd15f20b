"""What the systems that segment images share: configuration and assembly."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.data.loaders import split_rows
from peerlearn.data.segmentation import (
    SegmentationDataset,
    SegmentationDataSpec,
    SegmentationInfo,
    SegmentAugmentSpec,
    load_segmentation,
    segmentation_loader,
)
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import Metric
from peerlearn.metrics.segmentation import METRICS, SegmentationAssessment
from peerlearn.models.segmentation import SEGMENTATION_MODELS
from peerlearn.objectives.segmentation import Segmentation
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
from peerlearn.systems.gallery import gallery
from peerlearn.systems.recipe import RecipeConfig
from peerlearn.transfer.outputs import OutputForm

PROBE_IMAGES = 16


class SegmentationConfig(RecipeConfig):
    """Configuration of the systems that segment images."""

    metrics: ClassVar[Sequence[Metric]] = METRICS

    data: SegmentationDataSpec = Field(
        SegmentationDataSpec(), description="which images with masks, and how many of them"
    )
    augment: SegmentAugmentSpec = Field(
        SegmentAugmentSpec(), description="random changes of images, and alike of their masks"
    )
    labelled_per_batch: int = Field(
        0, ge=0, description="labelled images in every batch where some have none; 0: as drawn"
    )
    objective: Segmentation = Field(Segmentation(), description="see Segmentation")


def load_segmentation_data(config: SegmentationConfig) -> SegmentationDataset:
    """The data of `config`; where they cannot be used, what else is wrong is told as well.

    Raises:
        InputError: data that cannot be used, and then also unknown models and peers.
    """
    read = partial(load_segmentation, config.data)
    return load_data(config, read, SEGMENTATION_MODELS.check)


def build_segmentation(
    config: SegmentationConfig,
    data: SegmentationDataset | None = None,
    plan: Plan = one_stage,
) -> Trainer:
    """A trainer for `config`: peers with keyed initial weights, and what they train on.

    Args:
        config: of the recipe.
        data: from `load_segmentation_data`; None to load them.
        plan: divides the training into stages.

    Raises:
        InputError: data, models or edges that cannot be used, or do not fit each other; lists
            what is wrong with each of them.
    """
    data = data or load_segmentation_data(config)
    cohort = build_segmentation_cohort(config, data)
    load_initial_weights(cohort, config)
    check_masks(cohort, data, config.seed)
    loader = segmentation_loader(
        data,
        config.batch_size,
        config.seed,
        config.augment,
        views=1 + max(peer.view for peer in config.peers.values()),
        labelled_per_batch=config.labelled_per_batch,
        workers=config.data.workers,
    )
    rows = partial(split_rows, data=data, batch_size=config.evaluation.batch_size)
    validation, test = rows(data.val), rows(data.test)
    measure = partial(SegmentationAssessment, data.class_names, multilabel=data.multilabel)
    return Trainer(
        cohort,
        plan(config, loader),
        config,
        validation=validation,
        report=reported_rows(config, validation, test),
        assess=measure,
        assess_quickly=partial(measure, boundaries=False),
        peers=config.peers,
        seed=config.seed,
        probe=rows(data.train.select(torch.arange(min(PROBE_IMAGES, len(data.train))))),
        info=SegmentationInfo.from_dataset(data),
        gallery=partial(
            gallery,
            split=data.test,
            data=data,
            batch_size=config.evaluation.batch_size,
            members=config.evaluation.members,
        ),
    )


def build_segmentation_cohort(
    config: SegmentationConfig, data: SegmentationDataset | SegmentationInfo
) -> Cohort:
    """The peers of `config`, each with initial weights keyed by the seed and its name.

    Raises:
        InputError: lists every peer that cannot be built and what is wrong with the edges.
    """

    def build_peer(name: str) -> nn.Module:
        peer, field = config.peers[name], f"peers.{name}.model"
        with seeded_rng(config.seed, "weights", name):
            return SEGMENTATION_MODELS.build(
                peer.model, data.sample_shape, data.classes, peer.arguments, field
            )

    form: OutputForm = "sigmoid" if data.multilabel else "softmax"
    return assemble(config, build_peer, config.objective, form)


def check_masks(cohort: Cohort, data: SegmentationDataset, seed: int) -> None:
    """See that every peer gives one logit a class and pixel, before anything is trained.

    What the edges learn themselves is made here, where the shape of outputs is known.

    Raises:
        InputError: a peer fails on two images of the data, or gives outputs of another shape; or
            an objective that does not fit the masks.
    """
    few = data.train.select(torch.arange(min(2, len(data.train))))
    x, y = next(split_rows(few, data, 2)())
    outputs = first_outputs(cohort, x, f"images of shape {data.sample_shape} of {data.name!r}")
    expected = (len(x), data.classes, *data.sample_shape[1:])
    for name, output in outputs.items():
        if (shape := tuple(output.logits.shape)) != expected:
            raise InputError(
                f"peers.{name}: gives outputs of shape {shape} for {len(x)} images of "
                f"{data.name!r}; needed: {expected}, a logit for every class and pixel"
            )
        cohort.objective(name, output, y)
    with seeded_rng(seed, "transfer"):
        cohort.transfer.prepare(outputs)
