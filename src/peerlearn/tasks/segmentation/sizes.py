"""Networks asked about images of another size than they were trained on."""

from collections.abc import Sequence

from torch import Tensor, nn

from peerlearn.reading.reader import UnreadableError
from peerlearn.transfer.outputs import PeerOutput, as_peer_output


class AnySize(nn.Module):
    """A network that segments, and says clearly which images it cannot read.

    Convolutions take every size; a network with layers that do not may be one of the user's own.

    Args:
        peer: gives a logit for every class and pixel of images of the size of training.
        name: of the peer, for messages.
        sample_shape: (C, H, W) of those.
        classes: number of logits a pixel.

    Raises:
        UnreadableError: on `forward`, where the network fails on images of another size, or gives
            outputs of another size than theirs.
    """

    def __init__(self, peer: nn.Module, name: str, sample_shape: Sequence[int], classes: int):
        super().__init__()
        self.peer = peer
        self.name = name
        self.sample_shape = tuple(sample_shape)
        self.classes = classes

    def forward(self, x: Tensor) -> PeerOutput:
        if tuple(x.shape[1:]) == self.sample_shape:
            return as_peer_output(self.peer(x), self.name)
        try:
            output = as_peer_output(self.peer(x), self.name)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise self._error(x, f"fails on them ({reason})") from error
        shape, expected = tuple(output.logits.shape), (len(x), self.classes, *x.shape[-2:])
        if shape != expected:
            raise self._error(x, f"gives outputs of shape {shape} for them, not {expected}")
        return output

    def _error(self, x: Tensor, what: str) -> UnreadableError:
        (tall, wide), (height, width) = x.shape[-2:], self.sample_shape[1:]
        return UnreadableError(
            f"images of {wide}x{tall} pixels, but peer {self.name!r}, trained on "
            f"{width}x{height}, {what}"
        )
