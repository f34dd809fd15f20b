"""What data were when a run began, so that it is not continued on others without a word.

Counts, shapes, names of classes, and hashes: of labels, of names and sizes of files, and of rows,
all of them where they are few, else a sample.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.account import counted, some
from peerlearn.data.datasets import Split

WHOLE = 64 * 1024**2
"""Bytes up to which every row is hashed."""
SAMPLED = 64
"""Rows that are hashed of data that are larger."""

Fingerprint = dict[str, Any]


def data_fingerprint(data: Any) -> Fingerprint:
    """What can be compared of a data set, by the names of its attributes; to be kept as JSON."""
    if not dataclasses.is_dataclass(data):
        return {}
    found: Fingerprint = {}
    for field in dataclasses.fields(data):
        value = getattr(data, field.name)
        if field.name == "class_names":
            found["classes"] = list(value)
        elif isinstance(value, Split):
            found[field.name] = split_fingerprint(value)
        elif isinstance(getattr(value, "edge_index", None), Tensor):
            for name in ("x", "edge_index"):
                found[name] = {"content": digest(getattr(value, name))}
        elif isinstance(value, Mapping):
            tables = ((f"{field.name}.{key}", _table(each)) for key, each in value.items())
            found |= {name: table for name, table in tables if table}
        elif table := _table(value):
            found[field.name] = table
    return found


def _table(value: Any) -> dict[str, Any] | None:
    """Rows and content of a tensor, of tensors of as many rows, or of texts; None of others."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "UO":
        return {"rows": len(value), "content": digest_of_text(list(map(str, value)))}
    columns = [value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        columns = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if not columns or not all(isinstance(each, Tensor) for each in columns):
        return None
    return {"rows": len(columns[0]), "content": digest(columns)}


def file_fingerprint(path: Path) -> dict[str, str]:
    """What can be compared of a file that is read whole, such as one of weights."""
    with path.open("rb") as file:
        return {"content": hashlib.file_digest(file, "blake2b").hexdigest()[:16]}


def digest_of_text(value: Any) -> str:
    """A hash of what can be kept as JSON, such as parts of a fingerprint."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, in words; of an older one, what both hold."""
    said, found = [], {_field(name): value for name, value in now.items()}
    for name, was in before.items():
        if _field(name) not in found:
            said.append(f"{name} is not there any more")
        elif was != found[_field(name)]:
            said += list(_changed(name, was, found[_field(name)]))
    return said


def files_of(found: Fingerprint) -> list[str]:
    """The keys of a configuration that name files of which a fingerprint was taken."""
    return [_field(name) for name in found if _field(name) != name]


def _field(name: str) -> str:
    """Of `peers.a.weights: FILE` the key alone: a file is the same wherever it is."""
    return name.partition(": ")[0]


def _changed(name: str, was: Any, now: Any) -> Iterator[str]:
    if name == "classes":
        yield f"classes were {some(was, 10)}, now {some(now, 10)}"
        return
    fewer = was.get("rows", 0) - now.get("rows", 0)
    if fewer:
        counts = f"{was['rows']:,}, now {now['rows']:,}"
        count = counted(abs(fewer), "row")
        yield f"{count} {'fewer' if fewer > 0 else 'more'} in {name}: {counts}"
        return
    if was.get("shape") != now.get("shape"):
        yield f"rows of {name} had shape {was['shape']}, now {now['shape']}"
        return
    for key, words in (
        ("labels", "labels of {} differ"),
        ("files", "files of {} have other names or sizes"),
        ("content", "x of {} differs" if "shape" in was else "{} differs"),
        ("sample", "x of {} differs in sampled rows"),
    ):
        if key in was and was[key] != now.get(key, was[key]):
            yield words.format(name)


def split_fingerprint(split: Split) -> dict[str, Any]:
    """What can be compared of the rows of one split."""
    found: dict[str, Any] = {"rows": len(split), "shape": list(split.sample_shape)}
    paths = split.paths()
    if paths:
        named = [(p.parent.name, p.name, p.stat().st_size) for p in paths]
        found["files"] = hashlib.blake2b(repr(named).encode(), digest_size=8).hexdigest()
    found["labels"] = digest(split.strata if paths else split.y)
    if split.drawn_anew:  # whose rows may be random by means of their own
        return found
    whole = not paths and split.nbytes <= WHOLE
    count = len(split) if whole else min(SAMPLED, len(split))
    if count:
        index = torch.linspace(0, len(split) - 1, count).long()
        found["content" if whole else "sample"] = digest(split.rows(index), split.targets(index))
    return found


def digest(*values: Any) -> str:
    """A hash of tensors, also in mappings and sequences, such as rows with several inputs."""
    state = hashlib.blake2b(digest_size=8)
    for part in _tensors(values):
        if part.nbytes > WHOLE:  # of memory that is evenly walked through
            part = part[:: part.nbytes // WHOLE + 1]
        state.update(f"{part.dtype} {tuple(part.shape)}".encode())
        state.update(bytes_of(part))
    return state.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """The values of a tensor on the CPU, bit for bit, in order of its dimensions."""
    flat = tensor.detach().reshape(-1)
    if flat.stride(0) != 1:  # also of one element or none, which `contiguous` leaves as it is
        flat = torch.empty_like(flat, memory_format=torch.contiguous_format).copy_(flat)
    return flat.view(torch.uint8).numpy().data


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Mapping):
        value = [each for _, each in sorted(value.items())]
    if isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, Tensor):
        value = value.detach().cpu()
        if value.layout == torch.sparse_csr:
            yield from (value.crow_indices(), value.col_indices(), value.values())
        else:
            yield value
