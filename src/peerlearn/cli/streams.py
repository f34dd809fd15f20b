"""What is printed on streams that cannot write every character: plain ones take their place."""

import codecs
import io
import sys

#: What has a plain form. Anything else that a stream cannot write is escaped, as in `\u03c4`.
PLAIN = {
    "→": "->", "←": "<-", "×": "x", "·": "-", "•": "*", "…": "...", "±": "+/-", "−": "-",
    "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "≤": "<=", "≥": ">=", "≈": "~",
    "²": "^2", "√": "sqrt ", "τ": "tau", "✓": "+", "✗": "x", "━": "-", "╸": "-", "╺": "-",
    "─": "-", "│": "|", "\N{NO-BREAK SPACE}": " ",
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


def let_streams_write_anything() -> None:
    """From now on no character makes stdout or stderr fail, whatever their encoding is."""
    codecs.register_error(HANDLER, plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
