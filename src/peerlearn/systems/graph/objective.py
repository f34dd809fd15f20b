"""What a peer with two heads learns from data."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from peerlearn.cohort import Objective
from peerlearn.transfer.outputs import PeerOutput


@dataclass(frozen=True)
class MultiTask:
    """`L + weight · cross-entropy of the auxiliary head`, over all rows, labelled or not.

    Args:
        main: L, what the peer learns from labels.
        weight: of the second task.
    """

    main: Objective
    weight: float

    def __call__(self, output: PeerOutput, targets: Tensor) -> Tensor:
        """The loss of one peer, whose network is an `AuxiliaryNetwork`."""
        features = output.features
        second = F.cross_entropy(features["auxiliary"].float(), features["auxiliary_target"])
        return self.main(output, targets) + self.weight * second
