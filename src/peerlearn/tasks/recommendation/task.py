"""Users, and items that they are likely to want."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import BatchLoader
from peerlearn.data.fingerprint import digest
from peerlearn.engine.evaluate import Rows
from peerlearn.engine.precision import Precision
from peerlearn.engine.stage import Procedure, Stage, TrainingStage
from peerlearn.engine.task import BatchSizes, Purpose
from peerlearn.metrics.assessment import Assessment
from peerlearn.report.section import Pages
from peerlearn.tasks.assembly import FP32
from peerlearn.tasks.contract import Task
from peerlearn.tasks.recommendation.config import RecommendationConfig
from peerlearn.tasks.recommendation.data.dataset import (
    Interactions,
    ItemLists,
    RecommendationDataset,
)
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.data.loaders import UserLoader
from peerlearn.tasks.recommendation.data.registry import RECOMMENDATION_SETS, load_recommendation
from peerlearn.tasks.recommendation.inputs import RankingInput
from peerlearn.tasks.recommendation.metrics.assessment import RankingAssessment
from peerlearn.tasks.recommendation.metrics.wanted import Wanted, cold_users
from peerlearn.tasks.recommendation.models.branch import Branch, Embedded
from peerlearn.tasks.recommendation.models.closed_form import ClosedForm
from peerlearn.tasks.recommendation.models.registry import RECOMMENDERS, modalities
from peerlearn.tasks.recommendation.reader import RecommendationReader


class RecommendationTask(Task[RecommendationConfig, RecommendationDataset, RecommendationInfo]):
    """Rank all items for every user."""

    Config = RecommendationConfig
    Reader = RecommendationReader
    catalogue = RECOMMENDATION_SETS
    models = RECOMMENDERS
    pages = Pages(ask="recommend {run} --user ID")

    def __init__(self, config: RecommendationConfig, data: RecommendationDataset) -> None:
        super().__init__(config, data)
        self.validates = len(data.val) > 0

    @classmethod
    def read(cls, config: RecommendationConfig) -> RecommendationDataset:
        return load_recommendation(config.data)

    @classmethod
    def sample(cls, info: RecommendationInfo) -> RecommendationInfo:
        return info

    def untrained(self) -> Cohort:
        cohort = super().untrained()
        for name, peer in cohort.peers.items():
            assert isinstance(peer, Embedded | ClosedForm)
            fill(peer, self.data, self.modalities(name))
            if isinstance(peer, ClosedForm):
                peer.fit()
        return cohort

    def modalities(self, peer: str) -> list[str]:
        """By which a peer knows items."""
        return modalities(self.config.peers[peer].arguments.get("modality", "none"), self.info)

    def stages(self, cohort: Cohort) -> Sequence[Stage]:
        """Whoever has parameters trains; the others are computed before, and may teach."""
        learners = [n for n, peer in cohort.peers.items() if not isinstance(peer, ClosedForm)]
        if not learners:
            return [Procedure("computed", _as_it_is)]
        (mutual,) = super().stages(cohort)
        assert isinstance(mutual, TrainingStage)
        return [replace(mutual, learners=learners)]

    def few(self) -> tuple[Any, Tensor, str]:
        batch = next(iter(self.loader().epoch(0)))
        return batch.x, batch.y, f"{len(batch.index)} users"

    def loader(self) -> BatchLoader:
        config, data = self.config, self.data
        size = (config.batch_size, config.negatives, config.seed)
        return UserLoader(data.train, data.users, data.items, *size)

    # What is measured --------------------------------------------------------------------------

    def row_sets(self) -> Mapping[str, Rows]:
        data, size = self.data, self.config.evaluation.batch_size
        seen = {"val": [data.train], "test": [data.train, data.val]}
        return {
            part: partial(rows_of_users, getattr(data, part), before, data.users, size)
            for part, before in seen.items()
        }

    def row_set(self) -> str:
        """Of the users who want something, and what they want."""
        parts = self.measured("report")
        pairs = [getattr(self.data, part) for part in parts]
        return self._row_set_of(
            (), *parts, *(digest(side) for it in pairs for side in (it.user, it.item))
        )

    def assessment(self, purpose: Purpose) -> Assessment:
        data = self.data
        there = {}
        for name in self.config.peers if self.config.together == "served" else ():
            if names := self.modalities(name):
                parts = torch.stack([data.modalities[each].there_I for each in names])
                there[name] = parts.any(0)
        counts_U = torch.bincount(data.train.user, minlength=data.users)
        groups = cold_users(counts_U) if purpose == "report" else {}
        members = self.config.evaluation.members
        return RankingAssessment(there=there, members=members, groups=groups)

    def facts(self) -> Mapping[str, Sequence[str]]:
        info, rows = self.info, self.info.rows
        parts = ", ".join(f"{rows[part]:,} {part}" for part in ("train", "val", "test"))
        friends = f"{info.friendships:,} friendships"
        data = f"{info.name}: {info.content}, {friends}, interactions {parts}"
        found = {k: lines for k, lines in super().facts().items() if k not in ("data", "classes")}
        return {"data": [data], **found}

    def batch_sizes(self) -> BatchSizes:
        config, items = self.config, self.info.classes
        candidates = min(items, config.negatives + config.batch_size * 50)
        row = FP32 * candidates
        return BatchSizes(config.batch_size, config.evaluation.batch_size, 8, row, FP32 * items)


def fill(peer: Embedded | ClosedForm, data: RecommendationDataset, names: Sequence[str]) -> None:
    """Give a network the interactions, friendships and features of data."""
    edges = torch.stack([data.train.user, data.train.item])
    peer.graph.fill(edges, data.friends_2E)
    if isinstance(peer, Embedded) and peer.content is not None:
        found = [data.modalities[name] for name in names]
        there_I = torch.stack([each.there_I for each in found]).any(0)
        peer.content.fill(torch.cat([each.x_IF for each in found], 1), there_I)
    if isinstance(peer, Branch) and peer.feels is not None and data.emotion_I2 is not None:
        peer.felt_I.copy_(~data.emotion_I2.isnan().any(1))
        peer.emotion_I2.copy_(data.emotion_I2.nan_to_num())


def _as_it_is(cohort: Cohort, precision: Precision) -> None:
    """What is computed is there since the cohort was made."""


def rows_of_users(
    wanted: Interactions, seen: Sequence[Interactions], users: int, size: int
) -> Iterator[tuple[RankingInput, Wanted]]:
    """Batches of the users who want something, to rank all items but those that they saw."""
    wants, saw = ItemLists.of(users, wanted), ItemLists.of(users, *seen)
    for chunk in (wants.counts > 0).nonzero()[:, 0].split(size):
        yield RankingInput(chunk), Wanted.of(chunk, wants, saw)
