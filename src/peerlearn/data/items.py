"""Rows of a torch `Dataset`: read item by item whenever they are asked for, and given to networks
as they come.

Items are `(x, y)`, or mappings with their target under one of `TARGETS`; what else is in these are
arguments of networks by name, or the argument where it is but one. What is random in an item,
such as a transform that crops, draws from streams keyed by the seed: runs repeat and resume.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset, default_collate
from torch.utils.data import Dataset as TorchDataset

from peerlearn.data.datasets import Split
from peerlearn.errors import InputError
from peerlearn.randomness import derive_seed, seeded_rng

TARGETS = ("labels", "label", "y", "target", "targets")
"""Keys of a mapping under which its target may be."""

READ_AT_ONCE = 256
"""Items that are read together where nothing but their labels is wanted."""

Collate = Callable[[list[Any]], Any]


class NamedRows(TorchDataset[Any]):
    """Arrays of several inputs by name, such as `input_ids` and `attention_mask`, as items."""

    def __init__(self, x: Mapping[str, Tensor], y: Tensor) -> None:
        self.x, self.targets = x, y

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[dict[str, Tensor], Tensor]:
        return {name: values[row] for name, values in self.x.items()}, self.targets[row]


@dataclass(frozen=True)
class Items:
    """A map-style data set.

    Attributes:
        data: has a length and items.
        collate: makes a batch of a list of items.
        where: what messages call it.
    """

    data: Any
    collate: Collate
    where: str

    def batch(self, places: Sequence[int]) -> tuple[Any, Any]:
        """What networks read of the items at `places`, and their targets.

        Raises InputError: items of another form, or that do not make a batch.
        """
        items = [self._item(place) for place in places]
        try:
            made = self.collate(items)
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{self.where}: items do not make a batch ({reason}); give items of tensors of "
                "one shape, or a DataLoader with a collate_fn"
            ) from error
        x, y = self._parted(made)
        if isinstance(y, Tensor) and y.ndim and len(y) != len(items):
            raise InputError(
                f"{self.where}: {len(items)} items make a batch with {len(y)} targets; the "
                "collate_fn must keep all of them"
            )
        return _in_fp32(x), y

    def _item(self, place: int) -> Any:
        try:
            return self.data[place]
        except Exception as error:  # of anybody's code
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{self.where}: item {place} of {len(self.data):,} fails: "
                f"{type(error).__name__}: {reason}"
            ) from error

    def _parted(self, batch: Any) -> tuple[Any, Any]:
        if isinstance(batch, Mapping):
            keys = [key for key in TARGETS if key in batch]
            if len(keys) == 1:
                inputs = {key: value for key, value in batch.items() if key != keys[0]}
                alone = next(iter(inputs.values())) if len(inputs) == 1 else inputs
                return alone, batch[keys[0]]
            found = f"a mapping with {', '.join(map(str, batch))}"
        elif isinstance(batch, (tuple, list)) and len(batch) == 2:
            return batch[0], batch[1]
        else:
            count = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            found = f"{type(batch).__name__}{count}"
        raise InputError(
            f"{self.where}: items make {found}; expected (x, y), or a mapping with one of "
            f"{', '.join(TARGETS)}"
        )

    def labels(self) -> NDArray[Any]:
        """The targets of all items; those that the data set keeps where they are the same."""
        if not hasattr(self.data, "__len__"):
            raise InputError(
                f"{self.where}: {type(self.data).__name__} has no __len__; a map-style Dataset "
                "says how many items it has"
            )
        if not len(self.data):
            raise InputError(f"{self.where}: is empty; a part needs at least one row")
        places = range(len(self.data))
        with seeded_random(0, "labels"):
            few = sorted({0, len(places) // 2, len(places) - 1})
            known = None
            with suppress(IndexError, TypeError, ValueError):  # of places that are not there
                known = kept_labels(self.data)
            if known is not None and len(known) == len(places):
                with suppress(IndexError, TypeError, ValueError):
                    if np.array_equal(np.asarray(known)[few], np.asarray(self.batch(few)[1])):
                        return np.asarray(known)
            chunks = (places[at : at + READ_AT_ONCE] for at in range(0, len(places), READ_AT_ONCE))
            return np.concatenate([np.asarray(self.batch(chunk)[1]) for chunk in chunks])


def kept_labels(data: Any) -> Any:
    """The targets that a data set keeps beside its items; None where it says nothing of them."""
    if isinstance(data, TensorDataset):
        return data.tensors[-1] if len(data.tensors) == 2 else None
    if isinstance(data, Subset):
        known = kept_labels(data.dataset)
        return None if known is None else torch.as_tensor(known)[torch.as_tensor(data.indices)]
    if isinstance(data, ConcatDataset):
        each = [kept_labels(part) for part in data.datasets]
        if any(known is None for known in each):
            return None
        return torch.cat([torch.as_tensor(known) for known in each])
    with suppress(TypeError, ValueError, RuntimeError):
        found = getattr(data, "targets", getattr(data, "labels", None))
        return None if found is None else torch.as_tensor(found)
    return None


def kept_names(data: Any) -> tuple[str, ...]:
    """The names of classes that a data set keeps, as torchvision's do; none where it has none."""
    while isinstance(data, Subset):
        data = data.dataset
    names = getattr(data, "classes", ())
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()


