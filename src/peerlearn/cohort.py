"""Peers side by side: the networks of a cohort, what each learns and who teaches whom."""

import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.calling import called, rows_of
from peerlearn.errors import InputError
from peerlearn.membership import TRUNK, check_peers
from peerlearn.objectives.base import (
    Classification,
    Function,
    Objective,
    PeerView,
    as_objective,
    module_of,
)
from peerlearn.objectives.labels import labelled_mask
from peerlearn.objectives.targets import read_labels
from peerlearn.token_ids import unknown_id
from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.outputs import OutputForm, PeerOutput, as_peer_output
from peerlearn.transfer.spec import TransferSpec
from peerlearn.twins import said_of, twins


class PeerLoss(NamedTuple):
    """The two parts of one peer's loss, scalars in fp32."""

    objective: Tensor
    transfer: Tensor

    @property
    def total(self) -> Tensor:
        """What the peer minimises."""
        return self.objective + self.transfer


class Cohort(nn.Module):
    """Networks that train on the same rows and teach each other.

    ```python
    cohort = Cohort({"a": net_a, "b": net_b}, transfer="predictions: kl")
    loss = cohort.loss(x, y)      # one backward trains both; gradients never leak
    ```

    Args:
        peers: networks by name. Any `nn.Module` whose forward gives logits, a `PeerOutput`, or an
            object with `.logits`.
        transfer: who teaches whom; see `TransferSpec`. `"none"` gives independent training.
        objective: what every peer learns from the data, or one objective per peer by name: an
            `Objective`, or a function of logits and targets such as `nn.CrossEntropyLoss()`.
        trunk: a module whose output every peer takes as its input. It is the one way in which
            peers share parameters; its gradient is the sum over peers.
        form: `softmax`, or `sigmoid` for multi-label outputs.

    Raises InputError: no peers, a name that cannot name a peer, one network given twice, or a
    transfer graph that does not fit the peers.
    """

    def __init__(
        self,
        peers: Mapping[str, nn.Module],
        transfer: TransferGraph | TransferSpec | str | Mapping[str, Any] | None = "predictions: kl",
        objective: Objective | Function | Mapping[str, Objective | Function] | None = None,
        trunk: nn.Module | None = None,
        form: OutputForm = "softmax",
    ) -> None:
        super().__init__()
        check_peers(peers, trunk)
        self.peers = nn.ModuleDict(peers)
        self.trunk = trunk
        if not isinstance(transfer, TransferGraph):
            transfer = TransferGraph(transfer, list(peers), form)
        self.transfer = transfer
        if set(self.transfer.peers) != set(peers):
            raise InputError(
                f"transfer: a graph between {', '.join(self.transfer.peers)}, but the cohort's "
                f"peers are {', '.join(peers)}"
            )
        self.transfer.averages.make(self.peers, trunk)
        self.objectives = _objective_per_peer(objective, peers)
        self._looked = False  # at the values of targets on an accelerator, once
        self._compared = False  # with each other, at the first loss

    @property
    def objectives(self) -> dict[str, Objective]:
        """What each peer learns from the data."""
        return self._objectives

    @objectives.setter
    def objectives(self, given: Mapping[str, Objective | Function]) -> None:
        self._objectives = {name: as_objective(each) for name, each in given.items()}
        modules = {name: module_of(each) for name, each in self._objectives.items()}
        self.objective_modules = nn.ModuleDict(
            {name: module for name, module in modules.items() if module is not None}
        )

    @property
    def names(self) -> list[str]:
        """Names of the peers, in order."""
        return list(self.peers)

    def forward(self, x: Any) -> dict[str, PeerOutput]:
        """Outputs of every peer for a batch, or for views by peer; see `forward_peers`."""
        return forward_peers(self.peers, x, self.trunk)

    def averaged(
        self,
        x: Any,
        *,
        learners: Collection[str] | None = None,
        peers: Collection[str] | None = None,
    ) -> dict[str, PeerOutput]:
        """Outputs of the averages of peers that teach (`teacher_ema`), without gradient.

        They stand beside those of the peers in what `losses` and `remember` take. `loss` does so by
        itself. An average follows its peer when `cohort.transfer.averages.follow(cohort.peers)` is
        called: once for every step, before its forwards.

        Args:
            x: as in `forward`; an average reads the view of its peer, or what a mapping has under
                its own name.
            learners: whose teachers are wanted; None for everyone's.
            peers: whose averages are wanted, such as those that live here; None for everyone's.
        """
        averages = self.transfer.averages
        names = [
            name
            for name in self.transfer.averages_for(self.names if learners is None else learners)
            if peers is None or averages.of[name].peer in peers
        ]
        if not names:
            return {}
        averages.follow(self.peers, training=False, only=peers)  # those that have not begun begin
        x = averages.views_of(x, names, self.peers)
        return forward_peers(averages.networks(names), x, learners=())

    def losses(
        self,
        outputs: Mapping[str, PeerOutput],
        targets: Any,
        *,
        labelled: Tensor | None = None,
        progress: float | None = None,
        learners: Collection[str] | None = None,
        elsewhere: Mapping[str, PeerOutput] | None = None,
    ) -> dict[str, PeerLoss]:
        """Objective and transfer loss of every learner, from outputs that are already there.

        Call `remember` too for a batch that trains, as `loss` does, where edges teach relations.

        Args:
            outputs: of every peer; those of peers outside `learners` serve as teachers only.
            targets: what the objectives read, such as labels; see `labels`.
            labelled: which rows have a label, where it is known and `targets` are as objectives
                read them; None: looked for in `targets`.
            progress: finished fraction of the stage, for schedules.
            learners: peers whose loss is wanted; None for all.
            elsewhere: outputs for other rows, without labels, on which the edges compare peers;
                None: on these.
        """
        chosen = self.names if learners is None else [n for n in self.names if n in learners]
        if labelled is None:
            targets, labelled = self.labels(outputs, targets)
        # Converted once, for all losses that read them.
        outputs = {name: output.in_fp32() for name, output in outputs.items()}
        batch: dict[str, Any] = {"targets": targets, "labelled": labelled, "progress": progress}
        met, about = outputs, batch
        if elsewhere is not None:
            met = {name: output.in_fp32() for name, output in elsewhere.items()}
            nobody = torch.zeros_like(next(iter(met.values())).logits[:, 0], dtype=torch.bool)
            about = {"labelled": nobody, "progress": progress}
        transfer = self.transfer.losses(met, **about, learners=chosen, peers=self.peers)
        form, losses = self.transfer.form, {}
        for name in chosen:
            view = PeerView(outputs[name], peer=self.peers[name], form=form, **batch)
            if self.transfer.proves:
                view = view._replace(taught=self.transfer.share_taught(name))
            losses[name] = PeerLoss(self._objectives[name].loss(view), transfer[name])
        return losses

    def labels(self, outputs: Mapping[str, PeerOutput], targets: Any) -> tuple[Any, Tensor | None]:
        """Targets as the objectives read them, and which rows have a label.

        Where an objective reads labels they may be classes (N,) of any integer type, (N, 1) or
        one-hot, with −1 or −100 for "none"; see `peerlearn.objectives.targets`. On an accelerator
        values are looked at for the first batch alone. Other targets are left as they are.

        Raises InputError: an empty batch, or labels that do not fit the outputs.
        """
        if any(objective.reads_labels for objective in self._objectives.values()):
            logits = next(iter(outputs.values())).logits
            rows = logits.shape[:1]
            for name, output in outputs.items():
                if output.logits.shape[:1] != rows:
                    raise InputError(f"peers.{name}: its outputs have another number of rows")
            look = not self._looked
            targets = read_labels(targets, logits, self.transfer.form, look=look)
            if look:  # to set an attribute of a module costs as much as to look at the values
                self._looked = True
        return targets, labelled_mask(targets)

    def objective(self, name: str, output: PeerOutput, targets: Any) -> Tensor:
        """What one peer learns from the data at the end of a training, a scalar."""
        more = {"peer": self.peers[name], "form": self.transfer.form, "progress": 1.0}
        view = PeerView.of(output, targets, **more)
        return self.objectives[name].loss(view)

    def learned_for(self, name: str) -> list[nn.Parameter]:
        """Parameters beside a peer's own that train with it: of its edges and its objective."""
        own = module_of(self.objectives[name])
        return self.transfer.parameters_of(name) + list(() if own is None else own.parameters())

    def remember(
        self,
        outputs: Mapping[str, PeerOutput],
        targets: Any,
        *,
        labelled: Tensor | None = None,
        learners: Collection[str] | None = None,
    ) -> None:
        """Let the edges keep what they need of a batch that trains; see `TransferGraph.remember`.

        `targets` and `labelled` are as in `losses`.
        """
        if self.transfer.remembers:
            labelled = labelled_mask(targets) if labelled is None else labelled
            self.transfer.remember(outputs, targets, labelled=labelled, learners=learners)

    def loss(self, x: Any, y: Any, *, progress: float | None = None) -> Tensor:
        """Sum of every peer's loss: one `backward()` gives each peer the gradient of its own.

        In training mode and with gradients enabled, edges about relations remember the batch, and
        averages that teach (`teacher_ema`) take the peers' weights as they are before it.
        Warns where peers begin with the same weights, and so would stay alike.

        Args:
            x: inputs, as in `forward`.
            y: what the objectives read; of labels −1 (or a row of NaN) marks rows without one. For
                other forms of labels see `labels`.
            progress: finished fraction of the training in [0, 1]; only needed where a weight or
                an order follows a schedule.

        Raises InputError: an empty batch, targets that do not fit the outputs, or a transfer graph
        that updates peers one after the other, which needs their optimisers: use `peerlearn.fit`.
        """
        if self.transfer.sequential:
            raise InputError(
                "transfer.update: 'sequential' steps one peer after the other and cannot be one "
                "loss; use peerlearn.fit, or update: simultaneous"
            )
        if rows_of(x) == 0:  # layers such as BatchNorm fail on it in words of their own
            raise InputError("x: the batch is empty; a loss needs at least one row: leave it out")
        if not self._compared:
            self._compared = True
            if pairs := twins(self.peers, self.transfer):
                warnings.warn(said_of(pairs), stacklevel=2)
            self.transfer.warn_of_shut_edges()
        trains = self.training and torch.is_grad_enabled()
        self.transfer.averages.follow(self.peers, trains)
        outputs = self(x) | self.averaged(x)
        y, labelled = self.labels(outputs, y)
        losses = self.losses(outputs, y, labelled=labelled, progress=progress)
        if trains:
            self.remember(outputs, y, labelled=labelled)
        return torch.stack([loss.total for loss in losses.values()]).sum()


