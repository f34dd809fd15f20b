"""Data as users have them at hand in Python, as a `Dataset`.

A part is `(X, y)` of arrays, tensors, lists or pandas, a map-style torch `Dataset` or a
`DataLoader`. Data are one part, `(train, test)`, `(train, val, test)`, a mapping of parts, or one
of arrays by name. What is not given of validation and test is held out of train.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler
from torch.utils.data import Dataset as TorchDataset

from peerlearn.data.account import Account, some
from peerlearn.data.arrays import KEYS, Array, read_targets, source_from_arrays, source_of
from peerlearn.data.classes import INSIST, read_class_names, text_labels
from peerlearn.data.datasets import Dataset, Source, Split
from peerlearn.data.items import Items, ItemSplit, NamedRows, collate_items, kept_names
from peerlearn.data.overlap import shared_rows
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import DataSpec
from peerlearn.data.splits import dataset_of, divide
from peerlearn.errors import InputError, did_you_mean, unknown_name
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.objectives.targets import IGNORED

PARTS = ("train", "val", "test")
ALIASES = {"valid": "val", "validation": "val", "dev": "val"}
"""Other names of the validation part, such as Hugging Face's."""

AS_TEXTS = "give them as texts, such as y.astype(str)"
"""How one says in Python that numbers are classes, where there is no `data.classes`."""

FORMS = (
    "(X, y) of arrays, tensors, lists or pandas; a torch Dataset or DataLoader; (train, test) or "
    "{'train': …, 'val': …, 'test': …} of these; a mapping with x_train, y_train, x_test, y_test; "
    "a name or path as --data takes it; a peerlearn Dataset"
)


class Loading(NamedTuple):
    """What a `DataLoader` says beside its rows; None where it says nothing."""

    batch_size: int | None = None
    evaluation: int | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Given:
    """Data that were given, and how they were to be loaded.

    Attributes:
        data: the data set.
        name: by which a configuration finds them again; None where they live in memory alone.
        loading: what loaders said.
    """

    data: Dataset
    name: str | None = None
    loading: Loading = field(default_factory=Loading)


def read_given(data: Any, spec: DataSpec | None = None) -> Given:
    """Any form of data that `fit` takes.

    Args:
        data: see the module.
        spec: how rows are held out and chosen, and how many classes they have; its name does not
            count. None where nobody could say it, as in `fit`.

    Raises InputError: another form, or data that cannot be used; says what was found, and where.
    """
    insist = INSIST if spec is not None else AS_TEXTS
    spec = spec or DataSpec()
    if isinstance(data, Dataset):
        return Given(_compared(data))
    if isinstance(data, str | Path):
        return Given(load_dataset(spec.named(str(data))), str(data))
    parts = _parts(data)
    arrays = {part: each for part, each in parts.items() if isinstance(each, _Arrays)}
    if len(arrays) == len(parts):
        named = {key: value for each in arrays.values() for key, value in each.by_name.items()}
        required = ("x_train", "y_train")
        source = source_from_arrays(named, "data", spec.classes, required, insist)
        return Given(_divided("arrays", source, spec))
    if arrays:
        raise InputError(
            f"data: {', '.join(arrays)} are arrays, which are normalised, but "
            f"{', '.join(parts.keys() - arrays.keys())} is a Dataset, whose rows are given as they "
            "come; give all parts in one form"
        )
    loaded: dict[str, Any] = parts
    train = loaded["train"]
    sizes = [each.loading.batch_size for part, each in loaded.items() if part != "train"]
    evaluation = next((size for size in sizes if size is not None), None)
    said = Loading(train.loading.batch_size, evaluation, train.loading.workers)
    items = {part: each.items for part, each in loaded.items()}
    source = _source(items, spec.classes, insist)
    name = type(train.items.data).__name__
    data_set = replace(_divided(name, source, spec), in_memory=False)
    return Given(_noted(data_set, train.notes), None, said)


# One part ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Arrays:
    by_name: Mapping[str, Array]  # x_train, y_train, …


@dataclass(frozen=True)
class _Loaded:
    items: Items
    loading: Loading = field(default_factory=Loading)
    notes: tuple[str, ...] = ()


