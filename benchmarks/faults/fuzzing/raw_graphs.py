"""Cases about the raw files of public graph collections: texts and pickles."""

import gzip
import pickle
import zlib
from random import Random
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.faults.fuzzing.archives import Payload
from benchmarks.faults.fuzzing.bases import recipe
from benchmarks.faults.fuzzing.case import Case, Content, Folder
from benchmarks.faults.fuzzing.settings import FILE, dumped
from benchmarks.faults.fuzzing.values import scratched, text

CELLS = ("0", "1", "-1", "3", "99", "1.5", "nan", "inf", "1e400", "99999999999999999999", "x", "",
         "'1'", "é", "\x00", "1,1", "0x1", "#", "1;2")  # fmt: skip


def raw_graphs(draw: Random) -> Case:
    """A folder of texts or pickles as the collections publish them, with something odd in it."""
    base, files = draw.choice([("graphs", _tu()), ("graphs", _ogb()), ("nodes", planetoid())])
    for _ in range(draw.choice([1, 1, 2])):
        name = draw.choice(sorted(files))
        content = files[name]
        if isinstance(content, bytes):
            files[name] = _changed(draw, name, content)
        if draw.random() < 0.1:
            del files[name]
        elif draw.random() < 0.05:
            files[name] = Folder()
    config = recipe(base)
    config["data"] = {"name": "raw-files"}
    made = {f"raw-files/{name}": content for name, content in files.items()}
    return Case(("read", FILE), {FILE: dumped(config), **made})


def _changed(draw: Random, name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        try:
            cells = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):  # scratched before
            return scratched(draw, content)
        return (
            scratched(draw, content) if draw.random() < 0.3 else gzip.compress(_cell(draw, cells))
        )
    if name.endswith((".txt", ".index")):
        return _cell(draw, content) if draw.random() < 0.8 else scratched(draw, content)
    match draw.choice(["payload", "other", "object", "shape", "damage", "damage"]):
        case "payload":
            return pickle.dumps(Payload(), draw.choice([0, 2, 4]))
        case "other":
            others: list[Any] = [None, 3, [1], {}, {0: "a"}, {"a": [1]}, {0: [10**30]},
                {-1: [0]}, "x", b"x",
                      {0: None}, {0: 5}, [[]]]  # fmt: skip
            return pickle.dumps(draw.choice(others))
        case "object":
            return pickle.dumps(np.array([text(draw), None], dtype=object))
        case "shape":
            shapes = [(0, 3), (3, 0), (4,), (2, 2, 2), (5, 3), (1, 1)]
            return pickle.dumps(
                np.ones(draw.choice(shapes), draw.choice(["f4", "i4", "c8", "M8[s]"]))
            )
    return scratched(draw, content)


def _cell(draw: Random, content: bytes) -> bytes:
    lines = content.decode("utf-8", "replace").splitlines() or [""]
    place = draw.randrange(len(lines))
    match draw.choice(["cell", "cell", "line", "drop", "columns", "empty", "bom"]):
        case "cell":
            cells = lines[place].split(",")
            cells[draw.randrange(len(cells))] = draw.choice(CELLS)
            lines[place] = ",".join(cells)
        case "line":
            lines.insert(place, draw.choice(CELLS))
        case "drop":
            del lines[place]
        case "columns":
            lines = [f"{line},1" for line in lines]
        case "empty":
            lines = []
        case "bom":
            lines[0] = f"\ufeff{lines[0]}"
    return "\n".join(lines).encode()


def _table(rows: Any) -> bytes:
    table = np.atleast_2d(np.asarray(rows))
    table = table.T if np.ndim(rows) == 1 else table
    return "\n".join(", ".join(f"{cell:g}" for cell in row) for row in table).encode()


def _tu() -> dict[str, Content]:
    nodes = np.arange(36)
    return {
        "T_A.txt": _table(np.stack([nodes + 1, nodes // 3 * 3 + (nodes + 1) % 3 + 1], 1)),
        "T_graph_indicator.txt": _table(nodes // 3 + 1),
        "T_graph_labels.txt": _table(np.arange(12) % 2),
        "T_node_labels.txt": _table(nodes % 4),
        "T_node_attributes.txt": _table(np.stack([nodes / 7, nodes / 3], 1)),
    }


def _ogb() -> dict[str, Content]:
    nodes = np.arange(36)
    texts = {
        "raw/num-node-list": [3] * 12, "raw/num-edge-list": [1] * 12,
        "raw/edge": np.tile([[0, 1]], (12, 1)), "raw/graph-label": np.arange(12) % 2,
        "raw/node-feat": np.stack([nodes % 3, nodes % 2], 1), "split/scaffold/train": range(8),
        "split/scaffold/valid": [8, 9], "split/scaffold/test": [10, 11],
    }  # fmt: skip
    return {
        f"{name}.csv.gz": gzip.compress(_table(list(rows) if isinstance(rows, range) else rows))
        for name, rows in texts.items()
    }


def planetoid() -> dict[str, Content]:
    """The raw files of a citation graph."""
    x, y = np.eye(12)[:, :5], np.eye(3)[np.arange(12) % 3]
    parts = {
        "x": sp.csr_matrix(x[:4]), "y": y[:4], "allx": sp.csr_matrix(x[:8]), "ally": y[:8],
        "tx": sp.csr_matrix(x[8:]), "ty": y[8:],
        "graph": {node: [(node + 3) % 12] for node in range(12)},
    }  # fmt: skip
    files: dict[str, Content] = {
        f"ind.t.{name}": pickle.dumps(part, 2) for name, part in parts.items()
    }
    return files | {"ind.t.test.index": b"8\n9\n10\n11\n"}
