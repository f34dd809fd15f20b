"""Dotted overrides: `peers.a.model=resnet8` on the command line, `transfer.update` in an arm."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from peerlearn.errors import InputError

#: Blocks that may be given as one word, and the key that the word stands for.
SHORT_FORMS = {
    "data": "name",
    "optimiser": "name",
    "lr_schedule": "kind",
    "weight_schedule": "kind",
    "alpha_schedule": "kind",
}
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["epochs=3", "transfer.weight=0.5"]` as a mapping from dotted key to value.

    Values are read as YAML, so `null`, `true`, `[1, 2]` and `{a: 1}` mean what they say. Raises
    InputError: an argument without `=`, or a value that is not YAML.
    """
    parsed = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise InputError(
                f"{assignment!r}: expected KEY=VALUE, such as epochs=3 or peers.a.model=resnet8"
            )
        parsed[key.strip()] = _value(value, key)
    return parsed


def _value(text: str, key: str) -> Any:
    """One value as YAML; `1e-3` is a number, which YAML 1.1 denies."""
    if _NUMBER.match(text.strip()):
        return float(text) if re.search(r"[.eE]", text) else int(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"{key}: {text!r} is not a YAML value") from None


def apply_overrides(
    config: Mapping[str, Any], overrides: Mapping[str, Any], field: str = "overrides"
) -> dict[str, Any]:
    """A copy of `config` with every dotted key set; missing blocks are made on the way.

    Messages say that the overrides are written in `field`. Raises InputError: overrides that are no
    mapping of texts, or a key that goes through a value that has no keys of its own.
    """
    if not isinstance(overrides, Mapping):
        raise InputError(f"{field}: expected a mapping of keys to values; found {overrides!r}")
    result = copy.deepcopy(dict(config))
    for dotted, value in overrides.items():
        if not isinstance(dotted, str):
            raise InputError(f"{field}: the key {dotted!r} is not a text; put it in quotes")
        *path, last = dotted.split(".")
        block: dict[str, Any] = result
        for depth, key in enumerate(path):
            inner = {} if block.get(key) is None else block[key]
            if not isinstance(inner, dict):
                inner = _expanded(key, inner, ".".join(path[: depth + 1]), dotted)
            block[key] = inner
            block = inner
        block[last] = copy.deepcopy(value)
    return result


def _expanded(key: str, word: Any, path: str, dotted: str) -> dict[str, Any]:
    if key in SHORT_FORMS and isinstance(word, str):
        return {SHORT_FORMS[key]: word}
    if key == "transfer" and word in ("none", "predictions: kl"):
        return {} if word != "none" else {"edges": "none"}
    raise InputError(f"{dotted}: {path} is {word!r}, which has no keys; set {path} as a whole")
