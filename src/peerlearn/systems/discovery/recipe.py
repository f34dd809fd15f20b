"""Category discovery (Zhao & Han 2021; Han et al. 2020): a global and a local branch."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _discovery_task() -> type[Any]:
    from peerlearn.tasks.discovery.task import DiscoveryTask

    return DiscoveryTask


DISCOVERY = Recipe(
    name="discovery",
    title="Category discovery",
    summary="New classes among unlabelled images, by two branches that teach each other",
    find_task=_discovery_task,
)
