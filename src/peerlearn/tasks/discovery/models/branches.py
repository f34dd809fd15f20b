"""Branches: networks that share all of a backbone but its last stage.

Shape suffixes: B rows, D features of the pooled vector.
"""

import copy

import torch
from torch import Tensor, nn

from peerlearn.models.backbone import Backbone, initialise
from peerlearn.tasks.discovery.data.loaders import ROTATIONS
from peerlearn.transfer.outputs import PeerOutput


class Trunk(nn.Module):
    """The stem and every stage of a backbone but the last."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.stem = backbone.stem
        self.stages = nn.ModuleDict(dict(list(backbone.stages.items())[:-1]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():
            x = stage(x)
        return x


class LinearHeads(nn.Module):
    """A linear classifier of the known classes and one of the new.

    Args:
        features: D, width of the pooled vector.
        known: classes with labels.
        new: classes without.
        incremental: the classifier of the known classes has outputs for the new ones too, as in
            AutoNovel's incremental form; the other one gives them their labels.

    Shapes:
        input: (B, D)
        logits: (B, known + new)
        features: with `incremental`, `clusters` (B, new), the logits of the other classifier.
    """

    def __init__(self, features: int, known: int, new: int, incremental: bool = False) -> None:
        super().__init__()
        # One after the other, so that the known classes start alike however many are new.
        self.known = _linear(features, known)
        self.new = _linear(features, new)
        self.joined = _linear(features, new) if incremental else None

    def forward(self, pooled_BD: Tensor) -> PeerOutput:
        known, new = self.known(pooled_BD), self.new(pooled_BD)
        if self.joined is None:
            return PeerOutput(torch.cat([known, new], 1))
        return PeerOutput(torch.cat([known, self.joined(pooled_BD)], 1), {"clusters": new})

    @torch.no_grad()
    def join(self) -> None:
        """Begin with new classes less likely than any known one, by a bias of one below theirs."""
        if self.joined is not None:
            self.joined.bias.fill_(self.known.bias.min() - 1)

    @torch.no_grad()
    def assign_to(self, centres_ND: Tensor) -> None:
        """Make the new classes those of the nearest centre.

        The nearest of N centres c has the largest 2⟨x, c⟩ − ‖c‖², which is linear in x.
        """
        self.new.weight.copy_(2 * centres_ND)
        self.new.bias.copy_(-centres_ND.square().sum(1))


class Branch(nn.Module):
    """A last stage of its own on a shared trunk, with heads for what is known and what is new.

    Zhao & Han, "Novel Visual Category Discovery with Dual Ranking Statistics and Mutual Knowledge
    Distillation", NeurIPS 2021, section 3.1; with one branch, Han et al., "Automatically
    Discovering and Learning New Visual Categories with Ranking Statistics", ICLR 2020.

    Args:
        backbone: of whose last stage, and pool, this branch takes copies.
        heads: from the pooled vector to logits, and features of its own.
        fed_by: a branch whose pooled vector the heads read in place of their own, as those of the
            local branch do in the authors' code; its parameters stay that branch's.

    Shapes:
        input: what `Trunk` gives for B rows.
        logits: (B, known + new)
        features: `map`, the output of the last stage; `pooled` (B, D); `rotation` (B, 4); and what
            the heads give.
    """

    def __init__(
        self, backbone: Backbone, heads: nn.Module, fed_by: "Branch | None" = None
    ) -> None:
        super().__init__()
        self.stage = copy.deepcopy(list(backbone.stages.values())[-1])
        self.pool = copy.deepcopy(backbone.pool)
        self.heads = heads
        self.rotation = _linear(backbone.classifier.in_features, ROTATIONS)
        self._fed_by = (fed_by,)  # in a tuple, so that it is not registered here too

    def forward(self, shared: Tensor) -> PeerOutput:
        last = self.stage(shared)
        pooled = self.pool(last)
        (feeder,) = self._fed_by
        read = pooled if feeder is None else feeder.pool(feeder.stage(shared))
        output = self.heads(read)
        own = {"rotation": self.rotation(pooled), "map": last, "pooled": pooled}
        return PeerOutput(output.logits, output.features | own)

    def start_from(self, other: "Branch") -> None:
        """Take the last stage and pool of another branch, and its head for the known classes."""
        self.stage.load_state_dict(other.stage.state_dict())
        self.pool.load_state_dict(other.pool.state_dict())
        known, theirs = (heads.get_submodule("known") for heads in (self.heads, other.heads))
        known.load_state_dict(theirs.state_dict())


def _linear(features: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(features, outputs)
    initialise(layer, layer)
    return layer
