"""How many processes were started together, as by `torchrun`; read without torch."""

import os

from peerlearn.errors import InputError


def launched_together() -> int:
    """Their number, this one included; 1 where it was started alone.

    Raises InputError: the environment says no number.
    """
    said = os.environ.get("WORLD_SIZE", "1")
    if not (said.isascii() and said.isdigit()) or int(said) < 1:
        raise InputError(
            f"WORLD_SIZE in the environment: found {said!r}; expected a number of processes, as "
            "torchrun sets it, or no such variable"
        )
    return int(said)