def _parts(data: Any) -> dict[str, Any]:
    """By name, the parts that were given."""
    if isinstance(data, Mapping):
        keys: dict[Any, Any] = {ALIASES.get(key, key): key for key in data}
        if any(str(key).lower().startswith(("x_", "y_")) for key in data):
            for key in data:
                if key not in KEYS:
                    raise unknown_name("array", str(key), KEYS, "data")
            given = {str(key): _array(value, f"data: {key}") for key, value in data.items()}
            return {"train": _Arrays(given)}
        for key in keys:
            if key not in PARTS:
                hint = did_you_mean(str(key), [*PARTS, "x_train", "y_train"])
                raise InputError(f"data: unknown part {key!r}.{hint} Allowed: {FORMS}")
        if "train" not in keys:
            raise InputError(f"data: no part 'train'; found {', '.join(map(str, data)) or 'none'}")
        if len(keys) < len(data):
            raise InputError(f"data: the validation part is given twice: {', '.join(data)}")
        given = {part: data[key] for part, key in keys.items() if data[key] is not None}
        if "train" not in given:
            raise InputError(f"data: train is None; allowed: {FORMS}")
        return {part: _part(each, part, f"data: {part}") for part, each in given.items()}
    if isinstance(data, (tuple, list)) and len(data) in (2, 3) and all(map(_is_part, data)):
        names = ("train", "test") if len(data) == 2 else PARTS
        pairs = zip(names, data, strict=True)
        return {name: _part(each, name, f"data: {name}") for name, each in pairs}
    return {"train": _part(data, "train", "data")}


def _is_part(given: Any) -> bool:
    """Whether a value is rows with their targets, rather than an array of either."""
    if isinstance(given, list):
        return bool(given) and isinstance(given[0], (tuple, Mapping))
    if isinstance(given, (tuple, DataLoader, TorchDataset)):
        return True
    return _is_map_style(given)


def _is_map_style(given: Any) -> bool:
    """Whether it has a length and items, and is no array."""
    arrays = (Tensor, np.ndarray, str, bytes, Mapping)
    indexed = hasattr(given, "__getitem__") and hasattr(given, "__len__")
    array = isinstance(given, (*arrays, type)) or hasattr(given, "__array__")
    return indexed and not array


def _part(given: Any, part: str, where: str) -> _Arrays | _Loaded:
    if isinstance(given, DataLoader):
        return _of_loader(given, part, where)
    if isinstance(given, IterableDataset):
        raise InputError(
            f"{where}: an IterableDataset has no length and no items by number, by which rows are "
            "shuffled and a run resumes; give a map-style Dataset, such as list(dataset) where "
            "it fits in memory"
        )
    if isinstance(given, (tuple, list)) and len(given) == 2 and not _is_part(given[1]):
        x, y = given
        y = _array(y, f"{where}: y")
        if isinstance(x, Mapping):
            named = {name: torch.as_tensor(_array(v, f"{where}: {name}")) for name, v in x.items()}
            for name, values in named.items():
                if len(values) != len(y):
                    raise InputError(f"{where}: {name} has {len(values)} rows but y has {len(y)}")
            return _Loaded(Items(NamedRows(named, torch.as_tensor(y)), collate_items, where))
        return _Arrays({f"x_{part}": _array(x, f"{where}: X"), f"y_{part}": y})
    if isinstance(given, TorchDataset) or (_is_map_style(given) and not isinstance(given, tuple)):
        return _Loaded(Items(given, collate_items, where))
    found = type(given).__name__
    if isinstance(given, type):
        found = f"the class {given.__name__} itself, rather than {given.__name__}(…)"
    elif isinstance(given, tuple):
        found = f"a tuple of {len(given)}"
        if len(given) == 4 and not any(map(_is_part, given)):
            found += ", as train_test_split gives: make it ((X_train, y_train), (X_test, y_test))"
    raise InputError(f"{where}: found {found}; allowed: {FORMS}")


