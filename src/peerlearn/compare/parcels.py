"""The folder of a run as bytes, for its way from one machine to another.

A parcel is a zip archive of stored files. It is unpacked as what it should be, whoever packed it:
files that a run writes, under the names that a run gives them, in the one folder that they are for.
"""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from peerlearn.errors import RunError
from peerlearn.files import check_inside, write_atomically
from peerlearn.names import check_names

_FILES = re.compile(r"[a-z]+\.(yaml|json|jsonl|npz)")
_WEIGHTS = re.compile(r"checkpoints/(last|best)/([^/]+)\.safetensors")
LATE = ("checkpoints/last/state.safetensors", "results.json")
"""Files that tell how far a run is; they come last, so that the others are there by then."""


def packed(folder: Path) -> bytes:
    """The files of a run; what only its process needs, such as its lock, is left out."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if _fault(name) is None and path.is_file():
                archive.write(path, name)
    return content.getvalue()


def unpack(parcel: bytes, folder: Path) -> None:
    """Write the files of a parcel into the folder of their run, each as a whole.

    Raises RunError: it is damaged, or holds something other than files of a run: nothing is
        written; or one cannot be written. InputError: a link in the folder leads out of it.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(parcel))
        entries = {entry.filename: entry for entry in archive.infolist()}
        faults = [_fault(name) or _odd(entry) for name, entry in entries.items()]
        if len(entries) != len(archive.infolist()):
            faults.append("a name comes twice")
        if found := next(filter(None, faults), None):
            raise RunError(f"{folder}: what came for it is no folder of a run: {found}")
        files = {name: archive.read(name) for name in entries}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise RunError(f"{folder}: what came for it is damaged ({error})") from None
    for name in [*(files.keys() - LATE), *(name for name in LATE if name in files)]:
        path = folder / name
        check_inside(folder, path.parent)
        check_inside(folder, path)
        write_atomically(path, _writer(files[name]))


def _writer(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _fault(name: str) -> str | None:
    """What is wrong with the name of a file; None of one that a run writes."""
    weights = _WEIGHTS.fullmatch(name)
    if weights is None:
        return None if _FILES.fullmatch(name) else repr(name)
    try:
        check_names([weights[2]], "the name of a file", "file")
    except ValueError as error:
        return str(error)
    return None


def _odd(entry: zipfile.ZipInfo) -> str | None:
    """What is wrong with an entry; None of a plain file that takes no more room than its bytes."""
    kind = entry.external_attr >> 28  # of Unix: 8 is a file, 0 says nothing
    if kind not in (0, 8) or entry.is_dir():
        return f"{entry.filename!r} is no file"
    if entry.flag_bits & 1:
        return f"{entry.filename!r} is encrypted"
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        return f"{entry.filename!r} is compressed"
    return None