class ItemSplit(Split):
    """A split whose rows are items of a data set; see the module."""

    def __init__(self, items: Items, places: Tensor, y: Tensor) -> None:
        # The parent is frozen; its `x` is read here, so only these are stored.
        for name, value in (("items", items), ("places", places), ("y", y)):
            object.__setattr__(self, name, value)

    items: Items
    places: Tensor

    @property
    def x(self) -> Any:
        """All rows, read anew at every access; `rows` reads some."""
        return self.rows(torch.arange(len(self)))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of the first row; () where it is no tensor."""
        first = self.rows(torch.zeros(1, dtype=torch.int64))
        return tuple(first.shape[1:]) if isinstance(first, Tensor) else ()

    @property
    def nbytes(self) -> int:
        return 0  # they stay where they are

    @property
    def as_it_is(self) -> bool:
        return True

    @property
    def drawn_anew(self) -> bool:
        return True

    def rows(self, index: Tensor) -> Any:
        return self.drawn(index, 0, "evaluation", int(index[0]) if len(index) else 0)

    def drawn(self, index: Tensor, seed: int, *key: str | int) -> Any:
        with seeded_random(seed, *key):
            return self.items.batch(self.places[index].tolist())[0]

    def select(self, index: Tensor) -> Self:
        return type(self)(self.items, self.places[index], self.y[index])

    def with_labels(self, y: Tensor) -> Self:
        return type(self)(self.items, self.places, y)

    def to(self, device: torch.device | str) -> Split:
        return self

    def decoded(self) -> Split:
        return self


def kept_ids(split: Split) -> dict[str, Tensor]:
    """Inputs of whole numbers that are in memory, by name; "" is that of rows with one alone."""
    if not isinstance(split, ItemSplit):
        return {"": split.x} if split.as_it_is else {}
    data: Any = split.items.data
    places = split.places
    while isinstance(data, Subset):
        data, places = data.dataset, torch.as_tensor(data.indices)[places]
    found: dict[str, Tensor] = {}
    if isinstance(data, NamedRows):
        found = {name if len(data.x) > 1 else "": x for name, x in data.x.items()}
    elif isinstance(data, TensorDataset) and len(data.tensors) == 2:
        found = {"": data.tensors[0]}
    whole = (torch.int16, torch.int32, torch.int64)
    return {name: x[places].cpu() for name, x in found.items() if x.dtype in whole}


@contextmanager
def seeded_random(seed: int, *key: str | int) -> Iterator[None]:
    """Run a block under the streams of torch, numpy and Python that `key` names; then put back."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    start = derive_seed(seed, *key)
    with seeded_rng(seed, *key):
        np.random.seed(start % 2**32)
        random.seed(start)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _in_fp32(x: Any) -> Any:
    """What is in float64, as numpy makes it, in the type of networks; all else as it is."""
    if isinstance(x, Mapping):
        return {name: _in_fp32(value) for name, value in x.items()}
    return x.float() if isinstance(x, Tensor) and x.dtype == torch.float64 else x


collate_items: Collate = default_collate
