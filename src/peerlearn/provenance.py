"""What made a result: versions, the commit of the source, the processor. No host, no path."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypedDict, cast

import torch

from peerlearn.json_shapes import EACH, TEXT, WHOLE, check_shape

SOURCE = Path(__file__).parent


class MadeBy(TypedDict, total=False):
    """An entry of `made_by` of a results file.

    Attributes:
        commit: of peerlearn's source; null where that is no git checkout. `dirty`: whether tracked
            files of the source differed from it.
        processor: its kind.
        torch_geometric, monai: where they are used at all.
        device: what networks ran on.
        cells: of a comparison whose cells were not all made alike, the seeds of each arm.
    """

    peerlearn: str | None
    commit: str | None
    dirty: bool
    python: str
    torch: str
    numpy: str | None
    torch_geometric: str | None
    monai: str | None
    processor: str
    device: str
    cells: dict[str, list[int]]


def made_by(device: torch.device) -> MadeBy:
    """What makes results in this process."""
    own = {"processor": processor(), "device": _named(device)}
    found = cast(MadeBy, _versions() | own)
    if "torch_geometric" in sys.modules:
        found["torch_geometric"] = version_of("torch-geometric")
    if "monai" in sys.modules:
        found["monai"] = version_of("monai")
    return found


def _versions() -> dict[str, Any]:
    """What results are made with, whatever the machine."""
    commit, dirty = source_commit()
    return {
        "peerlearn": version_of("peerlearn"),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version_of("numpy"),
    }


def version_of(package: str) -> str | None:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def source_commit(source: Path = SOURCE) -> tuple[str | None, bool]:
    """The git commit of the source that this process runs, and whether tracked files differ.

    Asked once in a process, whose code stays what it was. (None, False) where the source is
    installed elsewhere, or git is not there or does not answer.
    """
    if source.parent.name != "src" or not (source.parents[1] / ".git").exists():
        return None, False  # a checkout around it would be somebody else's
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--", "."]
    # The caller may itself be run by git, for another repository.
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            command,
            cwd=source.parent,
            env=own | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None, False
    lines = done.stdout.splitlines()
    oid = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
    if not oid or oid.startswith("("):  # of a repository without a commit
        return None, False
    return oid[:12], any(not line.startswith("#") for line in lines)


def processor() -> str:
    """The kind of processor of this machine."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Versions and hardware, and how it was started, for `env.json`."""
    accelerator = torch.accelerator.is_available()
    return (
        _versions()
        | {
            "platform": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.accelerator.current_accelerator().type if accelerator else None,  # type: ignore[union-attr]
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "folder": str(Path.cwd()),  # in which relative paths were typed
        }
    )


def together(cells: Iterable[tuple[str, int, Sequence[Mapping[str, Any]]]]) -> list[MadeBy]:
    """What made the cells of a comparison: each maker once.

    Several makers also say which cells are theirs. An entry without versions stands for cells whose
    files do not say what made them.

    Args:
        cells: arm, seed, and `made_by` of results that hold the cell; empty where it does not say.
    """
    makers: list[tuple[Mapping[str, Any], dict[str, list[int]]]] = []
    for arm, seed, entries in cells:
        entry = _of_cell(entries, arm, seed)
        theirs = next((its for known, its in makers if _alike(known, entry)), None)
        if theirs is None:
            theirs = {}
            makers.append((entry, theirs))
        theirs.setdefault(arm, []).append(seed)
    if len(makers) == 1:
        return [cast(MadeBy, entry) for entry, _ in makers if entry]
    return [cast(MadeBy, dict(entry) | {"cells": its}) for entry, its in makers]


def _of_cell(entries: Sequence[Mapping[str, Any]], arm: str, seed: int) -> Mapping[str, Any]:
    for entry in entries:
        if "cells" not in entry or seed in entry["cells"].get(arm, ()):
            return {key: value for key, value in entry.items() if key != "cells"}
    return {}


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """A library that only one of two processes had loaded makes no difference."""
    both = one.keys() & other.keys()
    return bool(one) == bool(other) and all(one[key] == other[key] for key in both)


def check_makers(given: Any, path: Path) -> None:
    """See that `made_by` of a file can be told, else InputError: file and field."""
    check_shape(given, [{}], path, "made_by")
    for number, entry in enumerate(given):
        where = f"made_by[{number}]"
        for key in ("commit", "processor", "device", "torch", "peerlearn"):
            if entry.get(key) is not None:
                check_shape(entry[key], TEXT, path, f"{where}.{key}")
        check_shape(entry.get("cells", {}), {EACH: [WHOLE]}, path, f"{where}.cells")


def maker_words(entry: Mapping[str, Any]) -> str:
    """A maker in words: version, commit, processor, device, torch."""
    if "peerlearn" not in entry:
        return "a version that did not say what made its results"
    commit, changed = entry.get("commit"), " with changed files" if entry.get("dirty") else ""
    at = f" (commit {commit}{changed})" if commit else ""
    device = entry.get("device", "cpu")
    on = f"{entry.get('processor')}" + ("" if device == "cpu" else f" with {device}")
    return f"peerlearn {entry['peerlearn']}{at} on {on}, torch {entry.get('torch')}"


def mixture_words(entries: Sequence[Mapping[str, Any]]) -> str:
    """One line that says that cells were not all made alike; empty where they were."""
    if len(entries) < 2:
        return ""
    said = []
    for entry in entries:
        cells = entry.get("cells", {}).items()
        which = ", ".join(f"{arm} {','.join(map(str, seeds))}" for arm, seeds in cells)
        said.append(f"{maker_words(entry)}: {which}" if which else maker_words(entry))
    return f"not all cells were made alike: {'; '.join(said)}"


def _named(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{device.type} ({torch.cuda.get_device_name(device)})"
