"""What a peer with two heads learns from data."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from peerlearn.objectives.base import Objective, PeerView


@dataclass(frozen=True)
class MultiTask(Objective):
    """`L + weight · cross-entropy of the auxiliary head`, over all rows, labelled or not.

    Args:
        main: L, what the peer learns from labels.
        weight: of the second task.
    """

    main: Objective
    weight: float

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer, whose network is an `AuxiliaryNetwork`."""
        features = view.output.features
        second = F.cross_entropy(features["auxiliary"].float(), features["auxiliary_target"])
        return self.main.loss(view) + self.weight * second
