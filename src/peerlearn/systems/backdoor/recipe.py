"""Backdoor removal (Huo & Wolter 2025): non-target training, then mutual learning on clean rows."""

from peerlearn.systems.backdoor.task import BackdoorTask
from peerlearn.systems.recipe import Recipe

BACKDOOR = Recipe(
    name="backdoor",
    title="Backdoor removal by non-target training and mutual learning",
    summary="a network that was trained on poisoned rows, purified with few clean ones",
    task=BackdoorTask,
)
