"""Rows that are in two parts at once, so that what is measured was trained on, or chosen by.

Rows in memory are equal where all their numbers are. Of items that a torch `Dataset` reads one by
one nothing is compared but their places in a data set that two parts share.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from peerlearn.data.account import Account
from peerlearn.data.datasets import PlacedSplit, Source, Split
from peerlearn.data.image_folder import LazySplit
from peerlearn.data.images import over_files
from peerlearn.data.items import ItemSplit, NamedRows

MOST_ROWS = 100_000
"""Rows in memory, of all parts together, up to which they are compared."""
MOST_BYTES = 2 * 1024**3
HASHED_AT_ONCE = 1024
PARTS = ("train", "val", "test")
CONTENT = ("data", "samples", "x", "tensors")
"""Where data sets keep what tells that two of them hold the same rows, as torchvision's do."""

Places = NDArray[np.int64]


def with_shared_rows(source: Source[Any]) -> Source[Any]:
    """A source whose account tells of rows that two of its parts have in common."""
    parts = {part: getattr(source, part) for part in PARTS}
    notes = shared_rows({part: split for part, split in parts.items() if split is not None})
    return source._replace(account=source.account + Account(notes=notes)) if notes else source


def shared_rows(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """A sentence for every two splits that have rows in common.

    Files are equal where their bytes are; more rows than `MOST_ROWS` are not compared, in files or
    in memory.
    """
    found = _keys(splits) | _of_files(splits)
    told = []
    for (one, mine), (other, theirs) in combinations(found.items(), 2):
        common = sum(int(np.isin(theirs[base], mine[base]).sum()) for base in mine.keys() & theirs)
        if common:
            verb = "is" if common == 1 else "are"
            told.append(f"{common:,} of {len(splits[other]):,} rows of {other} {verb} in {one} too")
    return tuple(told)


def _keys(splits: Mapping[str, Split]) -> dict[str, dict[int, Places]]:
    """By split, what its rows are known by: numbers, apart for each data set that they are of."""
    bases: list[Any] = []
    held: dict[str, list[tuple[Any, Places]]] = {}
    for part, split in splits.items():
        if isinstance(split, ItemSplit):
            held[part] = list(_flat(split.items.data, split.places.numpy()))
        elif isinstance(split, PlacedSplit):
            held[part] = [(TensorDataset(split.whole), split.places.numpy())]
        elif not split.paths():
            held[part] = [(TensorDataset(split.x), np.arange(len(split)))]
    every = [(base, len(places)) for each in held.values() for base, places in each]
    tensors = [inner for base, _ in every for inner in _inputs(base) or ()]
    hashed = (
        all(_inputs(base) is not None for base, _ in every)
        and sum(rows for _, rows in every) <= MOST_ROWS
        and sum(each.nbytes for each in tensors) <= MOST_BYTES
    )
    found: dict[str, dict[int, Places]] = {}
    for part, each in held.items():
        keys: dict[int, list[Places]] = {}
        for base, places in each:
            if hashed:
                keys.setdefault(-1, []).append(_hashes(_inputs(base) or (), places))
            else:
                keys.setdefault(_number(base, bases), []).append(places)
        found[part] = {number: np.concatenate(several) for number, several in keys.items()}
    return found


def _of_files(splits: Mapping[str, Split]) -> dict[str, dict[int, Places]]:
    """The same of rows that are files: hashes of those of which another part has one as large."""
    files = {
        part: split.files.paths for part, split in splits.items() if isinstance(split, LazySplit)
    }
    if sum(map(len, files.values())) > MOST_ROWS:
        return {}
    sizes = {part: [path.stat().st_size for path in paths] for part, paths in files.items()}
    parts_of = Counter(size for each in sizes.values() for size in set(each))
    if sum(size for each in sizes.values() for size in each if parts_of[size] > 1) > MOST_BYTES:
        return {}
    hashes = {}
    for part, paths in files.items():
        pairs = zip(paths, sizes[part], strict=True)
        alike = [path for path, size in pairs if parts_of[size] > 1]
        hashes[part] = {-1: np.array(over_files(_content, alike), np.int64)}
    return hashes


def _content(path: Path) -> int:
    try:
        return hash(path.read_bytes())
    except OSError:  # told where it is decoded
        return hash(str(path))


def _flat(data: Any, places: Places) -> Iterator[tuple[Any, Places]]:
    """The data sets that rows are of in the end, with their places there."""
    if isinstance(data, Subset):
        yield from _flat(data.dataset, np.asarray(data.indices, np.int64)[places])
    elif isinstance(data, ConcatDataset):
        ends = np.asarray(data.cumulative_sizes)
        of = np.searchsorted(ends, places, "right")
        for number, inner in enumerate(data.datasets):
            start = int(ends[number - 1]) if number else 0
            yield from _flat(inner, places[of == number] - start)
    else:
        yield data, places


def _number(base: Any, bases: list[Any]) -> int:
    """The place of a data set among those seen, where one with the same rows may be."""
    for number, other in enumerate(bases):
        if other is base or _same(other, base):
            return number
    bases.append(base)
    return len(bases) - 1


def _same(one: Any, other: Any) -> bool:
    """Whether two data sets hold the same rows: made twice, for example to be changed otherwise."""
    if type(one) is not type(other):
        return False
    for name in CONTENT:
        mine, theirs = getattr(one, name, None), getattr(other, name, None)
        if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
            return torch.equal(mine, theirs)
        if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
            return np.array_equal(mine, theirs)
        if isinstance(mine, tuple) and isinstance(theirs, tuple) and name == "tensors":
            return len(mine) == len(theirs) and all(map(torch.equal, mine, theirs))
        if isinstance(mine, list) and name == "samples" and isinstance(theirs, list):
            return mine == theirs
    return False


def _inputs(base: Any) -> tuple[Tensor, ...] | None:
    """The inputs of all rows, without targets, where a data set keeps them in tensors."""
    if isinstance(base, TensorDataset):
        return base.tensors[: max(1, len(base.tensors) - 1)]
    return tuple(base.x.values()) if isinstance(base, NamedRows) else None


def _hashes(inputs: tuple[Tensor, ...], places: Places) -> Places:
    """A hash of each row; of other numbers, rows are alike once in 10^19 pairs."""
    found = np.empty(len(places), np.int64)
    for start in range(0, len(places), HASHED_AT_ONCE):  # a copy of some rows alone
        index = torch.from_numpy(places[start : start + HASHED_AT_ONCE])
        rows = [tensor.detach()[index.to(tensor.device)].cpu().contiguous() for tensor in inputs]
        flat = [each.reshape(len(index), -1).view(torch.uint8).numpy() for each in rows]
        for row in range(len(index)):
            found[start + row] = hash(b"".join(each[row].tobytes() for each in flat))
    return found
