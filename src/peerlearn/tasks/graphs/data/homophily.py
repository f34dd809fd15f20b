"""Whether neighbours share a class, by the labels that training or validation may read."""

from typing import NamedTuple

import torch

from peerlearn.tasks.graphs.data.datasets import NodeDataset

LOW = 0.3
"""Adjusted homophily under which networks that average neighbours may mislead each other.

In Platonov et al. (2023), tables 1 and 2, graphs lie above 0.55 or below 0.15.
"""
FEWEST = 20
"""Edges by which it is told at all."""


class Homophily(NamedTuple):
    """How often the two ends of an edge share their class.

    Attributes:
        edges: how many were counted, self-loops are not.
        share: of these, those between nodes of one class (edge homophily, Zhu et al. 2020).
        adjusted: `(share − Σ_c d_c²) / (1 − Σ_c d_c²)` with d_c the share of edges' ends in class
            c: 0 where edges do not care for classes, 1 where all join equal ones (Platonov et al.,
            "Characterizing Graph Datasets for Node Classification", NeurIPS 2023).
    """

    edges: int
    share: float
    adjusted: float

    @property
    def low(self) -> bool:
        """Whether neighbours seldom share a node's class."""
        return self.adjusted < LOW

    def __str__(self) -> str:
        said = f"edge homophily {self.share:.2f}, adjusted for chance {self.adjusted:.2f}"
        return f"{said} ({self.edges:,} edges between training and validation nodes)"


def homophily(data: NodeDataset) -> Homophily | None:
    """That of the edges whose ends are both in train or val; None where these are few."""
    known = torch.zeros(len(data.y), dtype=torch.bool)
    known[torch.cat([data.train, data.val])] = True
    known &= data.y.cpu() >= 0
    ends = data.graph.edge_index.cpu()
    ends = ends[:, known[ends].all(0) & (ends[0] != ends[1])]
    if ends.shape[1] < FEWEST:
        return None
    classes = data.y.cpu()[ends]
    share = float((classes[0] == classes[1]).double().mean())
    of_ends = torch.bincount(classes.flatten(), minlength=data.classes).double() / classes.numel()
    chance = float(of_ends.square().sum())
    adjusted = (share - chance) / (1 - chance) if chance < 1 else 1.0
    return Homophily(ends.shape[1], share, adjusted)
