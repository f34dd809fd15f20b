"""Category discovery: labelled rows of known classes, unlabelled rows of new ones."""

from peerlearn.data.discovery.datasets import DiscoveryDataset
from peerlearn.data.discovery.info import DiscoveryInfo
from peerlearn.data.discovery.loaders import (
    evaluation_rows,
    paired_loader,
    rotation_loader,
    supervised_loader,
)
from peerlearn.data.discovery.registry import load_discovery
from peerlearn.data.discovery.spec import DiscoveryDataSpec

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
