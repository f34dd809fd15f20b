"""Memories of relations are refused where the machine has no room for them."""

import pytest
import torch
from torch import nn

import peerlearn
from peerlearn.errors import InputError


def test_a_memory_beyond_the_machine_is_refused_before_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerlearn.memory.available_memory", lambda: 1000)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> peerlearn.PeerOutput:
            return peerlearn.PeerOutput(self.out(x), {"pooled": x})

    transfer = {"knowledge": "relations", "layer": "pooled", "memory": 64}
    cohort = peerlearn.Cohort({"a": Net(), "b": Net()}, transfer=transfer)
    with pytest.raises(InputError, match=r"transfer.memory: 64 rows: needs 1.02 kB of memory"):
        cohort.transfer.prepare(cohort(torch.randn(4, 4)))
