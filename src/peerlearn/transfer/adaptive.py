"""What the edges of a graph learn themselves: weights of logits, temperatures, adapters."""

from collections.abc import Collection, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.transfer.feature_loss import adapter_for
from peerlearn.transfer.lessons import Exchange, Lesson
from peerlearn.transfer.predictions import class_last
from peerlearn.transfer.temperature import LearnedTemperature
from peerlearn.transfer.weighting import LogitWeighting


class AdaptiveParts(nn.Module):
    """The learned parts of a transfer graph, each owned by one peer of one of its entries."""

    def __init__(self) -> None:
        super().__init__()
        self.weightings = nn.ModuleDict()
        self.temperatures = nn.ModuleDict()
        self.adapters = nn.ModuleDict()
        self._prepared: set[int] = set()

    def add(self, lesson: Lesson, exchange: Exchange) -> None:
        """Make what a lesson needs, for batches of the shape of `exchange`."""
        self._prepared.add(lesson.entry)
        if lesson.spec.knowledge == "features":
            self._add_adapters(lesson, exchange)
        elif lesson.spec.knowledge == "predictions":
            self._add_to_predictions(lesson, class_last(exchange.outputs[lesson.learner].logits))

    def _add_adapters(self, lesson: Lesson, exchange: Exchange) -> None:
        for teacher in lesson.teachers:
            adapter = adapter_for(lesson, teacher, exchange)
            if adapter is not None:
                self.adapters[_key(lesson.entry, lesson.learner, teacher)] = adapter

    def _add_to_predictions(self, lesson: Lesson, logits_RC: Tensor) -> None:
        spec, entry = lesson.spec, lesson.entry
        rows, classes = logits_RC[..., 0].numel(), logits_RC.shape[-1]
        if spec.weighting.by != "none":
            for peer in lesson.peers:
                if _key(entry, peer) not in self.weightings:
                    weighting = LogitWeighting(spec.weighting, rows, classes)
                    self.weightings[_key(entry, peer)] = weighting.to(logits_RC.device)
        if spec.temperature == "learned":
            temperature = LearnedTemperature(classes, *spec.temperature_range)
            self.temperatures[_key(entry, lesson.learner)] = temperature.to(logits_RC.device)

    def check(self, lesson: Lesson) -> None:
        """Raise `InputError` where a lesson needs parts that were never made."""
        spec = lesson.spec
        needy = (
            spec.weighting.by != "none"
            or spec.temperature == "learned"
            or (spec.knowledge == "features" and spec.feature_loss == "hint")
        )
        if needy and lesson.entry not in self._prepared:
            raise InputError(
                "transfer: weighting, learned temperatures and hints have parameters of their "
                "own; call cohort.transfer.prepare(cohort(x)) once before training"
            )

    def weightings_of(self, entry: int) -> dict[str, LogitWeighting]:
        """The weightings of one entry by peer; empty where it has none."""
        return {peer: part for number, peer, part in self._weightings() if number == entry}

    def temperature(self, entry: int, learner: str, logits_RC: Tensor) -> Tensor:
        """A learned temperature for each row, (R, 1)."""
        return self.temperatures[_key(entry, learner)](logits_RC)

    def adapters_of(self, lesson: Lesson) -> dict[str, nn.Module]:
        """The adapters of one lesson by teacher; a teacher that needs none has none."""
        keys = {teacher: _key(lesson.entry, lesson.learner, teacher) for teacher in lesson.teachers}
        return {t: self.adapters[key] for t, key in keys.items() if key in self.adapters}

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        """What is learned on behalf of one peer."""
        parts = (*self.weightings.items(), *self.temperatures.items(), *self.adapters.items())
        return [p for key, part in parts if _peer(key) == peer for p in part.parameters()]

    def supervision(
        self, exchange: Exchange, peers: Collection[str]
    ) -> Iterator[tuple[str, Tensor]]:
        """Cross-entropy of weighted logits by peer, which trains the weights and nothing else.

        The divergences alone would train them towards logits on which everyone agrees.
        """
        targets, labelled = exchange.targets, exchange.labelled
        for _, peer, weighting in self._weightings():
            if weighting.spec.supervision == 0 or peer not in peers:
                continue
            if targets is None or targets.is_floating_point():
                raise InputError(
                    "transfer.weighting: weights learn from class labels; pass targets, or set "
                    "supervision: 0"
                )
            logits_RC = class_last(exchange.outputs[peer].logits).detach().float()
            mask = torch.ones_like(targets, dtype=torch.bool) if labelled is None else labelled
            weighted_RC = weighting(logits_RC) * logits_RC
            loss = F.cross_entropy(weighted_RC[mask], targets[mask], reduction="sum")
            yield peer, weighting.spec.supervision * loss / mask.sum().clamp_min(1)

    def _weightings(self) -> Iterator[tuple[int, str, LogitWeighting]]:
        for key, part in self.weightings.items():
            assert isinstance(part, LogitWeighting)
            yield int(key.partition(":")[0]), _peer(key), part


def _key(entry: int, *peers: str) -> str:
    """Of a part: the entry, the peer that owns it, and where it has one the teacher."""
    return ":".join([str(entry), *peers])


def _peer(key: str) -> str:
    return key.split(":")[1]
