"""The one way YAML is read and written here: plain data, numbers and words as YAML 1.2 has them.

PyYAML reads YAML 1.1, in which `012` is 10, `yes` is true and `1e-3` is a text; it keeps the last
of two equal keys, and follows a file however deep it nests. What is read here is mappings, lists,
texts, numbers, true, false and null (https://yaml.org/spec/1.2.2/#103-core-schema). Tags, which
could name anything, are refused.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from peerlearn.errors import InputError
from peerlearn.files import read_text

#: Far above any recipe, far below where Python's stack or memory ends.
DEEPEST, LONGEST, MOST_NODES, MOST_DIGITS = 50, 1 << 20, 100_000, 250

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_NUMERIC = list("-+.0123456789")


def _refused(said: str, at: Any) -> ConstructorError:
    return ConstructorError(None, None, said, at.start_mark)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - none of YAML 1.1

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0
        self._sizes: dict[str, int] = {}  # nodes below each anchor that is complete

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """One node and all below it, within bounds; an alias counts as all that it stands for."""
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise _refused(f"the tag {event.tag!r}; tags are not read", event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise _refused(f"the alias *{event.anchor} stands inside of what it names", event)
            self._nodes += self._sizes.get(event.anchor or "", 0)
        before = self._nodes
        self._nodes, self._depth = before + 1, self._depth + 1
        if self._depth > DEEPEST:
            raise _refused(f"nested more than {DEEPEST} deep", event)
        if self._nodes > MOST_NODES:
            raise _refused(
                f"more than {MOST_NODES:,} values, aliases counted as what they stand for", event
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        if (anchor := getattr(event, "anchor", None)) and not isinstance(event, yaml.AliasEvent):
            self._sizes[anchor] = self._nodes - before
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping in which no key is there twice; what `<<` brings gives way to its own keys."""
        self.refuse_twins(node)
        return super().construct_mapping(node, deep)

    def refuse_twins(self, node: MappingNode) -> None:
        """Raise where two keys of a mapping are equal."""
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, mark = self.construct_object(key_node, deep=True), key_node.start_mark
            if not isinstance(key, Hashable):
                raise _refused(f"the key {key!r} is not a text", key_node)
            if key in lines:
                said = f"the key {key!r} is there twice, in lines {lines[key]} and {mark.line + 1}"
                raise _refused(said, key_node)
            lines[key] = mark.line + 1

    def flatten_mapping(self, node: MappingNode) -> None:
        """As PyYAML does, for mappings that are merged too."""
        self.refuse_twins(node)
        super().flatten_mapping(node)

    def construct_yaml_int(self, node: ScalarNode) -> int:
        """`012` is 12; `0o14` and `0xc` are too."""
        text = self.construct_scalar(node)
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        if len(text) > MOST_DIGITS:
            raise _refused(f"a number of {len(text):,} digits; allowed: {MOST_DIGITS}", node)
        return int(text, base)


def _resolve(kind: type[yaml.resolver.BaseResolver]) -> None:
    prefix = "tag:yaml.org,2002:"
    kind.add_implicit_resolver(f"{prefix}bool", _BOOL, list("tTfF"))
    kind.add_implicit_resolver(f"{prefix}int", _INT, _NUMERIC)
    kind.add_implicit_resolver(f"{prefix}float", _FLOAT, _NUMERIC)
    kind.add_implicit_resolver(f"{prefix}null", _NULL, ["~", "n", "N", ""])
    kind.add_implicit_resolver(f"{prefix}merge", re.compile("^<<$"), ["<"])


class _Dumper(yaml.SafeDumper):
    """Quotes a text that either YAML would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """A value that is there twice is written twice."""
        return True


_resolve(_Loader)
_resolve(_Dumper)  # beside those of YAML 1.1, which it has already
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse_yaml(text: str, where: str) -> Any:
    """The plain data that a YAML text holds; None for an empty one.

    Raises InputError: not YAML, a key that is there twice (names both lines), a tag, or more or
    deeper than any configuration; begins with `where`.
    """
    if len(text) > LONGEST:
        raise InputError(f"{where}: not YAML: {len(text):,} characters; allowed: {LONGEST:,}")
    try:
        return _unshared(yaml.load(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not YAML: {_fault(error)}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises InputError: no such file, not readable, not YAML as in `parse_yaml`, or not a mapping of
    texts to values.
    """
    given = parse_yaml(read_text(path), str(path))
    if not isinstance(given, dict):
        raise InputError(f"{path}: expected a mapping of keys, found {type(given).__name__}")
    for key in given:
        if not isinstance(key, str):
            raise InputError(f"{path}: the key {key!r} is not a text; put it in quotes")
    return given


def _unshared(value: Any) -> Any:
    """The same, so that to change what stands at an alias changes nothing elsewhere."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def to_yaml(value: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads as the same data, and other readers too."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _fault(error: yaml.YAMLError) -> str:
    """Where and what, in one line."""
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + (getattr(error, "problem", None) or str(error).splitlines()[0])
