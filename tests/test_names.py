"""Names that become parts of paths."""

import pytest

from peerlearn.errors import InputError
from peerlearn.names import LONGEST, check_names

WRONG = {
    "": "it is empty",
    "  ": "it is empty",
    "a/b": "it holds '/'",
    "/tmp/x": "it holds '/'",
    "..\\x": "it holds '\\\\'",
    "..": "begins or ends with a dot",
    ".hidden": "begins or ends with a dot",
    "end.": "begins or ends with a dot",
    " a": "begins or ends with a dot or a space",
    "a\x00b": "it holds '\\x00'",
    "a\nb": "it holds '\\n'",
    "C:x": "it holds ':'",
    "nul": "Windows keeps this name",
    "Com1.txt": "Windows keeps this name",
    "x" * (LONGEST + 1): "it has 101 characters; allowed: 100",
    "é\ud800": "half a character",
}


@pytest.mark.parametrize(("name", "why"), WRONG.items(), ids=repr)
def test_what_cannot_be_a_part_of_a_path_is_refused(name: str, why: str) -> None:
    with pytest.raises(InputError) as error:
        check_names([name], "arms", "arm")
    assert str(error.value).startswith("arms: ")
    assert why in str(error.value)


def test_names_that_differ_by_case_alone_are_refused() -> None:
    with pytest.raises(InputError, match="peers: 'a' and 'A' differ by case alone"):
        check_names(["b", "a", "A"], "peers", "peer")


@pytest.mark.parametrize("name", ["mutual", "kdml-v4", "a0.5-w1.5", "α=2", "with space", "console"])
def test_other_names_are_taken(name: str) -> None:
    check_names([name], "arms", "arm")
