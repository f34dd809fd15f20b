"""What a training carries from stage to stage."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from signal import SIGTERM

from peerlearn.data.datasets import Batch
from peerlearn.engine.checkpoint import Checkpoints
from peerlearn.engine.interruption import Interrupted, Interruption
from peerlearn.engine.teaching import Teaching
from peerlearn.engine.transports import Transport


@dataclass
class Loop:
    """The cohort's own edges and objectives, checkpoints, and signals."""

    own: Teaching
    checkpoints: Checkpoints
    keys: Mapping[int, str]  # of the stages that may be another run's, by number
    transport: Transport
    interruption: Interruption = field(default_factory=Interruption)

    _stopping: bool = False

    def save_step(self) -> bool:
        """Whether the step that is done must be saved before the next one, in all processes."""
        return self._save(self.checkpoints.due())

    def save_epoch(self) -> bool:
        """Whether the epoch that is done must be saved before the next one, in all processes."""
        return self._save(self.checkpoints.worth_saving())

    def _save(self, is_time: bool) -> bool:
        asked = self.transport.largest(2 if self.interruption.requested else int(is_time))
        self._stopping = asked == 2
        return asked > 0

    def stop_if_saved(self, where: str) -> None:
        """End here, if a signal asked to before the last save; a later one waits for the next.

        Raises Interrupted: with where that is.
        """
        if self._stopping:
            raise Interrupted(self.interruption.requested or SIGTERM, f"saved in {where}")

    def stop_if_asked(self, where: str) -> None:
        """End here, where everything is saved, if a signal asked any process to.

        Raises Interrupted: with where that is.
        """
        if self.transport.largest(self.interruption.requested):
            raise Interrupted(self.interruption.requested or SIGTERM, f"saved in {where}")


def chunks(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """The batches, `size` at a time."""
    iterator = iter(batches)
    while chunk := list(islice(iterator, size)):
        yield chunk
