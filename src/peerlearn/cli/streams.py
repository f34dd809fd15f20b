"""Streams that cannot write every character, and streams whose reader goes away."""

import codecs
import io
import sys
from typing import Any

#: What has a plain form. Anything else that a stream cannot write is escaped, as in `\u03c4`.
PLAIN = {
    "→": "->", "←": "<-", "×": "x", "·": "-", "•": "*", "…": "...", "±": "+/-", "−": "-",
    "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "≤": "<=", "≥": ">=", "≈": "~",
    "²": "^2", "√": "sqrt ", "τ": "tau", "✓": "+", "✗": "x", "━": "-", "╸": "-", "╺": "-",
    "α": "alpha", "γ": "gamma", "─": "-", "│": "|", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip
HANDLER = "peerlearn-plain"


def plain(error: UnicodeError) -> tuple[str, int]:
    """Handler of codecs: plain characters for those that an encoding lacks.

    A byte of a file name that is no text, which Python keeps as half a surrogate pair, is shown as
    that byte: `caf\\xe9.png`.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(each) or _escaped(each) for each in lacking), error.end


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode("ascii")


class _Pipe(io.FileIO):
    """A file descriptor that takes what nobody reads any more, as after `| head`."""

    closed_early = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            self.closed_early = True
            return len(data)


def outlive_readers() -> None:
    """From now on a verb does its work to the end, whoever has stopped to read what it prints."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or stream.isatty():
            continue
        if isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
            stream.flush()
            pipe = _Pipe(stream.fileno(), "w", closefd=False)
            stands_for = io.TextIOWrapper(
                io.BufferedWriter(pipe),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, stands_for)


def closed_early() -> bool:
    """Whether the reader of stdout went away before it had read everything."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Pipe) and raw.closed_early


def let_streams_write_anything() -> None:
    """From now on no character makes stdout or stderr fail, whatever their encoding is."""
    codecs.register_error(HANDLER, plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
