"""Poisoned data as arrays of an `.npz`, and read again: any recipe may train on such a file.

Arrays:
    x_train, y_train: with the poisoned rows in them, as whoever trains gets them.
    x_val, y_val: rows that were clean before the attack and still are.
    x_test, y_test: clean test rows.
    x_triggered, y_triggered: test rows with the trigger, and their true labels.
    aims: class that each of these shall be taken for.
    sources: test row that each of these was.
    poisoned, decoys: which training rows have the trigger, or its decoy and their own label.
    class_names: text, one a class.
    attack: JSON text, the kind of the attack and its options.

Images are uint8, (N, H, W, C) where C is 1, 3 or 4.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.arrays import CHANNELS_LAST, KEYS, Array, read_rows, source_from_arrays
from peerlearn.data.datasets import Dataset, Source, Split
from peerlearn.data.npz import array_names, read_arrays
from peerlearn.errors import InputError
from peerlearn.systems.backdoor.attacks import ATTACKS
from peerlearn.systems.backdoor.attacks.base import Attack
from peerlearn.systems.backdoor.attacks.poisoning import Poisoned
from peerlearn.systems.backdoor.choice import chosen_by

OWN = ("x_triggered", "y_triggered", "aims", "sources", "poisoned", "decoys", "attack")
LONGEST = 1 << 16
"""Letters of the text of an attack, of which a few hundred are needed."""


class SavedAttack(NamedTuple):
    """What a file of poisoned data holds."""

    poisoned: Poisoned
    attack: Attack


def poisoned_arrays(poisoned: Poisoned, attack: Attack) -> dict[str, Array]:
    """The arrays of a file of poisoned data; see the module."""
    data, shown = poisoned.data, poisoned.triggered
    parts = {"train": data.train, "val": data.val, "test": data.test, "triggered": shown}
    arrays: dict[str, Array] = {}
    for part, split in parts.items():
        arrays[f"x_{part}"], arrays[f"y_{part}"] = _images(split.x), split.y.numpy()
    for name in ("aims", "sources", "poisoned", "decoys"):
        arrays[name] = getattr(poisoned, name).numpy()
    arrays["class_names"] = np.array(data.class_names)
    arrays["attack"] = np.array(json.dumps(attack.model_dump()))
    return arrays


def read_poisoned(path: Path) -> SavedAttack | None:
    """The poisoned data that `poisoned_arrays` made a file of; None of a file of other data.

    Raises InputError: the file is damaged, or its arrays do not fit each other; names the array.
    """
    names = array_names(path)
    if "attack" not in names:
        return None
    required = [*KEYS, *OWN]
    if missing := [name for name in required if name not in names]:
        raise InputError(
            f"{path}: array {missing[0]!r} is missing; data that an attack poisoned have "
            f"{', '.join(required)}"
        )
    arrays, where = read_arrays(path, required), str(path)
    attack = _read_attack(arrays["attack"], where)
    source = source_from_arrays(arrays, where, required=KEYS[:-1])
    assert source.val is not None and source.test is not None, "asked for above"
    _check_images(source, arrays, where)
    parts = source.train, source.val, source.test
    said = source.said() | {"in_memory": True}
    poisoned = _read_marks(Dataset(path.stem, *parts, **said), arrays, where)
    _check_labels(poisoned, attack, where)
    return SavedAttack(poisoned, attack)


def marked_by(path: Path) -> str | None:
    """What poisoned the rows of a file, as it is marked; None of a file without such a mark."""
    names = array_names(path)
    if "attack" in names:
        try:
            attack = _read_attack(read_arrays(path, ["attack"])["attack"], str(path))
        except InputError:
            return "an attack that cannot be read"
        return f"attack {attack.kind!r}"
    return "its array 'poisoned'" if "poisoned" in names else None


def _images(x_NCHW: Tensor) -> Array:
    """As files have them: channels last where a reader can tell."""
    last = x_NCHW.shape[1] in CHANNELS_LAST
    return (x_NCHW.permute(0, 2, 3, 1) if last else x_NCHW).contiguous().numpy()


def _read_attack(found: Array, where: str) -> Attack:
    """The attack of its JSON text."""
    text = found.item() if found.ndim == 0 and found.dtype.kind == "U" else None
    if text is None or len(text) > LONGEST:
        raise InputError(f"{where}: attack: expected one text, the options of an attack as JSON")
    try:
        attack = chosen_by("kind", ATTACKS)(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: attack: {error}") from None
    if not isinstance(attack, Attack):
        raise InputError(f"{where}: attack: found {text[:80]!r}; expected options as JSON")
    return attack


def _check_images(source: Source, arrays: Mapping[str, Array], where: str) -> None:
    train = source.train
    if train.x.dtype != torch.uint8 or len(train.sample_shape) != 3 or source.multilabel:
        raise InputError(
            f"{where}: x_train: {arrays['x_train'].dtype} of shape {arrays['x_train'].shape}, "
            f"y_train of shape {arrays['y_train'].shape}; expected uint8 images, one class each"
        )


def _read_marks(data: Dataset, arrays: Mapping[str, Array], where: str) -> Poisoned:
    """What the arrays beside the splits say of them."""
    x = read_rows(arrays["x_triggered"], f"{where}: x_triggered")
    if tuple(x.shape[1:]) != data.sample_shape or x.dtype != torch.uint8:
        raise InputError(
            f"{where}: x_triggered: {arrays['x_triggered'].dtype} of shape "
            f"{arrays['x_triggered'].shape}; expected images as x_train has them"
        )
    rows, classes = len(x), data.classes
    y = _whole(arrays["y_triggered"], f"{where}: y_triggered", rows, classes)
    aims = _whole(arrays["aims"], f"{where}: aims", rows, classes)
    sources = _whole(arrays["sources"], f"{where}: sources", rows, len(data.test))
    marks = (_marks(arrays[name], f"{where}: {name}", data) for name in ("poisoned", "decoys"))
    poisoned, decoys = marks
    return Poisoned(data, poisoned, Split(x, y), aims, sources, decoys)


def _whole(found: Array, where: str, rows: int, count: int) -> Tensor:
    """int64 (rows,) of numbers below `count`."""
    if found.dtype.kind not in "iu" or found.shape != (rows,):
        raise InputError(
            f"{where}: {found.dtype} of shape {found.shape}; expected whole numbers ({rows},), one "
            "for each row of x_triggered"
        )
    values = found.astype(np.int64)
    if ((values < 0) | (values >= count)).any():
        row = int(((values < 0) | (values >= count)).argmax())
        raise InputError(f"{where}: row {row} holds {found[row]}; allowed: 0 to {count - 1}")
    return torch.from_numpy(values)


def _marks(found: Array, where: str, data: Dataset) -> Tensor:
    rows = len(data.train)
    if found.dtype != np.bool_ or found.shape != (rows,):
        raise InputError(
            f"{where}: {found.dtype} of shape {found.shape}; expected truth values ({rows},), one "
            "for each row of x_train"
        )
    return torch.from_numpy(found.copy())


def _check_labels(poisoned: Poisoned, attack: Attack, where: str) -> None:
    """What is poisoned and aimed at is what the attack does."""
    data, classes = poisoned.data, poisoned.data.classes
    if attack.target >= classes:
        raise InputError(
            f"{where}: attack: target {attack.target}; allowed: 0 to {classes - 1}, the classes"
        )
    wrong = {
        "y_triggered": poisoned.triggered.y != data.test.y[poisoned.sources],
        "aims": poisoned.aims != attack.aims(poisoned.triggered.y, classes),
        "decoys": poisoned.decoys & poisoned.poisoned,
    }
    said = {
        "y_triggered": "is not the label of its row of y_test",
        "aims": "is not what the attack aims at",
        "decoys": "is poisoned too",
    }
    if attack.to == "one":
        wrong["y_train"] = poisoned.poisoned & (data.train.y != attack.target)
        said["y_train"] = f"is poisoned, but not of class {attack.target}, the target"
    for name, rows in wrong.items():
        if rows.any():
            raise InputError(f"{where}: {name}: row {int(rows.long().argmax())} {said[name]}")
