"""Backdoor removal (Huo & Wolter 2025): non-target training, then mutual learning on clean rows."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _backdoor_task() -> type[Any]:
    from peerlearn.systems.backdoor.task import BackdoorTask

    return BackdoorTask


BACKDOOR = Recipe(
    name="backdoor",
    title="Backdoor removal by non-target training and mutual learning",
    summary="a network that was trained on poisoned rows, purified with few clean ones",
    find_task=_backdoor_task,
)
