"""A network that the machine cannot hold is refused before it is built."""

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.models import build_model


def test_a_network_beyond_the_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerlearn.memory.available_memory", lambda: 10**9)
    with pytest.raises(InputError, match=r"model: needs .* GB of memory, and 1 GB are available"):
        build_model("mlp", (64,), classes=10, arguments={"hidden": [60000, 60000]})


def test_asking_changes_neither_weights_nor_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    asked = build_model("cnn", (1, 8, 8), classes=10).state_dict()
    after = torch.rand(1)
    monkeypatch.setattr("peerlearn.models.registry._weight_bytes", lambda build: 0)
    torch.manual_seed(0)
    plain = build_model("cnn", (1, 8, 8), classes=10).state_dict()
    assert all(torch.equal(asked[name], plain[name]) for name in plain)
    assert torch.equal(after, torch.rand(1))
