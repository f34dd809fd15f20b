"""peerlearn: networks that train side by side and teach each other.

Three ways in:

- `cohort.loss(x, y)` in a training loop of your own;
- `peerlearn.fit(cohort, data)`;
- `peerlearn.recipe("dml", data="digits").compare(seeds=range(5))`, or the command line.

What was trained is used by `peerlearn.load("runs/first")`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from peerlearn.errors import InputError, PeerlearnError, RunError

if TYPE_CHECKING:
    from peerlearn.building import build_model
    from peerlearn.cohort import Cohort
    from peerlearn.fitting import fit
    from peerlearn.objectives.base import Objective, PeerView
    from peerlearn.recipes import recipe
    from peerlearn.serving.loaded import load
    from peerlearn.transfer.graph import TransferGraph
    from peerlearn.transfer.outputs import PeerOutput

__version__ = "0.1.0"

__all__ = [
    "Cohort",
    "InputError",
    "Objective",
    "PeerOutput",
    "PeerView",
    "PeerlearnError",
    "RunError",
    "TransferGraph",
    "build_model",
    "fit",
    "load",
    "recipe",
]

# Loaded at first use: the command line answers --help without importing torch.
_HOMES = {
    "Cohort": "peerlearn.cohort",
    "Objective": "peerlearn.objectives.base",
    "PeerOutput": "peerlearn.transfer.outputs",
    "PeerView": "peerlearn.objectives.base",
    "TransferGraph": "peerlearn.transfer.graph",
    "build_model": "peerlearn.building",
    "fit": "peerlearn.fitting",
    "load": "peerlearn.serving.loaded",
    "recipe": "peerlearn.recipes",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'peerlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
