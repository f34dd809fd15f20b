"""Data that several processes of one machine train on, read once and mapped by each.

The first process that needs a data set reads it and saves it in a folder of the comparison's own,
which is gone when it ends; tensors are mapped from there, so that all processes share one copy,
which none of them can change for the others.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from peerlearn.engine.fingerprint import fingerprint
from peerlearn.locks import one_at_a_time
from peerlearn.systems.recipe import Recipe

T = TypeVar("T")
NO_ROOM = (OSError, RuntimeError)
"""What torch raises where a file cannot be written whole."""


@dataclass(frozen=True)
class SharedData:
    """A folder of data sets that this program has read, by what decides what is read."""

    folder: Path

    def get(self, key: object, read: Callable[[], T]) -> T:
        """What was read for an equal key, by whichever process; or what `read` gives now."""
        path = self._path(key)
        alone = path.with_suffix(".alone")  # there: every process reads these for itself
        if not (path.exists() or alone.exists()):
            with one_at_a_time(path.with_suffix(".lock")):
                if not (path.exists() or alone.exists() or _saved(read(), path)):
                    alone.touch()
        if not path.exists():
            return read()
        # Written by this program a moment ago, into a folder that is this user's alone.
        data: T = torch.load(path, mmap=True, weights_only=False)
        return data

    def kept(self, recipe: Recipe, config: Any) -> list[Path]:
        """Files of the folder that say what a cell is trained on, once its data have been read."""
        path = self._path(recipe.task.data_key(config))
        return [each for each in (path, path.with_suffix(".alone")) if each.exists()]

    def _path(self, key: object) -> Path:
        return self.folder / f"{fingerprint(key)}.data"


def _saved(data: Any, path: Path) -> bool:
    """Whether data could be saved.

    Those of anybody's own classes need not be made for it, and there may be no room for them.
    """
    part = path.with_suffix(".part")
    try:
        torch.save(data, part)
    except (pickle.PicklingError, AttributeError, TypeError, NotImplementedError, *NO_ROOM):
        part.unlink(missing_ok=True)
        return False
    part.replace(path)
    return True
