"""Cases that were a fault once, with what is said of them now."""

import io
import json
from typing import Any

import numpy as np
import torch

from benchmarks.faults.fuzzing import raw_graphs
from benchmarks.faults.fuzzing.archives import npy_of, zip_of
from benchmarks.faults.fuzzing.bases import arrays, data, npy, npz, recipe, run_files
from benchmarks.faults.fuzzing.case import Case, Content, Fifo
from benchmarks.faults.fuzzing.settings import FILE, dumped


def reading(base: str, **files: Content) -> Case:
    """The recipe of a base, whose data are `odd.npz` or the folder `data` among the files."""
    config = recipe(base)
    name = "odd.npz" if "odd.npz" in files else "data"
    return Case(("read", FILE), {FILE: dumped(config | {"data": {"name": name}}), **files})


def images(**changes: bytes) -> dict[str, Content]:
    """A file of images with other `.npy` files in it."""
    made = {name: npy(array) for name, array in arrays("images").items()}
    return {"odd.npz": zip_of(made | changes)}


def planetoid(**changes: bytes) -> dict[str, Content]:
    """Raw files of a citation graph, some of them others."""
    files = raw_graphs.planetoid() | {f"ind.t.{name}": raw for name, raw in changes.items()}
    return {f"data/{name}": content for name, content in files.items()}


def opened(run: str, **changes: Content) -> Case:
    """A finished run with other files, asked about rows."""
    files = run_files(run) | changes
    rows = run_files("inputs")["rows.npz"]
    made = {f"run/{path}": content for path, content in files.items()}
    return Case(("inputs", "run", "rows.npz"), made | {"rows.npz": rows})


def told(base: str, *overrides: str) -> Case:
    """A recipe with overrides, checked."""
    return Case(("validate", FILE, *overrides), {FILE: dumped(recipe(base)), **data(base)})


def saved(state: Any) -> bytes:
    """What `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def _no_letters() -> Any:
    return np.full(9, 0x7FFFFFFF, np.uint32).view("U3")


def _data_of(run: str, **changes: Any) -> bytes:
    return json.dumps(json.loads(run_files(run)["data.json"]) | changes).encode()


FOUND: dict[str, tuple[Case, str]] = {
    "a header with an open bracket": (
        reading("images", **images(x_train=npy_of("(" * 500))),
        "x_train",
    ),
    "a pickle that asks for gigabytes": (
        reading("nodes", **planetoid(graph=b"\x80\x02}r\x00\x00\x00\x20")),
        "ind.t.graph: not a pickle of arrays, or damaged",
    ),
    "weights that are a pipe": (
        opened("predictions", **{"checkpoints/best/b.safetensors": Fifo()}),
        "b.safetensors: is a device, not a file",
    ),
    "a pipe among raw files": (
        reading("nodes", **planetoid() | {"data/ind.t.test.index": Fifo()}),
        "ind.t.test.index: is a device, not a file",
    ),
    "weights by number": (
        Case(("weights", "w.pt"), {"w.pt": saved({1: torch.zeros(2)})}),
        "holds a mapping with the keys 1",
    ),
    "an arm that is a list": (told("images", "arm=[1]"), "arm: expected the name of an arm"),
    "a number of 400 digits": (told("images", f"lr={'9' * 400}"), "a number of 400 digits"),
    "millions of names": (
        reading("masks", **{"odd.npz": npz(arrays("masks") | {"classes": np.zeros(2**20, "u1")})}),
        "1,048,576 names; allowed: up to 100,000",
    ),
    "letters that there are not": (
        reading("masks", **{"odd.npz": npz(arrays("masks") | {"classes": _no_letters()})}),
        "classes: holds bytes that are no text",
    ),
    "a file whose arm is a mapping": (
        Case(("validate", FILE), {FILE: dumped(recipe("images") | {"arm": {"a": 1}})}),
        "arm: expected the name of an arm",
    ),
    "a run on images of six dimensions": (
        opened("masks", **{"data.json": _data_of("masks", sample_shape=[1, 8, 8, 1, 8, 8])}),
        "sample_shape",
    ),
}
