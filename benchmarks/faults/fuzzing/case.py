"""A case: a command line and the files it reads, all of it plain data."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Link(NamedTuple):
    """A symbolic link, which may lead nowhere or round in circles."""

    target: str


class Fifo(NamedTuple):
    """A named pipe that nobody writes to."""


class Folder(NamedTuple):
    """An empty folder."""


Content = bytes | Link | Fifo | Folder
Files = Mapping[str, Content]

CANARY = (
    b"open('EXECUTED', 'w').close()\n"
    b"def make(*a, **k):\n    open('EXECUTED', 'w').close()\n    raise RuntimeError('executed')\n"
)
"""A module that tells when somebody imports it or calls its `make`."""


@dataclass(frozen=True)
class Case:
    """What is tried.

    Attributes:
        words: of the command line, after `peerlearn`; or a call of `calls.CALLS` and its arguments.
        files: by their paths below the folder that the command runs in; names that are not UTF-8
            are written with surrogates, as Python reads them.
        out: what the command may write to, below that folder.
    """

    words: tuple[str, ...]
    files: Files = field(default_factory=dict)
    out: tuple[str, ...] = ()

    def lay_out(self, folder: Path) -> None:
        """Write the files below a folder; a name that the file system does not take is left out."""
        for name, content in self.files.items():
            path = folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                match content:
                    case bytes():
                        path.write_bytes(content)
                    case Link(target):
                        path.symlink_to(target)
                    case Fifo():
                        os.mkfifo(path)
                    case Folder():
                        path.mkdir(exist_ok=True)
            except (OSError, ValueError):
                continue

    def dump(self) -> str:
        """As JSON, to be tried again."""
        files = {name: _dumped(content) for name, content in self.files.items()}
        return json.dumps({"words": self.words, "files": files, "out": self.out}, indent=1)

    @classmethod
    def load(cls, text: str) -> "Case":
        """What `dump` wrote."""
        given = json.loads(text)
        files = {name: _loaded(*content) for name, content in given["files"].items()}
        return cls(tuple(given["words"]), files, tuple(given["out"]))


def _dumped(content: Content) -> tuple[str, str]:
    if isinstance(content, bytes):
        return "bytes", base64.b85encode(content).decode()
    return type(content).__name__, content.target if isinstance(content, Link) else ""


def _loaded(kind: str, text: str) -> Content:
    if kind == "bytes":
        return base64.b85decode(text)
    if kind == "Link":
        return Link(text)
    return Fifo() if kind == "Fifo" else Folder()
