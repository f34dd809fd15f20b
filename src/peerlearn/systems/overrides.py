"""Dotted overrides: `peers.a.model=resnet8` on the command line, `transfer.update` in an arm.

`peers.*.model` is that of every peer.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peerlearn.errors import InputError
from peerlearn.plain_yaml import parse_yaml

#: Blocks that may be given as one word, and the key that the word stands for.
SHORT_FORMS = {
    "data": "name",
    "optimiser": "name",
    "lr_schedule": "kind",
    "weight_schedule": "kind",
    "alpha_schedule": "kind",
    "bayesian": "layers",
}


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["epochs=3", "transfer.weight=0.5"]` as a mapping from dotted key to value.

    Values are read as YAML, so `null`, `true`, `[1, 2]` and `{a: 1}` mean what they say. Raises
    InputError: an argument without `=`, a value that is not YAML, or a key that is there twice.
    """
    parsed: dict[str, Any] = {}
    typed: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(
                f"{assignment!r}: expected KEY=VALUE, such as epochs=3 or peers.a.model=resnet8"
            )
        if key in typed:
            raise InputError(f"{key}: given twice, {typed[key]!r} and {assignment!r}; leave one")
        typed[key], parsed[key] = assignment, _value(value, key)
    return parsed


def _value(text: str, key: str) -> Any:
    try:
        return parse_yaml(text, key)
    except InputError as error:
        reason = str(error).removeprefix(f"{key}: not YAML: ")
        raise InputError(f"{key}: {text[:80]!r} is not a YAML value ({reason})") from None


def apply_overrides(
    config: Mapping[str, Any], overrides: Mapping[str, Any], field: str = "overrides"
) -> dict[str, Any]:
    """A copy of `config` with every dotted key set; missing blocks are made on the way.

    In a key `*` stands for every name that there is by then: `peers.*.model`. What is set for one
    of them by its name counts before that.

    Messages say that the overrides are written in `field`. Raises InputError: overrides that are no
    mapping of texts, a key that goes through a value that has no keys of its own, or two that say
    the same thing twice.
    """
    if not isinstance(overrides, Mapping):
        raise InputError(f"{field}: expected a mapping of keys to values; found {overrides!r}")
    result = copy.deepcopy(dict(config))
    said: dict[str, Any] = {}
    for dotted in overrides:
        if not isinstance(dotted, str):
            raise InputError(f"{field}: the key {dotted!r} is not a text; put it in quotes")
    every = ((each, it) for key, it in overrides.items() for each in _spelt(key, overrides, result))
    for dotted, value in every:
        _refuse_contradiction(dotted, value, said)
        said[dotted] = value
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


def _spelt(key: str, overrides: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    """A key with every `*` as each of the names there are, but for keys that are set themselves."""
    path = key.split(".")
    if "*" not in path:
        yield key
        return
    before, after = path[: path.index("*")], path[path.index("*") + 1 :]
    block: Any = config
    for part in before:
        block = block.get(part) if isinstance(block, Mapping) else None
    there = block if isinstance(block, Mapping) else {}
    names = [name for name, each in there.items() if each is not None]
    if not names:
        raise InputError(f"{key}: there is nothing in {'.'.join(before) or 'the configuration'}")
    for name in names:
        for spelt in _spelt(".".join([*before, str(name), *after]), overrides, config):
            if spelt not in overrides:
                yield spelt


def _refuse_contradiction(dotted: str, value: Any, said: Mapping[str, Any]) -> None:
    """InputError where a key and a block that holds it are both set, so that one would be lost.

    `optimiser=adam optimiser.weight_decay=0.1` adds to a block; what it said already, or will be
    replaced as a whole by what stands behind, is said twice.
    """
    for earlier, block in said.items():
        if earlier.startswith(f"{dotted}."):
            raise InputError(
                f"{dotted}: would replace {earlier}, which stands before it; set {dotted} first, "
                "or leave one of them"
            )
        if not dotted.startswith(f"{earlier}."):
            continue
        for key in dotted.removeprefix(f"{earlier}.").split("."):
            word = earlier.rpartition(".")[2]
            if isinstance(block, str) and word in SHORT_FORMS:
                block = {SHORT_FORMS[word]: block}
            if not isinstance(block, Mapping) or key not in block:
                break
            earlier, block = f"{earlier}.{key}", block[key]
        else:
            if block != value:
                raise InputError(f"{dotted}: set twice, to {block!r} and {value!r}; leave one")


def _expanded(key: str, word: Any, path: str, dotted: str) -> dict[str, Any]:
    if key in SHORT_FORMS and isinstance(word, str):
        return {SHORT_FORMS[key]: word}
    if key == "transfer" and word in ("none", "predictions: kl"):
        return {} if word != "none" else {"edges": "none"}
    raise InputError(f"{dotted}: {path} is {word!r}, which has no keys; set {path} as a whole")


def taken_back(
    config: Mapping[str, Any], overrides: Mapping[str, Any], arm: Mapping[str, Any]
) -> dict[str, str]:
    """Overrides that an arm undoes: it sets the same key, or a block around it, to something else.

    Each with the key of the arm. Of a block that is set, single keys may be the arm's.
    """
    before = apply_overrides(config, overrides)
    after = apply_overrides(before, arm)
    of_arm = {spelt: key for key in arm for spelt in _spelt(key, arm, before)}
    found = {}
    for key, value in overrides.items():
        for dotted in _spelt(key, overrides, config):
            was, now = _at(before, dotted), _at(after, dotted)
            word = dotted.rpartition(".")[2]
            if isinstance(now, Mapping) and isinstance(was, str) and word in SHORT_FORMS:
                now = now.get(SHORT_FORMS[word])
            if isinstance(value, Mapping) or now == was or repr(now) == repr(was):  # nan, too
                continue
            found[key] = next(k for block, k in of_arm.items() if _overlap(dotted, block))
    return found


def _overlap(one: str, other: str) -> bool:
    """Whether one key is the other, or of a block around it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _at(config: Any, dotted: str) -> Any:
    """What stands at a key; None where there is nothing."""
    for key in dotted.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config
