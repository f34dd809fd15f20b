"""Parts of a user's own, which tests name by `python:own_parts:NAME`."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.transfer.knowledge.base import EdgeOptions, Knowledge
from peerlearn.transfer.outputs import BatchView


def huber(teacher: Tensor, learner: Tensor) -> Tensor:
    """A divergence of logits, without a temperature."""
    return F.huber_loss(learner, teacher, reduction="none").mean(-1)


def softened(teacher: Tensor, learner: Tensor, temperature: float) -> Tensor:
    """KL divergence as `kl` has it, with the temperature's factor."""
    log_p, log_q = (
        F.log_softmax(teacher / temperature, -1),
        F.log_softmax(learner / temperature, -1),
    )
    return temperature**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def one_number(teacher: Tensor, learner: Tensor) -> Tensor:
    """No divergence: it reduces the rows too."""
    return F.mse_loss(learner, teacher)


def fails(teacher: Tensor, learner: Tensor) -> Tensor:
    raise RuntimeError("no room")


def worst_recall(logits: Tensor, targets: Tensor) -> Tensor:
    """A metric: the recall of the class that is found least often."""
    right = (logits.argmax(1) == targets).double()
    return torch.stack([right[targets == kind].mean() for kind in targets.unique()]).min()


def odds(logits: Tensor, targets: Tensor) -> float:
    """A metric of which less is better: the mean of 1 − p of the label."""
    return 1 - logits.softmax(1).gather(1, targets[:, None]).mean().item()


def two_numbers(logits: Tensor, targets: Tensor) -> Tensor:
    """No metric."""
    return logits[0, :2]


class Silence(Knowledge):
    """A kind of knowledge that teaches nothing, and does not say how it travels."""

    Options = EdgeOptions

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        return {}


class Neighbours(nn.Module):
    """A network in torch-geometric's way: the nodes, or the graphs where `batch` is told."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(2 * features, classes)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        senders, receivers = edge_index
        received = torch.zeros_like(x).index_add(0, receivers, x[senders])
        out = self.layer(torch.cat([x, received], 1))
        if batch is None:
            return out
        return out.new_zeros(int(batch.max()) + 1, out.shape[1]).index_add(0, batch, out)
