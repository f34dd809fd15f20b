"""Whole cases to begin from: a tiny recipe of every task, and data that it reads."""

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.faults.fuzzing.case import Content
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.registry import find_recipe

Arrays = dict[str, NDArray[Any]]
RUNS = Path(__file__).parents[3] / "tests" / "fixtures" / "runs"
MLP = {"model": "mlp", "arguments": {"hidden": [4]}}
UNET = {"model": "unet", "arguments": {"width": 2, "levels": 1}}
QUICK = {"epochs": 1, "threads": 1, "device": "cpu", "precision": "fp32"}


class Base(NamedTuple):
    """A recipe, changes that make it tiny, and the arms that are kept."""

    recipe: str
    changes: Mapping[str, Any]
    arms: tuple[str, ...]


BASES = {
    "images": Base("dml", {"peers": {"a": MLP, "b": MLP}}, ("mutual", "independent")),
    "order": Base("renyi", {"peers": {"a": MLP, "b": MLP}}, ("mutual", "independent")),
    "styles": Base(
        "styles-classify",
        {
            "peers": {
                "teacher": {"model": "mlp", "arguments": {"hidden": [8]}},
                "s1": MLP,
                "s2": MLP,
            },
            "compression": None,
        },
        ("kdml-v4", "independent"),
    ),
    "masks": Base(
        "styles-segment",
        {"peers": {"teacher": UNET, "s1": UNET, "s2": UNET}, "compression": None},
        ("kdml-v4", "independent"),
    ),
    "nodes": Base(
        "gml-node",
        {
            "peers": {
                "gcn": {"model": "gcn", "arguments": {"hidden": 4}},
                "gat": {"model": "gat", "arguments": {"hidden": 2, "heads": 1}},
            }
        },
        ("full", "independent"),
    ),
    "graphs": Base(
        "gml-graph",
        {
            "peers": {
                "gcn": {"model": "gcn", "arguments": {"hidden": 4, "readout": "sum"}},
                "gin": {"model": "gin", "arguments": {"hidden": 4, "layers": 1}},
            }
        },
        ("full", "independent"),
    ),
    "discovery": Base(
        "discovery",
        {
            "peers.global": {"model": "cnn", "arguments": {"width": 0.25}, "compares": "pooled"},
            "stages.rotation.epochs": 1,
            "stages.supervised.epochs": 1,
            "batch_size": 16,
            "transfer.memory": 16,
        },
        ("dual", "kmeans"),
    ),
}


@cache
def _recipe(name: str) -> str:
    base = BASES[name]
    _, given = find_recipe(base.recipe)
    kept = {arm: given["arms"][arm] for arm in base.arms}
    file = f"{name}.npz" if name in ("masks", "nodes", "graphs") else "images.npz"
    config = apply_overrides(given, QUICK | {"data.name": file} | dict(base.changes))
    return yaml.safe_dump(config | {"arms": kept}, sort_keys=False)


def recipe(name: str) -> dict[str, Any]:
    """The tiny recipe of a base, as a mapping of one's own."""
    return yaml.safe_load(_recipe(name))


@cache
def options(name: str) -> tuple[tuple[str, Any], ...]:
    """Every option of a base by its dotted key, with its value."""
    found, given = find_recipe(BASES[name].recipe)
    config = found.resolve(apply_overrides(given, BASES[name].changes), {}).dump()
    return tuple((key, value) for key, value in _flat(config) if not key.startswith("arms"))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    made: list[tuple[str, Any]] = []
    for key, value in tree.items():
        made.append((f"{prefix}{key}", value))
        if isinstance(value, dict):
            made += _flat(value, f"{prefix}{key}.")
    return made


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An `.npz` file of arrays."""
    content: dict[str, Any] = dict(arrays)
    stream = io.BytesIO()
    np.savez(stream, **content)
    return stream.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    """An `.npy` file of an array, pickled where it holds objects."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def arrays(name: str) -> Arrays:
    """The arrays that a base reads."""
    return dict(_MAKERS[name]())


def data(name: str) -> dict[str, Content]:
    """The file that a base reads, by its name."""
    made = name if name in ("masks", "nodes", "graphs") else "images"
    return {f"{made}.npz": _file(made)}


@cache
def _file(name: str) -> bytes:
    return npz(arrays(name))


def _images() -> Arrays:
    made: Arrays = {}
    for part, rows in (("train", 24), ("val", 9), ("test", 9)):
        y = np.arange(rows) % 3
        noise = np.arange(rows * 64).reshape(rows, 8, 8) % 50
        made[f"x_{part}"] = (80 * y[:, None, None] + noise).astype(np.uint8)
        made[f"y_{part}"] = y
    return made


def _masks() -> Arrays:
    made: Arrays = {"classes": np.array(["ground", "tree", "house"])}
    for part, images in (("train", 6), ("val", 2), ("test", 2)):
        y = (np.arange(images * 64).reshape(images, 8, 8) // 3 % 3).astype(np.uint8)
        made[f"x_{part}"], made[f"y_{part}"] = 80 * y, y
    return made


def _nodes() -> Arrays:
    nodes = 18
    y, part = np.arange(nodes) % 3, np.arange(nodes) // 3 % 3
    ends = np.stack([np.arange(nodes), (np.arange(nodes) + 3) % nodes])
    return {
        "x": np.eye(3)[y], "y": y, "edge_index": ends, "train_mask": part == 0,
        "val_mask": part == 1, "test_mask": part == 2, "class_names": np.array(["a", "b", "c"]),
    }  # fmt: skip


def _graphs() -> Arrays:
    graphs = 18
    y = np.arange(graphs) % 3
    nodes = np.arange(3 * graphs)
    return {
        "edge_index": np.stack([nodes, nodes // 3 * 3 + (nodes + 1) % 3]),
        "ptr": np.arange(graphs + 1) * 3, "y": y, "node_label": y.repeat(3),
        "x": nodes[:, None] / 10.0, "split": np.arange(graphs) // 3 % 3,
    }  # fmt: skip


def _rows() -> Arrays:
    return {"x": _images()["x_test"], "y": _images()["y_test"]}


_MAKERS = {
    "images": _images, "masks": _masks, "nodes": _nodes, "graphs": _graphs, "rows": _rows,
}  # fmt: skip


@cache
def run_files(name: str) -> dict[str, bytes]:
    """The files of a finished run, by their paths in its folder."""
    return files_in(RUNS / name)


def files_in(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
