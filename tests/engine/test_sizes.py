"""Sizes of trained peers are told, and telling them changes nothing."""

import pytest
import torch
from tiny import tiny_trainer, weights
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine import result as result_module
from peerlearn.engine.precision import Precision
from peerlearn.engine.probes import peer_sizes
from peerlearn.results import one_seed

PLAIN = Precision(torch.device("cpu"), bf16=False, channels_last=False)


class Watched(nn.Module):
    """A linear layer that draws, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 3)
        self.norm = nn.BatchNorm1d(7)
        self.seen: list[tuple[tuple[int, ...], bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((tuple(x.shape), self.training, torch.is_grad_enabled()))
        return self.layer(self.norm(x)) + 0 * torch.rand(1)


def test_a_size_is_that_of_one_row() -> None:
    sizes = peer_sizes(Cohort({"a": nn.Linear(7, 3)}, "none"), torch.zeros(5, 7), PLAIN)["a"]
    assert (sizes["parameters"], sizes["multiply_adds"]) == (7 * 3 + 3, 7 * 3)
    assert 0 < sizes["latency_ms"] < 1000


def test_networks_and_generators_are_left_as_found() -> None:
    net = Watched()
    net.norm.eval()
    cohort = Cohort({"a": net}, "none")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    peer_sizes(cohort, torch.ones(5, 7), PLAIN)
    assert set(net.seen) == {((1, 7), False, False)}
    assert torch.equal(torch.get_rng_state(), state)
    assert (net.training, net.norm.training) == (True, False)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_shared_trunk_counts_for_every_peer() -> None:
    trunk = nn.Linear(7, 5)
    cohort = Cohort({"a": nn.Linear(5, 3)}, "none", trunk=trunk)
    sizes = peer_sizes(cohort, torch.zeros(2, 7), PLAIN)["a"]
    assert sizes["multiply_adds"] == 7 * 5 + 5 * 3
    assert sizes["parameters"] == 7 * 5 + 5 + 5 * 3 + 3


class NeedsTwoRows(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) < 2:
            raise RuntimeError("one row is too few")
        return super().forward(x)


def test_a_network_that_one_row_is_too_few_for_is_counted_all_the_same() -> None:
    cohort = Cohort({"a": NeedsTwoRows(7, 3)}, "none")
    assert peer_sizes(cohort, torch.zeros(2, 7), PLAIN) == {"a": {"parameters": 24}}
    assert peer_sizes(cohort, {"no": "tensor"}, PLAIN) == {"a": {"parameters": 24}}


def test_a_training_tells_the_sizes_of_its_peers_and_is_the_same_without() -> None:
    with_sizes = tiny_trainer()
    block = with_sizes.run().block
    assert set(block["sizes"]) == {"a", "b"}
    for sizes in block["sizes"].values():
        assert set(sizes) == {"parameters", "multiply_adds", "latency_ms"}
    wrapped = one_seed(block)["sizes"]["a"]["parameters"]
    assert wrapped["values"] == [block["sizes"]["a"]["parameters"]]

    without = tiny_trainer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_module, "peer_sizes", lambda *_: {})
        other = without.run().block
    assert weights(without) == weights(with_sizes)
    assert other["peers"] == block["peers"]
