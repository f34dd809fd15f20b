"""Peers whose probabilities are as sure as they may be, after training: one temperature each.

A peer that is calibrated stays the network that it is, with the weights that it has; in evaluation
mode its logits come divided by its temperature, wherever they are asked for.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.evaluate import Forward, sound
from peerlearn.engine.settings import EvaluationSpec
from peerlearn.engine.task import Evaluator
from peerlearn.errors import InputError
from peerlearn.metrics.temperature import Fitted, fit_temperature
from peerlearn.transfer.outputs import as_peer_output

BEFORE = ("nll", "ece")
"""Metrics of the reported rows that are kept from before the calibration."""


class Division:
    """A forward hook: logits divided by a temperature, in evaluation mode.

    A tensor stays one; whatever else a network gives becomes a `PeerOutput`, whose `samples` are
    as they were.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        if module.training:
            return output
        if isinstance(output, Tensor):
            return output.float() / self.temperature
        read = as_peer_output(output, type(module).__name__)
        return read._replace(logits=read.logits.float() / self.temperature)


def set_temperature(peer: nn.Module, temperature: float | None) -> None:
    """From now on the peer's logits are divided by this instead; None for as they are."""
    for key, hook in list(peer._forward_hooks.items()):
        if isinstance(hook, Division):
            del peer._forward_hooks[key]
    if temperature is not None:
        peer.register_forward_hook(Division(temperature))


def temperature_of(peer: nn.Module) -> float | None:
    """What its logits are divided by; None where it was not calibrated."""
    hooks = [hook for hook in peer._forward_hooks.values() if isinstance(hook, Division)]
    return hooks[0].temperature if hooks else None


@contextmanager
def uncalibrated(peers: Iterable[nn.Module]) -> Iterator[None]:
    """Peers as they were trained, in this block."""
    known = {peer: temperature_of(peer) for peer in peers}
    try:
        for peer in known:
            set_temperature(peer, None)
        yield
    finally:
        for peer, temperature in known.items():
            set_temperature(peer, temperature)


def uncalibrate(cohort: Cohort) -> None:
    """Whatever its peers were calibrated by in a training before."""
    for peer in cohort.peers.values():
        set_temperature(peer, None)


def calibrate(
    cohort: Cohort, task: Evaluator | None, spec: EvaluationSpec, forward: Forward
) -> dict[str, dict[str, float]]:
    """Fit a temperature to every peer on validation rows, and put it into the peer.

    Returns, where anything was to be calibrated, by peer its `temperature`, the `validation_nll`
    with it and before, and of the rows that are reported the metrics `BEFORE`; these of the
    ensemble too, which averages the probabilities of calibrated peers and has no temperature of its
    own.
    """
    if task is None or spec.calibrate == "none":
        return {}
    before = sound(task.evaluate_reported, forward, task.metrics)
    everyone = before["peers"] | {"ensemble": before["ensemble"]}
    found: dict[str, dict[str, float]] = {}
    for name, fitted in _fitted(task, forward).items():
        set_temperature(cohort.peers[name], fitted.temperature)
        found[name] = {
            "temperature": fitted.temperature,
            "validation_nll_before": fitted.nll_before,
            "validation_nll": fitted.nll,
        }
    for name, measured in everyone.items():
        kept = {f"{metric}_before": measured[metric] for metric in BEFORE if metric in measured}
        found[name] = found.get(name, {}) | kept
    return found


def _fitted(task: Evaluator, forward: Forward) -> dict[str, Fitted]:
    logits: dict[str, list[Tensor]] = {}
    targets: list[Tensor] = []
    for rows in task.calibration_rows():
        for batch, y in forward(rows):
            targets.append(y)
            for name, z in batch.items():
                logits.setdefault(name, []).append(z)
    y = torch.cat(targets)
    return {name: fit_temperature(torch.cat(parts), y) for name, parts in logits.items()}


def temperature_in(path: Path) -> float | None:
    """The temperature that the header of a file of weights names; None where it names none.

    Raises InputError: it is none.
    """
    with safe_open(path, "pt") as file:
        said = (file.metadata() or {}).get("temperature")
    if said is None:
        return None
    try:
        temperature = float(said)
    except ValueError:
        temperature = math.nan
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"{path}: temperature: found {said!r}; expected a number above 0")
    return temperature
