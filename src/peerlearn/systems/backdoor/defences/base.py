"""What rival defences share: the clean rows of whoever defends, and how a network is tuned on them.

Shape suffixes: B rows of a batch, C channels.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

from pydantic import Field
from torch import Tensor, nn

from peerlearn.validation import Spec

Batches = Iterator[tuple[Tensor, Tensor]]


class CleanRows(NamedTuple):
    """The few clean rows of a defender, as (images, labels) that its network reads.

    Attributes:
        epoch: batches to learn from, shuffled and augmented anew in every epoch.
        all: the same rows as they are, in order.
        held_out: further clean rows, by which thresholds are chosen; never learned from.
        unit_C11: what a pixel that grows by all of its range adds to a channel of the input.
        seed: key of all that is random.
    """

    epoch: Callable[[int], Batches]
    all: Callable[[], Batches]
    held_out: Callable[[], Batches]
    unit_C11: Tensor
    seed: int


class Defence(Spec):
    """One way to purify a network with clean rows; the fields of a defence are its options."""

    tunes: ClassVar[bool] = False
    """Whether the network is fine-tuned by the last stage of the recipe after `purify`."""

    method: str = Field(description="which defence")

    def purify(self, network: nn.Module, clean: CleanRows) -> None:
        """Change the weights in place; everything is chosen on clean rows alone."""
        raise NotImplementedError
