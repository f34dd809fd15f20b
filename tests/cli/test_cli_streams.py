"""Streams that cannot write every character: plain ones take their place, and nothing fails."""

import io
import sys

import pytest
from rich.console import Console
from tiny_commands import TINY

from peerlearn import cli as command_line
from peerlearn.cli.streams import let_streams_write_anything

ENCODINGS = ("ascii", "cp1252", "cp437", "latin-1", "utf-8")


class Streams:
    """stdout and stderr of one encoding, and what came out of them."""

    def __init__(self, monkeypatch, encoding):
        self.encoding = encoding
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
            monkeypatch.setattr(sys, name, stream)
        let_streams_write_anything()

    def said(self, name="stdout"):
        return getattr(sys, name).buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", "a -> b, 1x8x8, 0.5 +/- 0.1, -3 ...: \\u03bb"),
        ("cp1252", "a -> b, 1×8×8, 0.5 ± 0.1, -3 …: \\u03bb"),
        ("cp437", "a -> b, 1x8x8, 0.5 ± 0.1, -3 ...: \\u03bb"),
        ("utf-8", "a → b, 1×8×8, 0.5 ± 0.1, −3 …: λ"),
    ],
)
def test_a_character_that_is_not_there_has_a_plain_form(monkeypatch, encoding, written):
    streams = Streams(monkeypatch, encoding)
    print("a → b, 1×8×8, 0.5 ± 0.1, −3 …: λ", end="")
    assert streams.said() == written


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_byte_of_a_file_name_that_is_no_text_is_shown(monkeypatch, encoding, name):
    streams = Streams(monkeypatch, encoding)
    print("caf\udce9.png", file=getattr(sys, name), end="")
    assert streams.said(name) == "caf\\xe9.png"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_of_rich_is_written(monkeypatch, encoding):
    from peerlearn.cli.screen import table

    streams = Streams(monkeypatch, encoding)
    Console(width=80).print(table(["peer", "± of τ"], [["b → a", "0.5 ± 0.1"]]))
    assert "b" in streams.said()
    assert "0.5" in streams.said()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("validate", "dml", *TINY), 0),
        (("ls",), 0),
        (("ls", "data"), 0),
        (("ls", "models"), 0),
        (("run", "--help"), 0),
        (("validate", "dml", "peers.é.model=nöpe", "data=→.npz"), 2),
    ],
)
def test_verbs_end_as_they_do_on_any_stream(tmp_path, monkeypatch, encoding, words, status):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEERLEARN_DATA", str(tmp_path / "no-data-here"))
    monkeypatch.setattr(sys, "argv", ["peerlearn", *words])
    streams = Streams(monkeypatch, encoding)
    with pytest.raises(SystemExit) as left:
        command_line.main()
    assert (left.value.code or 0) == status
    assert streams.said() or streams.said("stderr")
