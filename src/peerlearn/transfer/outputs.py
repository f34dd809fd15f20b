"""What a peer says about a batch: the one shape that every edge, objective and metric reads."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from peerlearn.errors import InputError


class PeerOutput(NamedTuple):
    """Output of one peer for one batch.

    Shapes:
        logits: (batch, classes) for classification, (batch, classes, height, width) for
            segmentation, (nodes, classes) for graphs.
        features: intermediate maps by name, first dimension the batch, such as `stage2` of
            shape (batch, channels, height, width) or `pooled` of shape (batch, channels).
    """

    logits: Tensor
    features: dict[str, Tensor] = {}  # noqa: RUF012 -- a NamedTuple default, never mutated

    def in_fp32(self) -> "PeerOutput":
        """The same with logits in fp32, classes second in memory too.

        Losses subtract numbers that differ in the last digits of a 16-bit float, and a softmax over
        the classes of pixels is several times as fast in this layout.
        """
        return self._replace(logits=in_fp32(self.logits))


def in_fp32(logits: Tensor) -> Tensor:
    """See `PeerOutput.in_fp32`; a tensor that is so already comes back as it is."""
    return logits.to(torch.float32, memory_format=torch.contiguous_format)


def as_peer_output(raw: Any, peer: str) -> PeerOutput:
    """Read what any `nn.Module` returned as a `PeerOutput`.

    Accepts a `PeerOutput`, a tensor of logits, and any object or mapping with `logits`.

    Raises:
        InputError: nothing in `raw` can be read as logits; names the peer and the type found.
    """
    if isinstance(raw, PeerOutput):
        return raw
    if isinstance(raw, Tensor):
        return PeerOutput(raw)
    logits = raw.get("logits") if isinstance(raw, dict) else getattr(raw, "logits", None)
    if isinstance(logits, Tensor):
        return PeerOutput(logits)
    raise InputError(
        f"peer {peer!r}: forward returned {type(raw).__name__}; expected a tensor of logits, "
        "a PeerOutput, or an object with .logits"
    )
