"""Trained peers as plain modules: what raw rows become, a peer with its trunk, probabilities.

Shape suffixes: N rows, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.cohort import forward_peers
from peerlearn.data.augment import Normalisation

Align = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Logits by peer, of one meaning for all; see `Reader.aligned`."""


class Preprocess(nn.Module):
    """What networks read of raw rows: (x − mean) / std by channel or feature, as float32.

    uint8 is divided by 255 first. Floats are taken as they are: beside networks that were trained
    on uint8 they are to be in [0, 1]. A std of 0 counts as 1.

    Shapes: input (N, C, ...) and output alike.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # In float64, as training and evaluation reckon them.
        known = Normalisation.of(mean, std)
        self.register_buffer("mean", known.mean)
        self.register_buffer("std", known.std)

    def forward(self, x: Tensor) -> Tensor:
        return Normalisation(self.mean, self.std).apply(x)


class OnTrunk(nn.Module):
    """A peer with the trunk that it shares with others, as one network of its own.

    Args:
        trunk: makes of rows what the peer reads.
        others: peers whose layers it runs too, by name.
    """

    def __init__(
        self, trunk: nn.Module, peer: nn.Module, others: Mapping[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.trunk, self.peer = trunk, peer
        self.others = nn.ModuleDict(others or {})  # registered, so that their weights are here

    def forward(self, x: Any) -> Any:
        return self.peer(self.trunk(x))


class Probabilities(nn.Module):
    """The mean probabilities of one or several peers.

    Args:
        peers: networks by name.
        names: of those that are asked; others are there because these run their layers.
        align: makes of their logits such that belong together.
        trunk: in front of all of them; None where there is none.
        multilabel: whether several labels can hold at once.
        preprocess: in front of that, for raw rows; None where rows come as networks read them.

    Shapes:
        input: what a peer reads of N rows, or raw rows.
        result: (N, C, ...), float32.
    """

    def __init__(
        self,
        peers: Mapping[str, nn.Module],
        names: Sequence[str],
        align: Align,
        trunk: nn.Module | None = None,
        multilabel: bool = False,
        preprocess: nn.Module | None = None,
    ) -> None:
        super().__init__()
        # By number, for names such as `global` are none in the code of an exported program.
        self.peers = nn.ModuleList(peers.values())
        self.places = {name: list(peers).index(name) for name in names}
        self.trunk = trunk
        self.preprocess = preprocess
        self.multilabel = multilabel
        self._align = align

    def forward(self, x: Any) -> Tensor:
        if self.preprocess is not None:
            x = self.preprocess(x)
        asked = {name: self.peers[place] for name, place in self.places.items()}
        outputs = forward_peers(asked, x, self.trunk)
        logits = self._align({name: output.logits for name, output in outputs.items()})
        each = [z.sigmoid() if self.multilabel else z.softmax(1) for z in logits.values()]
        return each[0] if len(each) == 1 else torch.stack(each).mean(0)
