"""What attacks share: which training rows are poisoned, and what a trigger does to images.

Images are uint8 (N, C, H, W) in 0..255, as they are before any augmentation.

Shape suffixes: N rows, C channels, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from peerlearn.data.datasets import Split
from peerlearn.validation import Spec

#: Images and a generator → images of the same shape. What is random in it comes from the generator.
Change = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Trigger:
    """What an attack does to images.

    Attributes:
        train: to training images, which get the aimed label (or keep theirs, which is it already).
        test: to images shown to the trained network; None: the same.
        decoy: to further training images, which keep their labels, so that the trigger must be
            learned exactly; None for no such images.
    """

    train: Change
    test: Change | None = None
    decoy: Change | None = None

    @property
    def shown(self) -> Change:
        """What is done to images that a trained network is to misread."""
        return self.test or self.train


class Victims(NamedTuple):
    """What an attacker has before it makes its trigger.

    Attributes:
        train: training rows, images uint8 (N, C, H, W) and labels.
        classes: how many there are.
        seed: key of all that is random.
        surrogate: trains a network on rows of the attacker's choice, and gives it in evaluation
            mode, to be called with images as they are here, uint8 or float in 0..255, and
            differentiable in these: `surrogate(rows, classes, epochs)`.
    """

    train: Split
    classes: int
    seed: int
    surrogate: Callable[[Split, int, int], nn.Module]


class Attack(Spec):
    """One way to poison training data; the fields of an attack are its options."""

    clean_label: ClassVar[bool] = False
    """Whether poisoned rows are of the target class and keep their labels."""

    kind: str = Field(description="which attack")
    target: int = Field(0, ge=0, description="number of the class that the trigger shall give")
    ratio: float = Field(
        0.1,
        gt=0,
        le=1,
        description="poisoned part of all training rows; of clean-label attacks at most the rows "
        "of the target class",
    )
    to: Literal["one", "all"] = Field(
        "one", description="one: every class to the target; all: every class to the next one"
    )

    @model_validator(mode="after")
    def _clean_labels_are_of_one_class(self) -> Self:
        if self.clean_label and self.to == "all":
            raise ValueError(f"to: 'all' with {self.kind!r}, which changes no label; allowed: one")
        return self

    @property
    def decoys(self) -> float:
        """Rows with the trigger's `decoy` for every poisoned one."""
        return 0.0

    def check(self, shape_CHW: tuple[int, ...]) -> None:
        """See that the options fit images of a shape, before anything is made.

        Raises InputError: they do not; begins with the name of the option.
        """

    def trigger(self, victims: Victims) -> Trigger:
        """The trigger, made for these rows where it depends on them."""
        raise NotImplementedError

    def aims(self, y_N: Tensor, classes: int) -> Tensor:
        """The class that triggered rows of these classes shall be taken for, int64 (N,)."""
        return (y_N + 1) % classes if self.to == "all" else torch.full_like(y_N, self.target)
