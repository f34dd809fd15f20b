"""The networks that are compared, by name: a model and its arguments, for both sides alike."""

from collections.abc import Mapping
from typing import Any, NamedTuple

MUTUAL = "predictions: kl"
ADAM: dict[str, Any] = {"weight_decay": 5e-4}
LR = 0.01


class Network(NamedTuple):
    """A graph network: a name of `peerlearn ls models`, and all arguments that set its size."""

    model: str
    arguments: Mapping[str, Any]


Peers = Mapping[str, Network]


def gcns(count: int, hidden: int = 64, input_dropout: float = 0.5) -> Peers:
    """`count` graph convolutional networks of two layers."""
    arguments = {"hidden": hidden, "dropout": 0.5, "input_dropout": input_dropout}
    return {f"gcn{number}": Network("gcn", arguments) for number in range(count)}


def mixed() -> Peers:
    """One GCN, one GAT (as in its paper) and one GraphSAGE."""
    attention = {"hidden": 8, "heads": 8, "attention_dropout": 0.6}
    return {
        "gcn": Network("gcn", {"hidden": 64, "dropout": 0.5, "input_dropout": 0.5}),
        "gat": Network("gat", {**attention, "dropout": 0.6, "input_dropout": 0.6}),
        "sage": Network("sage", {"hidden": 64, "dropout": 0.5, "input_dropout": 0.5}),
    }
