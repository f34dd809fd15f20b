"""Signals are noted between steps, act at once elsewhere, and are not taken from others."""

import os
import signal

import pytest

from peerlearn.engine.interruption import SIGNALS, Interrupted, Interruption, interrupt_at_once


@pytest.fixture(autouse=True)
def handlers_as_before():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_acts(number: signal.Signals) -> None:
    with Interruption() as interruption:
        send(number)
        assert interruption.requested == number
        with pytest.raises(Interrupted) as stop:
            send(signal.SIGTERM)
    assert (stop.value.number, stop.value.status) == (signal.SIGTERM, 75)


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_training_a_signal_acts_at_once(number: signal.Signals) -> None:
    interrupt_at_once()
    with pytest.raises(Interrupted) as stop:
        send(number)
    interrupted = number == signal.SIGINT
    assert stop.value.status == (130 if interrupted else 75)
    assert str(stop.value) == ("interrupted" if interrupted else f"stopped by {number.name}")
    with Interruption() as interruption:
        send(number)
        assert interruption.requested == number
    with pytest.raises(Interrupted):
        send(number)


def test_a_signal_that_is_ignored_or_somebody_elses_is_left_alone() -> None:
    seen = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    interrupt_at_once()
    with Interruption() as interruption:
        send(signal.SIGHUP)
        send(signal.SIGUSR1)
        assert interruption.requested == 0
    assert seen == [signal.SIGUSR1]
