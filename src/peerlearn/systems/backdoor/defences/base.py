"""What rival defences share: the clean rows of whoever defends, and what holds around all of them.

A defence sees clean rows alone: nothing here takes an image with a trigger.

Shape suffixes: B rows of a batch, C channels.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.modes import kept_modes
from peerlearn.randomness import seeded_rng
from peerlearn.validation import Spec

Batches = Iterator[tuple[Tensor, Tensor]]


class CleanRows(NamedTuple):
    """The few clean rows of a defender, as (images, labels) that its network reads.

    Attributes:
        epoch: batches to learn from, shuffled and augmented anew in every epoch.
        all: the same rows as they are, in order.
        held_out: further clean rows, by which thresholds are chosen; never learned from.
        seed: key of all that is random.
    """

    epoch: Callable[[int], Batches]
    all: Callable[[], Batches]
    held_out: Callable[[], Batches]
    seed: int

    def on(self, device: torch.device) -> "CleanRows":
        """The same rows, which come on a device."""

        def moved(batches: Batches) -> Batches:
            return ((x.to(device), y.to(device)) for x, y in batches)

        return CleanRows(
            epoch=lambda number: moved(self.epoch(number)),
            all=lambda: moved(self.all()),
            held_out=lambda: moved(self.held_out()),
            seed=self.seed,
        )


class Defence(Spec):
    """One way to purify a network with clean rows; the fields of a defence are its options."""

    tunes: ClassVar[bool] = False
    """Whether the network is fine-tuned by the last stage of the recipe after `purify`."""
    needs_classes: ClassVar[bool] = True
    """Whether it learns to tell classes apart, which rows of one class alone cannot teach."""

    prunes: ClassVar[bool] = False
    """Whether it zeroes scales of BatchNorm, or none where a tolerance allows none."""

    method: str = Field(description="which defence")

    def purify(self, network: nn.Module, clean: CleanRows) -> None:
        """Change the weights in place; everything is chosen on clean rows alone.

        It is done in fp32 on the network's own device. Modes and generators are left as they were
        found, gradients empty.

        Args:
            network: any whose forward gives logits, or what `as_peer_output` reads.
            clean: its labels are of classes, none unknown.

        Raises InputError: the network lacks what the method works on, or the rows are of one class.
        """
        device = next(network.parameters()).device
        rows = clean.on(device)
        if self.needs_classes:
            self._check_classes(rows)
        with (
            kept_modes(network),
            seeded_rng(clean.seed, "defence", self.method),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            self.change(network, rows)
        network.zero_grad(set_to_none=True)

    def change(self, network: nn.Module, clean: CleanRows) -> None:
        """What `purify` does, by one method; modes, generators and devices are seen to."""
        raise NotImplementedError

    def _check_classes(self, clean: CleanRows) -> None:
        found = {label for _, y_B in clean.all() for label in y_B.unique().tolist()}
        if len(found) < 2:
            what = f"are all of class {found.pop()}" if found else "are none"
            raise InputError(
                f"defence {self.method!r}: the clean rows {what}; it needs rows of at least 2 "
                "classes, so give it more of them"
            )
