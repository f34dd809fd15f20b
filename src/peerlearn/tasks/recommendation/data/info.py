"""What a trained recommender must know of its data, so that it works without them."""

from collections.abc import Mapping
from typing import Self

from peerlearn.data.info import DataInfo
from peerlearn.tasks.recommendation.data.dataset import RecommendationDataset


class RecommendationInfo(DataInfo):
    """Sizes of all that networks hold, and what users and items are called.

    `classes` are the items, and `class_names` their ids.
    """

    users: int
    interactions: int  # that networks propagate over
    friendships: int
    modalities: dict[str, int]  # features by name of the modality
    emotion: bool  # whether valence and arousal of some items are known
    user_ids: tuple[str, ...]
    item_names: tuple[str, ...]  # titles to show

    @property
    def content(self) -> str:
        return f"{self.users:,} users and {self.classes:,} items"

    @classmethod
    def from_dataset(cls, data: RecommendationDataset) -> Self:
        """What a run keeps of `data`."""
        parts: Mapping[str, int] = {n: len(getattr(data, n)) for n in ("train", "val", "test")}
        return cls(
            name=data.name,
            classes=data.items,
            class_names=tuple(map(str, data.item_ids)),
            named=True,
            rows=dict(parts),
            users=data.users,
            interactions=len(data.train),
            friendships=data.friends_2E.shape[1],
            modalities={name: it.x_IF.shape[1] for name, it in data.modalities.items()},
            emotion=data.emotion_I2 is not None,
            user_ids=tuple(map(str, data.user_ids)),
            item_names=tuple(map(str, data.item_names)),
        )
