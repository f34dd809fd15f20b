"""What is read of losses while training goes on, and when."""

from types import SimpleNamespace

import pytest
import torch

from peerlearn.cohort import PeerLoss
from peerlearn.engine.monitor import EpochMonitor
from peerlearn.engine.steps import StepResult


def result(*losses) -> StepResult:
    parts = {
        name: PeerLoss(torch.tensor(loss), torch.tensor(0.5))
        for name, loss in zip("ab", losses, strict=False)
    }
    return StepResult(0, parts, {}, None, None)


def test_the_latest_loss_is_the_mean_over_peers_smoothed():
    monitor = EpochMonitor("ab", torch.device("cpu"))
    assert monitor.latest is None
    monitor.add(0, result(1.0, 2.0))
    assert monitor.latest == pytest.approx(2.0)  # mean of 1.5 and 2.5
    monitor.add(1, result(2.0, 3.0))
    assert monitor.latest == pytest.approx(2.0 + 0.1 * (3.0 - 2.0))


def test_an_accelerator_is_waited_for_after_many_steps_or_half_a_second(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    monitor, looks = EpochMonitor("a", torch.device("cuda")), []
    check = monitor.check
    monitor.check = lambda: (looks.append(number), check())
    for number in range(120):
        monitor.add(number, result(1.0))  # steps that take no time
    assert looks == [49, 99]
    for number in range(4):
        clock.now += 0.3
        monitor.add(number, result(1.0))
    assert looks == [49, 99, 1, 3]
