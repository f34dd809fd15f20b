"""Which weights of each peer count: the best by validation, or the last."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from peerlearn.cohort import TRUNK, Cohort
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.transports import Transport
from peerlearn.engine.unfinished import Unfinished
from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import Metric

Selected = dict[str, Any]


class Selection:
    """The weights that are kept of every peer so far, and what is known of them.

    Args:
        metric: what is compared.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.weights: dict[str, dict[str, Tensor]] = {}
        self.known: dict[str, Selected] = {}
        self._unsaved: set[str] = set()

    @property
    def best(self) -> dict[str, Selected]:
        """By peer, the epoch that was chosen on validation and its value."""
        return {name: known for name, known in self.known.items() if known}

    def offer(self, peer: str, value: float, epoch: int, module: nn.Module) -> None:
        """Keep `module` if it beats what is kept; equal values keep the earlier epoch."""
        before = self.known.get(peer)
        if not before or self.metric.beats(value, before["value"]):
            self.keep(peer, module, {"epoch": epoch, self.metric.name: value, "value": value})

    def improved_after(self, epoch: int, peers: Iterable[str]) -> bool:
        """Whether the best epoch so far of any of the peers is a later one."""
        return any(self.known.get(name, {}).get("epoch", 0) > epoch for name in peers)

    def keep(self, peer: str, module: nn.Module, known: Selected | None = None) -> None:
        """Copy the weights of `module`, whatever was kept before."""
        self.known[peer] = known or {}
        self.weights[peer] = {
            name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()
        }
        self._unsaved.add(peer)

    def save(self, folder: RunFolder | None) -> None:
        """Write what has been kept since the last time."""
        if folder is not None:
            for name in sorted(self._unsaved):
                known = self.known[name]
                by = {"metric": self.metric.name} if known else {}
                folder.save_best(name, self.weights[name], by | known)
        self._unsaved.clear()

    def restore(self, folder: RunFolder, known: dict[str, Selected], cohort: Cohort) -> None:
        """Go on with what was kept in `folder`.

        Raises InputError: weights that are missing or do not fit; names the peer and the file.
        """
        self.known = known
        self.weights = {name: folder.load_best(name) for name in known}
        for name in known.keys() & cohort.peers.keys():
            _check_fit(self.weights[name], cohort.peers[name], name, folder.best(name))
        self._unsaved.clear()

    def settle(self, cohort: Cohort, transport: Transport, folder: RunFolder | None) -> None:
        """Give every peer the weights that count; one that never trained keeps its own.

        They are written to the folder where there is one.
        """
        for name in transport.owned:
            if name not in self.weights:
                self.keep(name, cohort.peers[name])
        if cohort.trunk is not None:
            self.keep(TRUNK, cohort.trunk)
        self.save(folder)
        trunk = {} if cohort.trunk is None else {TRUNK: self.weights[TRUNK]}
        self.known = transport.collect(self.known)
        self.weights = transport.collect(self.weights) | trunk
        for name, peer in cohort.peers.items():
            peer.load_state_dict(self.weights[name])


def load_selected(folder: Path, cohort: Cohort) -> None:
    """Give every peer of `cohort`, and its trunk, the selected weights of the run in `folder`.

    Of a run that is not finished, those that it has so far.

    Raises InputError: weights that are missing or do not fit; names the peer and the file.
    """
    run = RunFolder(folder)
    weights = run.load_best if run.results.exists() else Unfinished(run).weights
    trunk = {} if cohort.trunk is None else {TRUNK: cohort.trunk}
    for name, module in (dict(cohort.peers) | trunk).items():
        selected = weights(name)
        _check_fit(selected, module, name, run.best(name))
        module.load_state_dict(selected)


def _check_fit(weights: Mapping[str, Tensor], module: nn.Module, peer: str, file: Path) -> None:
    """Raise InputError where weights have other names or shapes than those of a module."""
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            what = f"{name} is {_shape(found, name)}; expected {_shape(wanted, name)}"
            raise InputError(f"{file}: does not fit peer {peer!r}: {what}.")


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return f"of shape {shapes[name]}" if name in shapes else "not there"
