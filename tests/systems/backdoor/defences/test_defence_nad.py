"""Neural Attention Distillation against its definition."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_backdoor import clean_rows, made, poisoned, read, state
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.systems.backdoor.defences import nad
from peerlearn.systems.backdoor.defences.nad import attention, distances, in_two_parts
from peerlearn.systems.backdoor.defences.tuning import MOMENTUM, WEIGHT_DECAY
from peerlearn.transfer.outputs import PeerOutput


def test_attention_is_the_power_of_all_channels_at_unit_norm() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = attention(x)
    expected = x[:, 0] ** 2 + x[:, 1] ** 2 + x[:, 2] ** 2
    assert torch.allclose(found, expected / expected.flatten(1).norm(dim=1).view(2, 1, 1))
    assert torch.allclose(attention(5 * x), found, atol=1e-6), "the scale has no say"
    assert torch.equal(attention(torch.zeros(1, 2, 3, 3)), torch.zeros(1, 3, 3))


def test_identical_networks_are_at_no_distance_and_others_are() -> None:
    given = poisoned()
    twin = copy.deepcopy(given.network)
    x = read(given.test.x[:8])
    for weight in (*given.network.parameters(), *twin.parameters()):
        weight.requires_grad_(False)
    maps = [list(net(x).features.values())[:3] for net in (given.network, twin)]
    assert [float(each) for each in distances(*maps)] == [0, 0, 0]
    twin.stages[1][0].weight.add_(0.1)
    moved = list(twin(x).features.values())[:3]
    apart = [float(each) for each in distances(maps[0], moved)]
    assert apart[0] == 0 and apart[1] > 0 and apart[2] > 0


def test_the_teacher_is_a_tuned_copy_and_stays_as_it_is(monkeypatch: Any) -> None:
    tuned: list[tuple[nn.Module, dict[str, list[float]]]] = []
    plain = nad.fine_tune

    def watched(network: nn.Module, *args: Any, **options: Any) -> None:
        plain(network, *args, **options)
        tuned.append((network, state(network)))

    monkeypatch.setattr(nad, "fine_tune", watched)
    network = poisoned().network
    before = state(network)
    made("nad", teacher_epochs=2, epochs=2).purify(network, clean_rows())
    (teacher, then), (student, _) = tuned
    assert student is network and teacher is not network
    assert then != before, "the teacher was not tuned"
    assert state(teacher) == then, "the teacher changed while it taught"
    assert not teacher.training


def test_one_step_is_that_of_the_definition() -> None:
    network = poisoned().network
    network.drop.p = 0.0
    clean = clean_rows(batch=96)  # one step an epoch
    x, y = next(clean.epoch(0))
    teacher, student = copy.deepcopy(network).train(), copy.deepcopy(network).train()
    _step(teacher, F.cross_entropy(teacher(x).logits, y))
    teacher.eval()
    told, shown = student(x), teacher(x)
    loss = F.cross_entropy(told.logits, y)
    for name, beta in (("stage1", 30.0), ("stage2", 70.0)):
        apart = attention(told.features[name]) - attention(shown.features[name].detach())
        loss = loss + beta * apart.square().mean()
    _step(student, loss)
    made("nad", teacher_epochs=1, epochs=1, betas=[30, 70]).purify(network, clean)
    for found, wanted in zip(network.parameters(), student.parameters(), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


def _step(network: nn.Module, loss: Tensor) -> None:
    loss.backward()
    torch.optim.SGD(network.parameters(), 0.01, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY).step()


def test_the_learning_rate_falls_once() -> None:
    assert [in_two_parts(epoch, 100) for epoch in (0, 19, 20, 99)] == [1, 1, 0.01, 0.01]


class Maps(nn.Module):
    """Names as many maps as it is told."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> PeerOutput:
        x = self.layer(x)
        features = {f"map{n}": x for n in range(self.count)} | {"pooled": x.mean((2, 3))}
        return PeerOutput(x.mean((2, 3)), features)


def test_a_network_that_names_too_few_maps_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match="'nad': the network names no maps; its forward must retu"):
        made("nad").purify(Maps(0), clean_rows())
    with pytest.raises(
        InputError, match=r"betas has 3 numbers.*names map0, map1; allowed: up to 2"
    ):
        made("nad").purify(Maps(2), clean_rows())
    made("nad", epochs=1, teacher_epochs=1, betas=[1, 2]).purify(Maps(2), clean_rows())
