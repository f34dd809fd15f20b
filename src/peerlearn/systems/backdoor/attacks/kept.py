"""Poisoned data that took long to make, kept so that all arms of a comparison get the same."""

from collections.abc import Callable
from pathlib import Path

from peerlearn.data.npz import write_npz
from peerlearn.engine.fingerprint import fingerprint
from peerlearn.locks import one_at_a_time
from peerlearn.systems.backdoor.attacks.base import Attack
from peerlearn.systems.backdoor.attacks.poisoning import Poisoned
from peerlearn.systems.backdoor.attacks.saved import poisoned_arrays, read_poisoned

FOLDER = "~/.cache/peerlearn/attacks"
"""Where it is kept; everything in it may be deleted."""
FORMAT = 1
"""Is raised where the code of an attack changes what it makes, so that nothing older is taken."""


def kept(attack: Attack, make: Callable[[], Poisoned], *of: object) -> tuple[Poisoned, str]:
    """What `make` makes, or made before of the same attack and the same `of`; and a line about it.

    Two processes that ask at once make it once. Where the folder cannot be written it is made and
    not kept, which the line says.

    Raises InputError: a kept file is damaged; names it.
    """
    path = Path(FOLDER).expanduser() / f"{attack.kind}-{fingerprint(FORMAT, attack, *of)}.npz"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(path.with_suffix(".lock")):
            if not path.exists():
                made = make()
                write_npz(path, poisoned_arrays(made, attack))
                return made, f"attack {attack.kind}: made here, and kept as {path}"
    except OSError:
        return make(), f"attack {attack.kind}: made here; {path.parent} cannot be written"
    saved = read_poisoned(path)
    assert saved is not None, "files here are marked"
    return saved.poisoned, f"attack {attack.kind}: made before, {path}"
