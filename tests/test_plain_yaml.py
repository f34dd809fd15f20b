"""YAML as plain data: what is read, what is refused, and that what is written is read again."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from peerlearn.errors import InputError
from peerlearn.plain_yaml import DEEPEST, parse_yaml, read_yaml, to_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("1e-3", 0.001),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("true", True),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("=", "="),
        ("~", None),
        ("", None),
        ("a: &x {b: 1}\nc: {<<: *x, b: 2}", {"a": {"b": 1}, "c": {"b": 2}}),
    ],
)
def test_numbers_and_words_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    read = parse_yaml(text, "here")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "lr: 1\nepochs: 2\nlr: 3",
            "line 3, column 1: the key 'lr' is there twice",
        ),
        ("a:\n  b: 1\n  b: 2", "the key 'b' is there twice, in lines 2 and 3"),
        ("a: {<<: {b: 1, b: 2}}", "the key 'b' is there twice"),
        ("1: a\n1.0: b", "the key 1.0 is there twice"),
        ("[" * 3000 + "]" * 3000, f"nested more than {DEEPEST} deep"),
        ("{a: " * 3000 + "}" * 3000, f"nested more than {DEEPEST} deep"),
        ("a: &a [*a]", "the alias *a stands inside of what it names"),
        ("!!python/object/apply:os.system [ls]", "tags are not read"),
        ("a: !!str 5", "tags are not read"),
        ("a: !mine 5", "tags are not read"),
        ("9" * 5000, "a number of 5,000 digits"),
        ("0x" + "f" * 400, "a number of 402 digits"),
        ("? [1]\n: 2", "the key [1] is not a text"),
        ("a: [", "line 1, column 5"),
        ("--- 1\n--- 2", "another document"),
        ("x" * (1 << 21), "2,097,152 characters"),
    ],
)
def test_what_is_refused_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "mine.yaml")
    assert str(error.value).startswith("mine.yaml: not YAML: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_aliases_count_as_what_they_stand_for() -> None:
    names = "abcdefghij"
    lines = ["a: &a [x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]" for a, b in pairwise(names)]
    began = time.perf_counter()
    with pytest.raises(InputError, match="more than 100,000 values"):
        parse_yaml("\n".join(lines), "bomb")
    assert time.perf_counter() - began < 5


def test_what_an_alias_stands_for_is_a_copy() -> None:
    read = parse_yaml("a: &x {b: 1}\nc: *x", "here")
    read["c"]["b"] = 2
    assert read["a"] == {"b": 1}


WRITTEN = [
    "yes", "012", "1e3", "1e-3", "0o17", "09", "1_0", "1.5", "null", "~", "on", "2024-01-01", "=",
    "<<", ".inf", ".nan", "", "true", "12:30", "a: b", "- a", "-", "*a", "&b", "!c", "%d", " e ",
    "x\ny", "é\u2028", "\x07", 1e-5, 1e22, 0.1, 3, True, False, None, [], {}, {"1e3": [1, "2"]},
]  # fmt: skip


@pytest.mark.parametrize("value", WRITTEN, ids=repr)
def test_what_is_written_is_read_as_the_same(value: Any) -> None:
    for whole in (value, [value], {"key": value}):
        assert parse_yaml(to_yaml(whole), "written") == whole
    assert type(parse_yaml(to_yaml(value), "written")) is type(value)
    assert yaml.safe_load(to_yaml({"key": value})) == {"key": value}, "others read something else"


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "number.yaml").write_text("1: 2")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    said = {
        "folder": "is a folder, not a file",
        "latin": "not readable as UTF-8 text (byte 9 is 0xe9)",
        "list": "expected a mapping of keys, found list",
        "number": "the key 1 is not a text; put it in quotes",
        "loop": "not readable (Too many levels of symbolic links)",
        "gone": "no such file",
    }
    for name, words in said.items():
        with pytest.raises(InputError) as error:
            read_yaml(tmp_path / f"{name}.yaml")
        assert str(error.value) == f"{tmp_path / name}.yaml: {words}"


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfrecipe: dml\n")
    assert read_yaml(tmp_path / "bom.yaml") == {"recipe": "dml"}
