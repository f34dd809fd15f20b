"""Overrides for tests that change some of a tiny run's, which would be refused side by side."""

import json
from collections.abc import Mapping
from typing import Any

from peerlearn.systems.overrides import apply_overrides, parse_assignments


def parsed(*words: str) -> dict[str, Any]:
    """Overrides as typed, of which later ones win, also where they are within an earlier block."""
    made: dict[str, Any] = {}
    for word in words:
        ((key, value),) = parse_assignments([word]).items()
        around = (each for each in made if key.startswith(f"{each}."))
        block = next((each for each in around if isinstance(made[each], Mapping)), None)
        if block is not None:
            made[block] = apply_overrides(made[block], {key.removeprefix(f"{block}."): value})
        else:
            made = {each: it for each, it in made.items() if not f"{each}.".startswith(f"{key}.")}
            made[key] = value
    return made


def over(*words: str) -> list[str]:
    """The same as words to type, then all those that are no overrides, in their order."""
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    others = [word for word in words if word not in overrides]
    return [*(f"{key}={json.dumps(it)}" for key, it in parsed(*overrides).items()), *others]
