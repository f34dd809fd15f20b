"""Images with a class, or several labels, for every pixel."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import BatchLoader
from peerlearn.data.loaders import split_rows
from peerlearn.engine.evaluate import Rows
from peerlearn.engine.task import BatchSizes, Findings, Purpose, Trained
from peerlearn.errors import InputError
from peerlearn.tasks.assembly import sizes_of_rows
from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.contract import Task
from peerlearn.tasks.segmentation.config import SegmentationConfig
from peerlearn.tasks.segmentation.data.loaders import segmentation_loader
from peerlearn.tasks.segmentation.data.masks import SegmentationDataset, SegmentationInfo
from peerlearn.tasks.segmentation.data.registry import MASK_SETS, load_segmentation
from peerlearn.tasks.segmentation.gallery import gallery
from peerlearn.tasks.segmentation.metrics import SegmentationAssessment
from peerlearn.tasks.segmentation.models.registry import SEGMENTATION_MODELS
from peerlearn.tasks.segmentation.pages import PAGES
from peerlearn.tasks.segmentation.reader import MaskReader
from peerlearn.transfer.outputs import PeerOutput

PROBE_IMAGES = 16


class SegmentationTask(Task[SegmentationConfig, SegmentationDataset, SegmentationInfo]):
    """Say of every pixel what it shows."""

    Config: ClassVar[type[RecipeConfig]] = SegmentationConfig
    pages = PAGES
    Reader = MaskReader
    catalogue = MASK_SETS
    models = SEGMENTATION_MODELS
    least_steps = 300  # teacher .66 and students .58 and .55 Dice after 36 on 20 retina images
    unprovable = (
        "edges prove themselves by rows with one class each, and pixels of one image are too much "
        "alike to be counted as such"
    )

    @classmethod
    def read(cls, config: SegmentationConfig) -> SegmentationDataset:
        return load_segmentation(config.data)

    def few(self) -> tuple[Any, Tensor, str]:
        images = self.data.train.select(torch.arange(len(self.data.train))[:2])
        x, y = next(iter(split_rows(images, self.data, 2)()))
        return x, y, f"images of shape {self.info.sample_shape} of {self.info.name!r}"

    def check(self, cohort: Cohort, outputs: Mapping[str, PeerOutput], y: Tensor) -> None:
        expected = (len(y), self.info.classes, *self.info.sample_shape[1:])
        for name, output in outputs.items():
            if (shape := tuple(output.logits.shape)) != expected:
                raise InputError(
                    f"peers.{name}: gives outputs of shape {shape} for {len(y)} images of "
                    f"{self.info.name!r}; needed: {expected}, a logit for every class and pixel"
                )
            cohort.objective(name, output, y)  # which may not fit the masks

    def loader(self) -> BatchLoader:
        config = self.config
        return segmentation_loader(
            self.data,
            config.batch_size,
            config.seed,
            config.augment,
            views=config.views,
            labelled_per_batch=config.labelled_per_batch,
            workers=config.data.workers,
        )

    def facts(self) -> Mapping[str, Sequence[str]]:
        whole = tuple(self.info.sample_shape[1:])
        window, of = (
            f"{height}×{width}" for height, width in (self.config.augment.window(*whole), whole)
        )
        told = f"training sees windows of {window} of images of {of} (augment.crop)"
        return {**super().facts(), **({"crops": [told]} if window != of else {})}

    def batch_sizes(self) -> BatchSizes:
        return sizes_of_rows(self.config, self.info, math.prod(self.info.sample_shape[1:]))

    def probe(self) -> Rows:
        images = self.data.train.select(torch.arange(len(self.data.train))[:PROBE_IMAGES])
        return split_rows(images, self.data, self.config.evaluation.batch_size)

    def assessment(self, purpose: Purpose) -> SegmentationAssessment:
        return SegmentationAssessment(
            self.info.class_names,
            multilabel=self.info.multilabel,
            boundaries=purpose == "report",
            members=self.config.evaluation.members,
            images=purpose == "report",
        )

    def calibration_rows(self) -> Sequence[Rows]:
        """None: pixels of one image are no independent rows."""
        return ()

    def finish(self, trained: Trained) -> Findings:
        spec = self.config.evaluation
        pictures = gallery(
            trained.forward,
            split=self.data.test,
            data=self.data,
            batch_size=spec.batch_size,
            members=spec.members,
        )
        return replace(super().finish(trained), pictures=pictures)
