"""One rule for every name that becomes a part of a path: of arms, peers and stages."""

import re
from collections.abc import Iterable

from peerlearn.errors import InputError

LONGEST = 100
#: Of a name on any system: separators, what Windows keeps for itself, and characters unseen.
_NOT_IN_A_NAME = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
_DEVICES = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$", re.IGNORECASE)


def check_names(names: Iterable[object], field: str, what: str) -> None:
    """See that each name can name a file or folder of its own, on any system.

    Args:
        names: as typed.
        field: that holds them, such as `arms`.
        what: they name, in the singular.

    Raises InputError: the first name that cannot, and why; or two that differ by case alone.
    """
    folded: dict[str, str] = {}
    for name in names:
        if fault := _fault(name):
            raise InputError(f"{field}: {str(name)[:LONGEST]!r} cannot name {_a(what)}: {fault}")
        other = folded.setdefault(str(name).casefold(), str(name))
        if other != name:
            raise InputError(
                f"{field}: {other!r} and {name!r} differ by case alone, and some systems cannot "
                f"keep their files apart; give one {what} another name"
            )


def _fault(name: object) -> str:
    if not isinstance(name, str):
        return "it is not a text; put it in quotes"
    if not name.strip():
        return "it is empty"
    if len(name) > LONGEST or len(name.encode("utf-8", "replace")) > 2 * LONGEST:
        return f"it has {len(name)} characters; allowed: {LONGEST}"
    if found := _NOT_IN_A_NAME.search(name):
        return f"it holds {found[0]!r}, and it becomes a part of a path"
    if name.startswith(".") or name != name.strip() or name.endswith("."):
        return "it begins or ends with a dot or a space, and it becomes a part of a path"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "it holds half a character"
    return "Windows keeps this name for a device" if _DEVICES.match(name) else ""


def _a(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"
