"""The intermediate features of peers, by the names that their models give them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from peerlearn.errors import InputError, unknown_name
from peerlearn.transfer.outputs import BatchView

LAST = "last"
"""Names the last feature of a peer that is a map, or its last feature where none is."""


class LayerPair(BaseModel):
    """The `layer` of an edge about features or relations. One name alone holds for both peers."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    teacher: str = Field(LAST, alias="from", description="layer of the teaching peer")
    learner: str = Field(LAST, alias="to", description="layer of the learning peer")

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, given: Any) -> Any:
        return {"from": given, "to": given} if isinstance(given, str) else given

    def described(self) -> str:
        """One name, or two with an arrow between them."""
        if self.teacher == self.learner:
            return self.teacher
        return f"{self.teacher} → {self.learner}"


def layer_of(field: str, peer: str, layer: str, view: BatchView) -> tuple[str, Tensor]:
    """The name and the features of a peer's layer, which `last` leaves to the peer.

    Args:
        field: the entry as its configuration names it, for messages.

    Raises:
        InputError: a peer without such a layer.
    """
    features = view.outputs[peer].features
    if not features:
        raise InputError(
            f"{field}.layer: peer {peer!r} gives no features; its forward must return a "
            "peerlearn.transfer.PeerOutput that names them"
        )
    if layer == LAST:
        maps = [name for name, feature in features.items() if feature.ndim == 4]
        layer = (maps or list(features))[-1]
    if layer not in features:
        raise unknown_name(f"layer of peer {peer!r}", layer, [*features, LAST], f"{field}.layer")
    return layer, features[layer]
