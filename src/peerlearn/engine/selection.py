"""Which weights of each peer count: the best by validation, or the last."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.run_folder import RunFolder
from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import Metric

Selected = dict[str, Any]
TRUNK = "trunk"
"""What a shared trunk is called among weights that are kept by the name of a peer."""


class Selection:
    """The best epoch of every peer so far and a copy of its weights.

    Args:
        metric: what is compared.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.best: dict[str, Selected] = {}
        self.weights: dict[str, dict[str, Tensor]] = {}

    def offer(self, peer: str, value: float, epoch: int, module: nn.Module) -> bool:
        """Keep `module` if it beats what is kept; equal values keep the earlier epoch."""
        known = self.best.get(peer)
        if known is not None and not self.metric.beats(value, known["value"]):
            return False
        self.best[peer] = {"epoch": epoch, self.metric.name: value, "value": value}
        self.keep(peer, module)
        return True

    def keep(self, peer: str, module: nn.Module) -> None:
        """Copy the weights of `module`, whatever was kept before."""
        self.weights[peer] = {
            name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()
        }


def load_selected(folder: Path, cohort: Cohort) -> None:
    """Give every peer of `cohort`, and its trunk, the selected weights of the run in `folder`.

    Raises:
        InputError: weights that are missing or do not fit; names the peer and the file.
    """
    run = RunFolder(folder)
    trunk = {} if cohort.trunk is None else {TRUNK: cohort.trunk}
    for name, module in (dict(cohort.peers) | trunk).items():
        try:
            module.load_state_dict(run.load_best(name))
        except RuntimeError as error:
            raise InputError(f"{run.best(name)}: does not fit peer {name!r}: {error}") from None
