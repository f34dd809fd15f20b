"""Averages of peers' weights that teach in their place (Mean Teacher).

Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv 1703.01780: the
teacher's weights are `θ'_t = α θ'_{t−1} + (1 − α) θ_t`, and it learns nothing itself.
"""

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError


class Followed(NamedTuple):
    """What an average follows, and what it reads."""

    peer: str
    decay: float
    view: int | None = None  # number of the augmented view that it reads; None: its peer's

    @property
    def name(self) -> str:
        """What the average is called among outputs; no peer can be called so."""
        view = "" if self.view is None else f":view{self.view}"
        return f"{self.peer}:ema{self.decay!r}{view}".replace(".", "_")  # as submodules need it


def peer_averaged(name: str) -> str:
    """The peer whose average is called so."""
    return name.partition(":")[0]


class AveragedPeer(nn.Module):
    """A network that follows a peer: an exponential moving average of its weights and buffers.

    The decay is `min(α, n / (n + 1))` after n averaged steps, as in the authors' code: the plain
    mean of all weights so far until α is the smaller one, so that it begins as the peer itself.
    Running statistics of BatchNorm are averaged like weights, counters and other whole numbers are
    copied. It predicts in evaluation mode, without dropout and by the averaged statistics; the
    paper's teacher has dropout of its own, which is left out here.

    Args:
        peer: the network to follow.
        decay: α, between 0 and 1.
    """

    def __init__(self, peer: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay, self.averaged = decay, 0  # and how many steps are in it
        self.network = copy.deepcopy(peer).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "AveragedPeer":
        """Stays in evaluation mode, whatever the cohort around it does."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, peer: nn.Module, training: bool = True) -> None:
        """Take the weights that the peer has now into the average.

        Outside training an average that has begun stays as it is.
        """
        if not training and self.averaged:
            return
        decay = min(self.decay, self.averaged / (self.averaged + 1))
        for average, now in zip(_tensors(self.network), _tensors(peer), strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(now.to(average.dtype), 1 - decay)
            else:
                average.copy_(now)
        self.averaged += int(training)

    def get_extra_state(self) -> Tensor:
        """How many steps are in the average: a number of this side, not of an accelerator's."""
        return torch.tensor(self.averaged)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from `get_extra_state()`."""
        self.averaged = int(state)


class Averages(nn.ModuleDict):
    """The averages that a transfer graph names, by their names among outputs.

    They are made of a cohort's networks, so a graph by itself has none yet.

    Attributes:
        of: by name, what each follows.
    """

    def __init__(self, wanted: Iterable[Followed]) -> None:
        super().__init__()
        self.of = {followed.name: followed for followed in wanted}

    @property
    def views(self) -> dict[str, int]:
        """Of those that read another view than their peers, its number."""
        return {name: it.view for name, it in self.of.items() if it.view is not None}

    def make(self, peers: Mapping[str, nn.Module] | nn.ModuleDict, trunk: object = None) -> None:
        """Make those that are not there yet, as copies of the peers.

        Raises InputError: peers share a trunk, whose weights are nobody's to average.
        """
        if self.of and trunk is not None:
            raise InputError(
                "transfer.teacher_ema: peers on a shared trunk have no weights of their own that "
                "make a whole network; leave it out, or give each peer its own network"
            )
        for name, followed in self.of.items():
            if name not in self:
                self[name] = AveragedPeer(peers[followed.peer], followed.decay)

    def networks(self, names: Iterable[str]) -> dict[str, nn.Module]:
        """The averaged networks of these names."""
        return {name: self[name].get_submodule("network") for name in names}

    def follow(
        self,
        peers: Mapping[str, nn.Module] | nn.ModuleDict,
        training: bool = True,
        only: Collection[str] | None = None,
    ) -> None:
        """See `AveragedPeer.follow`: once for every step, before its forwards.

        Those of the peers in `only`; None for all.
        """
        if self.of:
            self.make(peers)
        for name, followed in self.of.items():
            if only is not None and followed.peer not in only:
                continue
            average = self[name]
            assert isinstance(average, AveragedPeer)
            average.follow(peers[followed.peer], training)

    def views_of(
        self, x: Any, names: Iterable[str], peers: Mapping[str, nn.Module] | nn.ModuleDict
    ) -> Any:
        """What averages read: all of them `x`, or each its own of views by name.

        Raises InputError: one that reads a view of its own, and `x` does not have it by its name.
        """
        by_name = isinstance(x, Mapping) and set(x) >= set(peers)
        if missing := [n for n in names if n in self.views and not (by_name and n in x)]:
            raise InputError(
                f"transfer.teacher_view: {missing[0]} reads a view of its own; give x as a mapping "
                f"that has it under that name, beside one for each of {', '.join(peers)}"
            )
        return {n: x[n if n in x else self.of[n].peer] for n in names} if by_name else x


def _tensors(network: nn.Module) -> Iterable[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
