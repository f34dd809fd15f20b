"""Category discovery: labelled rows of known classes, unlabelled rows of new ones."""

from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset
from peerlearn.tasks.discovery.data.info import DiscoveryInfo
from peerlearn.tasks.discovery.data.loaders import (
    evaluation_rows,
    paired_loader,
    rotation_loader,
    supervised_loader,
)
from peerlearn.tasks.discovery.data.registry import load_discovery
from peerlearn.tasks.discovery.data.spec import DiscoveryDataSpec

__all__ = [
    "DiscoveryDataSpec",
    "DiscoveryDataset",
    "DiscoveryInfo",
    "evaluation_rows",
    "load_discovery",
    "paired_loader",
    "rotation_loader",
    "supervised_loader",
]
