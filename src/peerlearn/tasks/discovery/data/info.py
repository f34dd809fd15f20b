"""What a trained network must know of the data it found classes in, so that it works without."""

from typing import Self

from pydantic import Field

from peerlearn.data.info import RowInfo, measured
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset


class DiscoveryInfo(RowInfo):
    """The shape, the classes and the normalisation of rows with known and new classes.

    `classes` counts known classes and clusters, `class_names` names the clusters "new 1", "new 2",
    … for want of better names, and `rows` counts labelled, unlabelled and test rows.

    Attributes:
        known: number of known classes, the first of `class_names`.
        generalised: whether unlabelled rows may be of known classes too, so that known and new
            classes compete.
        orders: of every trained peer, which of its new classes is "new 1", "new 2", …; empty before
            there are any.
    """

    known: int
    generalised: bool = False
    orders: dict[str, tuple[int, ...]] = Field({})

    @classmethod
    def from_discovery(cls, data: DiscoveryDataset, novel: int, overlap: bool = False) -> Self:
        """What a run keeps of `data` for untrained networks that tell `novel` classes apart."""
        clusters = tuple(f"new {number}" for number in range(1, novel + 1))
        return cls(
            **measured(data),
            classes=data.known + novel,
            class_names=data.class_names[: data.known] + clusters,
            known=data.known,
            generalised=overlap or data.generalised,
            rows={
                "labelled": len(data.labelled),
                "unlabelled": len(data.unlabelled),
                "test": len(data.test),
            },
        )

    @property
    def content(self) -> str:
        new = self.classes - self.known
        return f"{super().content}, {self.known} known and {new} new classes"
