"""Graph files and cohorts that train in milliseconds, through the real recipes."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from overriding import parsed

from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.trainer import Trainer
from peerlearn.systems.registry import find_recipe

NODES, GRAPHS, CLASSES = 60, 40, 3
#: Edges are open from the first step on: three epochs prove nothing.
TRAINING = [
    "epochs=3", "batch_size=8", "threads=1", "evaluation.select=last", "transfer.proven=none"
]  # fmt: skip
PEERS = {
    "gml-node": [
        "peers.gcn.arguments={hidden: 6}",
        "peers.gat.arguments={hidden: 2, heads: 2}",
        "peers.sage.arguments={hidden: 6}",
    ],
    "gml-graph": [
        "peers.gcn.arguments={hidden: 6}",
        "peers.gin.arguments={hidden: 6, layers: 2}",
        "peers.sage=null",
    ],
    "gml-mlp": [
        "peers.gcn.arguments={hidden: 6}",
        "peers.gat=null",
        "peers.sage=null",
        "peers.mlp.arguments={hidden: 6}",
        "transfer.edges=[{from: gcn, to: mlp}]",
    ],
}


def node_arrays(seed: int = 0, **changes: Any) -> dict[str, np.ndarray]:
    """A directed graph whose edges mostly join equal classes, with two splits; None removes."""
    draw = np.random.default_rng(seed)
    y = np.arange(NODES) % CLASSES
    senders, receivers = draw.integers(0, NODES, (2, 6 * NODES))
    near = (y[senders] == y[receivers]) | (draw.random(6 * NODES) < 0.1)
    made = {
        "x": np.eye(CLASSES)[y].repeat(2, 1) + draw.random((NODES, 2 * CLASSES)),
        "y": y,
        "edge_index": np.stack([senders, receivers])[:, near],
        "split": np.stack([draw.permutation(np.repeat([0, 1, 2], NODES // 3)) for _ in range(2)]),
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def masks(column: np.ndarray) -> dict[str, np.ndarray | None]:
    """A split column as masks."""
    parts = {f"{part}_mask": column == n for n, part in enumerate(("train", "val", "test"))}
    return {"split": None, **parts}


def graph_arrays(seed: int = 0, **changes: Any) -> dict[str, np.ndarray]:
    """Rings of 3 to 8 nodes, classified by their size and labels, with four folds."""
    draw = np.random.default_rng(seed)
    y = np.arange(GRAPHS) % CLASSES
    ptr = np.append(0, np.cumsum(3 + y + draw.integers(0, 3, GRAPHS)))
    nodes = np.arange(ptr[-1])
    following = nodes + 1
    following[ptr[1:] - 1] = ptr[:-1]
    made = {
        "edge_index": np.stack([nodes, following]),
        "ptr": ptr,
        "y": y,
        "x": draw.random((len(nodes), 2)),
        "node_label": (y.repeat(np.diff(ptr)) + draw.integers(0, 2, len(nodes))) % 4,
        "fold": np.arange(GRAPHS) // CLASSES % 4,
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """The arrays as a file."""
    np.savez(path, **arrays)
    return path


def graph_trainer(
    recipe: str, data: Path | str, *overrides: str, folder: Path | None = None
) -> Trainer:
    """A trainer that is ready to run."""
    found, given = find_recipe(recipe)
    words = [*TRAINING, *PEERS[recipe], f"data.name={data}", *overrides]
    config = found.resolve(given, parsed(*words))
    trainer = found.build(config)
    if folder is not None:
        trainer.folder = RunFolder(folder)
        trainer.folder.open(config.dump(), resume=True)
    return trainer


def weights(trainer: Trainer) -> dict[str, list[float]]:
    """Every peer's weights and what the edges learned, as plain numbers, exact."""
    state = trainer.cohort.state_dict()
    return {name: tensor.double().flatten().tolist() for name, tensor in state.items()}


def plain(state: Any) -> Any:
    """Nested state with tensors as lists, so that `==` compares it."""
    if isinstance(state, torch.Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    return [plain(value) for value in state] if isinstance(state, list) else state


class StopAt:
    """Interrupts the run, as Ctrl-C does, at one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            if self.step == 0:
                os.kill(os.getpid(), signal.SIGINT)
            self.step -= 1
