"""What lies in a folder: the one scanner of all rooms, which keeps what it leaves out.

Hidden files and folders, and those that systems leave behind (`HIDDEN`), are never read. Symbolic
links are followed.
"""

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path

from peerlearn.data.account import Account, LeftOut
from peerlearn.data.images import readable
from peerlearn.errors import InputError

HIDDEN = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")
"""Names, in lower case, of what archives and systems put beside files."""

PARTS = ("train", "val", "test")
PART_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What folders of the parts are called, in lower case."""
_LIKE_A_PART = re.compile(r"(train(ing)?|val(id(ation)?)?|dev|test(ing)?)(set|s)?([^a-z].*)?")
NEAR = 0.75
"""Likeness of two names from which on one is taken for a misspelt other."""


class Scan:
    """Looks through a folder and what is in it; see `account` for what was left out.

    Attributes:
        root: the folder; names of what is left out are relative to it.
        notes: sentences about how folders were read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []
        self._left: dict[str, dict[str, None]] = {}

    @property
    def account(self) -> Account:
        """What was left out so far, and the notes."""
        left = (LeftOut(reason, tuple(names)) for reason, names in self._left.items())
        return Account(left_out=tuple(left), notes=tuple(self.notes))

    def leave_out(self, path: Path, reason: str) -> None:
        """Keep in mind that a file or folder is not read."""
        name = path.relative_to(self.root).as_posix() + ("/" if path.is_dir() else "")
        self._left.setdefault(reason, {})[name] = None

    def folders(self, folder: Path) -> list[Path]:
        """The folders in one, sorted by name."""
        return [path for path in self._entries(folder) if path.is_dir()]

    def files(self, folder: Path) -> list[Path]:
        """What else is in it, sorted by name."""
        return [path for path in self._entries(folder) if not path.is_dir()]

    def images(self, folder: Path) -> list[Path]:
        """Every image of a folder, also in subfolders, sorted by path."""
        return sorted(self._below(folder, ()))

    def _below(self, folder: Path, above: tuple[tuple[int, int], ...]) -> list[Path]:
        place = folder.stat()
        here = (place.st_dev, place.st_ino)
        if here in above:  # a link to a folder that it is in
            self.leave_out(folder, "a link to a folder around it")
            return []
        found = []
        for path in self._entries(folder):
            if path.is_dir():
                found += self._below(path, (*above, here))
            elif not readable(path):
                self.leave_out(path, "no image")
            elif path.exists() and not path.is_file():  # a pipe would be waited for
                self.leave_out(path, "no plain file")
            else:
                found.append(path)
        return found

    def _entries(self, folder: Path) -> list[Path]:
        """What is in a folder, without what is hidden."""
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 -- names alone, which sort quickly
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error
        for name in filter(hidden, names):
            self.leave_out(folder / name, "hidden")
        return [folder / name for name in names if not hidden(name)]

    def parts(self, known: Collection[str] = ()) -> Mapping[str, Path]:
        """The folders of train, val and test that there are, by these names.

        They may be called as in `PART_NAMES`. Nothing else beside them is read; `known` are names
        of files that are read otherwise.

        Raises InputError: two folders of one part, or one that looks like a part that is missing.
        """
        found: dict[str, Path] = {}
        others = []
        for path in self.folders(self.root):
            part = PART_NAMES.get(path.name.lower())
            if part is None:
                others.append(path)
            elif part in found:
                raise InputError(
                    f"{self.root}: {found[part].name}/ and {path.name}/ both mean {part}; one of "
                    "them must go."
                )
            else:
                found[part] = path
                if path.name != part:
                    self.notes.append(f"{path.name}/ is read as {part}/")
        for path in others:
            self._refuse_like(path, found)
        if found:
            for path in (*others, *self.files(self.root)):
                if path.name not in known:
                    names = "/, ".join(found[part].name for part in PARTS if part in found)
                    self.leave_out(path, f"beside {names}/")
        return {part: found[part] for part in PARTS if part in found}

    def _refuse_like(self, path: Path, found: Collection[str]) -> None:
        """Refuse a folder with images whose name is nearly that of a part that is not there."""
        meant = _part_like(path.name.lower())
        if meant is None or meant in found or not Scan(path).images(path):
            return
        raise InputError(
            f"{path}: holds images, but is none of train/, val/, test/. Did you mean "
            f"{path.with_name(meant)}? Rename it, or move it away; val/ may be called valid/, "
            "validation/ or dev/, and test/ testing/."
        )


def hidden(name: str) -> bool:
    """Whether a file or folder of that name is never read."""
    return name.startswith(".") or name.lower() in HIDDEN


def _part_like(name: str) -> str | None:
    """The part that a name looks like, such as `test_images` or `tset`."""
    if match := _LIKE_A_PART.fullmatch(name):
        return PART_NAMES[match[1]]
    close = get_close_matches(name, PART_NAMES, n=1, cutoff=NEAR)
    return PART_NAMES[close[0]] if close else None
