"""Whether a folder may be continued: what must be as it was, and what is said where it is not."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from peerlearn.engine.growth import Growth, grown_epochs
from peerlearn.engine.places import begun_in, is_place, moved, same_place
from peerlearn.errors import InputError
from peerlearn.plain_yaml import parse_yaml, to_yaml

#: Keys of a configuration that say what else could be run, not what this run does.
PLANS = ("arms",)


def check_begun(folder: Path | None, resume: str, out: str) -> None:
    """See that there is a run to continue; `resume` and `out` are what users call the options.

    Raises InputError: no folder, no run in it, or a comparison.
    """
    if folder is None:
        raise InputError(f"{resume}: name the run folder to continue with {out}")
    if (folder / "cells").is_dir():
        raise InputError(f"{resume}: {folder} holds a comparison; continue it with compare")
    if not (folder / "config.yaml").exists():
        what = "holds no run (no config.yaml)" if folder.exists() else "does not exist"
        raise InputError(f"{resume}: {folder} {what}; leave {resume} out to start one there")


def data_changed(folder: Path, said: Sequence[str]) -> InputError:
    """What to raise where a folder would be continued on other data."""
    return InputError(
        f"{folder}: cannot resume, for the data changed since it began:\n  " + "\n  ".join(said)
    )


def holds(folder: Path, what: str, writer: str | None = None) -> InputError:
    """What to raise where `folder` holds `what`, which was not to be continued.

    `writer` is a process that works at it now, in words, where others may help it.
    """
    if writer is not None:
        return InputError(
            f"{folder}: {writer} works at {what} there; the same command with --resume helps it: "
            "each takes what no other has begun. Or choose another --out"
        )
    return InputError(
        f"{folder}: already holds {what}; continue it with --resume, or choose another --out"
    )


def not_empty(folder: Path) -> InputError:
    """What to raise where something else is in `folder`."""
    return InputError(f"{folder}: exists and is not empty; choose another --out")


def check_same(
    folder: Path,
    written: Mapping[str, Any],
    config: Mapping[str, Any],
    movable: Collection[str] = (),
) -> Growth:
    """See that a folder is continued with the configuration it was started with, `PLANS` aside.

    More epochs are not another configuration; they are returned. Neither are other words for the
    path of the same file. What `movable` keys name may be anywhere: whether it is the same is seen
    by fingerprints.

    Raises InputError: names every key that differs.
    """
    before, now = _flat(written), _flat(config)
    grown, begun = grown_epochs(before, now), begun_in(folder)
    changed = [
        _difference(key, before, now)
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
        and key not in grown
        and key not in movable
        and not (is_place(key) and same_place(before.get(key), now.get(key), begun))
    ]
    if changed:
        fewer = any(line.startswith("epochs: was") for line in changed)
        hint = "\n(a run can get more epochs, not fewer)" if fewer else ""
        raise InputError(
            f"{folder}: cannot resume with a changed configuration:\n  "
            + "\n  ".join(changed)
            + hint
        )
    return grown


def moved_words(
    folder: Path, written: Mapping[str, Any], config: Mapping[str, Any]
) -> Sequence[str]:
    """Where the files of a run are now, and were when its folder was written, where they moved."""
    before, now = _flat(written), _flat(config)
    return [_difference(key, before, now) for key in moved(before, now, begun_in(folder))]


def _difference(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return f"{key}: was {before.get(key, 'not set')!r}, now {now.get(key, 'not set')!r}"


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it is read back, by dotted keys, without `PLANS`."""
    plain = parse_yaml(to_yaml({k: v for k, v in config.items() if k not in PLANS}), "config")
    if isinstance(plain.get("data"), str):  # a short form
        plain["data"] = {"name": plain["data"]}
    return flatten(plain)


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key to value."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat
