"""The data that cells of a comparison share, so that they are read once."""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class DataKeeper(Protocol):
    """Whoever keeps what was read."""

    def get(self, key: object, read: Callable[[], T]) -> T:
        """What was read for an equal key, or what `read` gives now."""


class KeptData:
    """What was read last, for whoever asks for the same next; nobody changes data once read.

    What was read before goes first, so that there is never memory for more than one.
    """

    def __init__(self) -> None:
        self._held: list[tuple[object, object]] = []

    def get(self, key: object, read: Callable[[], T]) -> T:
        """What was read for an equal key, or what `read` gives now."""
        for known, data in self._held:
            if known == key:
                return data  # type: ignore[return-value]
        self._held.clear()
        data = read()
        self._held.append((key, data))
        return data
