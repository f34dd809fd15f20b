"""Category discovery (Zhao & Han 2021; Han et al. 2020): a global and a local branch."""

from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.discovery.task import DiscoveryTask

DISCOVERY = Recipe(
    name="discovery",
    title="Category discovery",
    summary="New classes among unlabelled images, by two branches that teach each other",
    task=DiscoveryTask,
)