def forward_peers(
    peers: Mapping[str, nn.Module] | nn.ModuleDict,
    x: Any,
    trunk: Callable[[Any], Any] | None = None,
    *,
    learners: Collection[str] | None = None,
    before: Callable[[str], object] | None = None,
) -> dict[str, PeerOutput]:
    """One forward of each peer: the one way in which steps, evaluation and serving run a cohort.

    Args:
        peers: networks by name: a cohort's, some of them, averages of their weights, …
        x: what all of them read, or a mapping from peer to a view of its own of the same rows. Any
            other mapping holds the arguments of `forward` by name, such as `input_ids` and
            `attention_mask`.
        trunk: makes of a view what peers read; once, however many of them see it.
        learners: whose outputs have a gradient, `TRUNK` for the trunk's; None for everyone's.
        before: called with the name of whoever comes next, `TRUNK` for the trunk: starts the
            random stream that its layers draw from.

    Returns by peer, with logits in fp32; see `PeerOutput.in_fp32`.
    """
    has_views = isinstance(x, Mapping) and set(x) >= set(peers)
    shared: dict[int, Any] = {}
    outputs = {}
    for name, peer in peers.items():
        view = x[name] if has_views else x
        if trunk is not None:
            if id(view) not in shared:
                shared[id(view)] = _run(TRUNK, trunk, view, learners, before)
            view = shared[id(view)]
        output = _run(name, peer, view, learners, before)
        outputs[name] = as_peer_output(output, name).in_fp32()
    return outputs


def _run(
    name: str,
    network: Callable[[Any], Any],
    x: Any,
    learners: Collection[str] | None,
    before: Callable[[str], object] | None,
) -> Any:
    if before is not None:
        before(name)
    call = network if isinstance(x, Tensor) else partial(called, network, name=name)
    try:
        if learners is None or name in learners:
            return call(x)
        with torch.no_grad():
            return call(x)
    except IndexError as error:  # as torch says of an id, and nothing more
        raise unknown_id(name, network, partial(call, x)) or error from None


def _objective_per_peer(
    objective: Objective | Function | Mapping[str, Objective | Function] | None,
    peers: Mapping[str, nn.Module],
) -> dict[str, Objective | Function]:
    if isinstance(objective, Mapping):
        if set(objective) != set(peers):
            raise InputError(
                f"objective: one per peer expected ({', '.join(peers)}), found for "
                f"{', '.join(objective)}"
            )
        return dict(objective)
    chosen = Classification() if objective is None else objective
    return dict.fromkeys(peers, chosen)
