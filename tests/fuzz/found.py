"""Cases that were a fault once, with what is said of them now."""

import io
from typing import Any

import torch

from benchmarks.faults.fuzzing import raw_graphs
from benchmarks.faults.fuzzing.archives import npy_of, zip_of
from benchmarks.faults.fuzzing.bases import arrays, data, npy, recipe
from benchmarks.faults.fuzzing.case import Case, Content
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


def told(base: str, *overrides: str) -> Case:
    """A recipe with overrides, checked."""
    return Case(("validate", FILE, *overrides), {FILE: dumped(recipe(base)), **data(base)})


def saved(state: Any) -> bytes:
    """What `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


FOUND: dict[str, tuple[Case, str]] = {
    "a header with an open bracket": (
        reading("images", **images(x_train=npy_of("(" * 500))),
        "x_train",
    ),
    "a pickle that asks for gigabytes": (
        reading("nodes", **planetoid(graph=b"\x80\x02}r\x00\x00\x00\x20")),
        "ind.t.graph: not a pickle of arrays, or damaged",
    ),
    "weights by number": (
        Case(("weights", "w.pt"), {"w.pt": saved({1: torch.zeros(2)})}),
        "holds a mapping with the keys 1",
    ),
}
