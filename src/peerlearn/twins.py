"""Peers that begin alike and stay alike: whatever one of them learns the other learns too.

Networks with equal weights make equal predictions, so what an edge between them teaches is nothing,
for ever, where nothing else tells them apart (Deep Mutual Learning needs peers that differ).
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import nn

from peerlearn.transfer.graph import TransferGraph


def twins(peers: Mapping[str, nn.Module] | nn.ModuleDict, transfer: TransferGraph) -> list[str]:
    """Pairs such as "a and b" that an edge joins, and whom nothing that is known here tells apart.

    That are equal weights; no dropout or weights that are drawn, which differ from peer to peer;
    equal edges from others; and no parameters of the edges' own, which are drawn for each.
    """
    edges = [edge for edge in transfer.edges() if edge["from"] != edge["to"]]
    pairs = [sorted((edge["from"], edge["to"])) for edge in edges]
    found = []
    for a, b in combinations(peers, 2):
        if sorted((a, b)) not in pairs or transfer.parameters_of(a) or transfer.parameters_of(b):
            continue
        taught = [_taught(edges, learner, other) for learner, other in ((a, b), (b, a))]
        if taught[0] == taught[1] and _alike(peers[a], peers[b]):
            found.append(f"{a} and {b}")
    return found


def said_of(pairs: list[str]) -> str:
    """What there is to say of `twins`."""
    return (
        f"peers {', '.join(pairs)} begin with the same weights, so they predict the same for the "
        "whole training and teach each other nothing; make them from different seeds, or give "
        "them different networks, views or weights"
    )


def _taught(edges: list[dict[str, Any]], learner: str, other: str) -> list[str]:
    """What others teach a learner, in an order of its own."""
    mine = (edge for edge in edges if edge["to"] == learner and edge["from"] != other)
    return sorted(repr(sorted((edge | {"to": ""}).items())) for edge in mine)


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks of one kind have equal weights, at least one, and draw nothing."""
    mine, theirs = one.state_dict(), other.state_dict()
    if type(one) is not type(other) or mine.keys() != theirs.keys():
        return False
    if any(_draws(module) for module in one.modules()):
        return False
    tensors = [(mine[key], theirs[key]) for key in mine]
    weights = list(one.parameters())
    if not weights or any(isinstance(w, nn.parameter.UninitializedParameter) for w in weights):
        return False
    return all(
        isinstance(a, torch.Tensor) and a.shape == b.shape and torch.equal(a, b.to(a.device))
        for a, b in tensors
    )


def _draws(module: nn.Module) -> bool:
    return "drop" in type(module).__name__.lower() or hasattr(module, "random_names")