def _of_loader(loader: DataLoader[Any], part: str, where: str) -> _Loaded:
    if loader.batch_size is None or isinstance(loader.dataset, IterableDataset):
        if isinstance(loader.dataset, IterableDataset):
            _part(loader.dataset, part, where)
        raise InputError(
            f"{where}: a DataLoader with a batch_sampler of its own, or without batches; which "
            "rows make up a batch is drawn by seed here. Give its dataset"
        )
    sampler = loader.sampler
    if type(sampler) not in (RandomSampler, SequentialSampler):
        raise InputError(
            f"{where}: a DataLoader with a {type(sampler).__name__}; which rows make up a batch is "
            "drawn by seed here. Give its dataset, or train in a loop of your own with cohort.loss"
        )
    shuffled = isinstance(sampler, RandomSampler)
    notes = () if shuffled or part != "train" else ("training rows are shuffled every epoch",)
    collate: Any = loader.collate_fn
    items = Items(loader.dataset, collate, where)
    return _Loaded(items, Loading(loader.batch_size, None, loader.num_workers), notes)


def _array(value: Any, where: str) -> Array:
    """A numpy array of a tensor, a list, or a table of pandas."""
    if isinstance(value, Tensor):
        try:
            value = value.detach().cpu()
            return value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
        except (TypeError, RuntimeError) as error:  # sparse, quantised, or without values
            what = f"a tensor of layout {value.layout}, dtype {value.dtype} on {value.device}"
            raise InputError(f"{where}: found {what}; give a dense one ({error})") from None
    if hasattr(value, "toarray"):
        raise InputError(f"{where}: found {type(value).__name__}, which is sparse; give .toarray()")
    if np.ma.is_masked(value):
        raise InputError(
            f"{where}: found a masked array, of which {np.ma.count_masked(value):,} values are "
            "hidden; fill them (.filled), or leave their rows out"
        )
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: no array ({error}); rows must have one shape") from None
    if array.dtype == object and all(isinstance(each, str) for each in array.flat):
        array = array.astype(str)
    if array.dtype == object:
        kinds = list(dict.fromkeys(type(each).__name__ for each in array.flat))
        hint = "; an empty text is no label" if "str" in kinds and where.endswith("y") else ""
        raise InputError(
            f"{where}: found values of type {some(kinds)}; give numbers alone, or texts{hint}"
        )
    return array


# The data set ------------------------------------------------------------------------------------


def _source(parts: Mapping[str, Items], count: int | None, insist: str) -> Source:
    arrays: dict[str, Array] = {f"y_{part}": items.labels() for part, items in parts.items()}
    names = kept_names(parts["train"].data)
    notes: tuple[str, ...] = ()
    if any(y.dtype.kind in "US" for y in arrays.values()):
        numbers, found = text_labels(arrays, "data")
        arrays, names, notes = {k: y.numpy() for k, y in numbers.items()}, found.names, found.notes
    splits: dict[str, Split] = {}
    for part, items in parts.items():
        y = arrays[f"y_{part}"]
        if y.dtype.kind == "i":
            y = np.where(y == IGNORED, UNLABELLED, y)
        targets = read_targets(y, f"{items.where}: y", blanks=part == "train")
        splits[part] = ItemSplit(items, torch.arange(len(targets)), targets)
    train = splits["train"].y
    several = train.ndim == 2
    known = len(names) == train.shape[1] if several else len(names) > int(train.max())
    if names and not known:
        most = train.shape[1] if several else int(train.max()) + 1
        notes += (f"names of classes that the data set keeps are not used: {len(names)} of {most}",)
        names = ()
    return source_of(splits, "data", read_class_names(names, "data"), count, notes, insist)


def _compared(data: Dataset) -> Dataset:
    """Data that tell of rows which two of their parts have in common.

    Who trains in Python and observes nothing sees no account, and is warned.
    """
    notes = shared_rows({part: getattr(data, part) for part in PARTS})
    for note in notes:
        warnings.warn(
            f"data: {note}; numbers of rows that were trained on say little", stacklevel=5
        )
    return _noted(data, notes)


def _divided(name: str, source: Source, spec: DataSpec) -> Dataset:
    divided = divide(source, spec)
    held_out = " and ".join(f"{count:,} for {part}" for part, count in divided.held_out.items())
    notes = (f"held out of train: {held_out} rows",) if held_out else ()
    return _noted(_compared(dataset_of(name, source, divided)), notes)


def _noted(data: Dataset, notes: tuple[str, ...]) -> Dataset:
    return replace(data, account=data.account + Account(notes=notes)) if notes else data
