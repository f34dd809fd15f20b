"""Which weights of each peer count: the best by validation, or the last."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.calibration import set_temperature, temperature_in
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.transports import Transport
from peerlearn.engine.unfinished import Unfinished
from peerlearn.errors import InputError
from peerlearn.membership import TRUNK
from peerlearn.metrics.catalogue import Metric
from peerlearn.transfer.graph import TransferGraph

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
        self._temperatures: dict[str, float] = {}

    @property
    def best(self) -> dict[str, Selected]:
        """By peer, the epoch that was chosen on validation and its value."""
        return {name: known for name, known in self.known.items() if known}

    def offer(
        self,
        measured: Mapping[str, Mapping[str, float]],
        modules: Mapping[str, nn.Module],
        transfer: TransferGraph,
        epoch: int,
        of: int,
    ) -> None:
        """Keep what was measured on validation unless what is kept is better.

        Of equal epochs the last one counts, and only those in which the edges that teach a peer
        have their full weight. Where there is none, the last one is kept, with `from` None.

        Args:
            measured: metrics by peer.
            modules: the networks that are to be chosen from now, by peer.
            transfer: the edges of the stage.
            epoch: number of this one, of so many.
        """
        for peer, module in modules.items():
            value, before = measured[peer][self.metric.name], self.known.get(peer)
            first = first_epoch(transfer, peer, of)
            counts = first is not None and epoch >= first
            if before and before["from"] is None:
                before = None  # the last one, before the run got more epochs
            if not counts and (before or epoch < of):
                continue
            since = epoch
            if before and value == before["value"]:
                since = before["since"]
            elif before and not self.metric.beats(value, before["value"]):
                continue
            known = {"epoch": epoch, "of": of, "since": since, "from": first if counts else None}
            self.keep(peer, module, known | {self.metric.name: value, "value": value})

    def may_improve(
        self, peers: Iterable[str], patience: int, transfer: TransferGraph, epoch: int, of: int
    ) -> bool:
        """Whether any peer had a better epoch among the last `patience`, or waits for its edges.

        An epoch that is as good as the best one is not a better one. Arguments as for `offer`.
        """
        return any(
            (first := first_epoch(transfer, name, of)) is None
            or epoch < first
            or self.known.get(name, {}).get("since", 0) > epoch - patience
            for name in peers
        )

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
                by: Selected = {"metric": self.metric.name} if known else {}
                if name in self._temperatures:
                    by["temperature"] = self._temperatures[name]
                folder.save_best(name, self.weights[name], by | known)
        self._unsaved.clear()

    def note_temperatures(
        self,
        calibrated: Mapping[str, Mapping[str, float]],
        owned: Iterable[str],
        folder: RunFolder | None,
    ) -> None:
        """Write into the files of peers that live here what their logits are to be divided by."""
        self._temperatures = {n: calibrated[n]["temperature"] for n in owned if n in calibrated}
        self._unsaved |= set(self._temperatures)
        self.save(folder)

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
        for name in cohort.peers.keys() & self.weights.keys():
            cohort.peers[name].load_state_dict(self.weights[name])


def first_epoch(transfer: TransferGraph, peer: str, epochs: int) -> int | None:
    """The first epoch at whose end every edge that teaches a peer has its full weight.

    Weights from before have learned something else than what was asked for. 1 where no edge opens
    late, None where the stage is over before.
    """
    # A sum such as 0.1 + 0.2 is a little more than it says.
    epoch = max(1, math.ceil(transfer.full_at(peer) * epochs - 1e-6))
    return epoch if epoch <= epochs else None


def load_selected(folder: Path, cohort: Cohort, names: Iterable[str] | None = None) -> None:
    """Give peers of `cohort`, and its trunk, the selected weights of the run in `folder`.

    `names` are those of the peers that the run has; None: all of them.

    Of a run that is not finished, those that it has so far. Calibrated peers get their temperature.

    Raises InputError: weights that are missing or do not fit; names the peer and the file.
    """
    run = RunFolder(folder)
    weights = run.load_best if run.results.exists() else Unfinished(run).weights
    trunk = {} if cohort.trunk is None else {TRUNK: cohort.trunk}
    peers = {name: cohort.peers[name] for name in (cohort.names if names is None else names)}
    for name, module in (peers | trunk).items():
        selected, path = weights(name), run.best(name)
        _check_fit(selected, module, name, path)
        module.load_state_dict(selected)
        set_temperature(module, temperature_in(path) if path.exists() else None)


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
