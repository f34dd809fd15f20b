"""What the edges of a graph learn themselves: weights of logits and temperatures, by peer."""

from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.transfer.outputs import PeerOutput
from peerlearn.transfer.predictions import class_last
from peerlearn.transfer.spec import EdgeSpec
from peerlearn.transfer.temperature import LearnedTemperature
from peerlearn.transfer.weighting import LogitWeighting


class AdaptiveParts(nn.Module):
    """The learned parts of a transfer graph, each owned by one peer of one of its entries."""

    def __init__(self) -> None:
        super().__init__()
        self.weightings = nn.ModuleDict()
        self.temperatures = nn.ModuleDict()

    def add(self, entry: int, spec: EdgeSpec, peers: Iterable[str], logits_RC: Tensor) -> None:
        """Make what an entry asks for, where it is not there yet.

        Args:
            entry: number of the entry.
            spec: its options.
            peers: who takes part, the learner first.
            logits_RC: of any of them, class dimension last; only the shape counts.
        """
        rows, classes = logits_RC[..., 0].numel(), logits_RC.shape[-1]
        learner, *_ = names = list(peers)
        if spec.weighting.by != "none":
            for peer in names:
                if _key(entry, peer) not in self.weightings:
                    weighting = LogitWeighting(spec.weighting, rows, classes)
                    self.weightings[_key(entry, peer)] = weighting.to(logits_RC.device)
        if spec.temperature == "learned":
            temperature = LearnedTemperature(classes, *spec.temperature_range)
            self.temperatures[_key(entry, learner)] = temperature.to(logits_RC.device)

    def check(self, entry: int, spec: EdgeSpec, learner: str) -> None:
        """Raise `InputError` where an entry needs parts that were never made."""
        key = _key(entry, learner)
        if (spec.weighting.by != "none" and key not in self.weightings) or (
            spec.temperature == "learned" and key not in self.temperatures
        ):
            raise InputError(
                "transfer: weighting and a learned temperature have parameters of their own; "
                "call cohort.transfer.prepare(cohort(x)) once before training"
            )

    def weightings_of(self, entry: int) -> dict[str, LogitWeighting]:
        """The weightings of one entry by peer; empty where it has none."""
        return {peer: part for number, peer, part in self._weightings() if number == entry}

    def temperature(self, entry: int, learner: str, logits_RC: Tensor) -> Tensor:
        """A learned temperature for each row, (R, 1)."""
        return self.temperatures[_key(entry, learner)](logits_RC)

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        """What is learned on behalf of one peer."""
        parts = (*self.weightings.items(), *self.temperatures.items())
        return [p for key, part in parts if _peer(key) == peer for p in part.parameters()]

    def supervision(
        self, outputs: Mapping[str, PeerOutput], targets: Tensor | None, labelled: Tensor | None
    ) -> Iterator[tuple[str, Tensor]]:
        """Cross-entropy of weighted logits by peer, which trains the weights and nothing else.

        The divergences alone would train them towards logits on which everyone agrees.
        """
        for _, peer, weighting in self._weightings():
            if weighting.spec.supervision == 0:
                continue
            if targets is None or targets.is_floating_point():
                raise InputError(
                    "transfer.weighting: weights learn from class labels; pass targets, or set "
                    "supervision: 0"
                )
            logits_RC = class_last(outputs[peer].logits).detach().float()
            mask = torch.ones_like(targets, dtype=torch.bool) if labelled is None else labelled
            weighted_RC = weighting(logits_RC) * logits_RC
            loss = F.cross_entropy(weighted_RC[mask], targets[mask], reduction="sum")
            yield peer, weighting.spec.supervision * loss / mask.sum().clamp_min(1)

    def _weightings(self) -> Iterator[tuple[int, str, LogitWeighting]]:
        for key, part in self.weightings.items():
            assert isinstance(part, LogitWeighting)
            yield int(key.partition(":")[0]), _peer(key), part


def _key(entry: int, peer: str) -> str:
    return f"{entry}:{peer}"


def _peer(key: str) -> str:
    return key.partition(":")[2]
