"""Data that several processes of one machine train on, read once and mapped by each.

The first process that needs a data set reads it and saves it in a folder of the comparison's own,
which is gone when it ends; tensors are mapped from there, so that all processes share one copy,
which none of them can change for the others.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from peerlearn.engine.fingerprint import fingerprint
from peerlearn.locks import one_at_a_time
from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.contract import Task


@dataclass(frozen=True)
class SharedData:
    """A folder of data sets that this program has read, by what decides what is read."""

    folder: Path

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe, whose data are taken from here, and kept here once they are read."""
        task = recipe.task

        def found(cls: type[Task[Any, Any, Any]], config: Any) -> Any:
            return self._read(task.read_by(config), lambda: task.found(config))

        own = {"found": classmethod(found), "__module__": __name__}
        return replace(recipe, task=type(task.__name__, (task,), own))

    def kept(self, recipe: Recipe, config: Any) -> list[Path]:
        """Files of the folder that say what a cell is trained on, once its data have been read."""
        path = self._path(recipe.task.read_by(config))
        return [each for each in (path, path.with_suffix(".alone")) if each.exists()]

    def _path(self, decides: Any) -> Path:
        return self.folder / f"{fingerprint(decides)}.data"

    def _read(self, decides: Any, read: Callable[[], Any]) -> Any:
        path = self._path(decides)
        alone = path.with_suffix(".alone")  # there: every process reads these for itself
        if not (path.exists() or alone.exists()):
            with one_at_a_time(path.with_suffix(".lock")):
                if not (path.exists() or alone.exists() or _saved(read(), path)):
                    alone.touch()
        if not path.exists():
            return read()
        # Written by this program a moment ago, into a folder that is this user's alone.
        return torch.load(path, mmap=True, weights_only=False)


def _saved(data: Any, path: Path) -> bool:
    """Whether data could be saved; those of anybody's own classes need not be made for it."""
    part = path.with_suffix(".part")
    try:
        torch.save(data, part)
    except (pickle.PicklingError, AttributeError, TypeError, NotImplementedError):
        part.unlink(missing_ok=True)
        return False
    part.replace(path)
    return True
