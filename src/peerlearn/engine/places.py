"""Where the files of a run are, from whatever folder it is opened or continued.

A run keeps paths as they were typed, and in `env.json` the folder in which they were.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from peerlearn.data.catalogue import IN_PYTHON, Catalogue
from peerlearn.errors import InputError
from peerlearn.files import read_json
from peerlearn.importing import PREFIX

OF_DATA = ("root", "labelled", "unlabelled", "clean_from", "name")
"""Keys of a `data` block that may hold a path; `root` comes first, for names are below it."""
NAMES = ("clean_from", "name")
"""Those of them that may be the name of a data set as well."""
PLACES = tuple(f"data.{key}" for key in OF_DATA)
"""Keys that say where the data are; which they are is known by their fingerprint."""
WEIGHTS = ("weights", "frozen")
"""Keys, of a peer or of a whole network, that may hold the path of a file of weights."""
OUTSIDE, PUBLIC, SHARED = "evaluation.ood", "transport.public", "transport.folder"
"""Keys of a list of what may be paths, of one such, and of a folder."""
ENVIRONMENT = "env.json"


def is_place(key: str) -> bool:
    """Whether the value of a dotted key may be the path of something that can move."""
    return key in (*PLACES, OUTSIDE, PUBLIC, SHARED) or key.rpartition(".")[2] in WEIGHTS


def begun_in(run: Path) -> Path | None:
    """The folder in which a run or a comparison was begun; None where it does not say so."""
    kept = run / ENVIRONMENT
    if not kept.exists():  # of a comparison every run has one
        kept = next(iter(sorted(run.glob(f"cells/*/*/{ENVIRONMENT}"))), kept)
    try:
        folder = read_json(kept).get("folder")
    except (InputError, AttributeError):
        return None
    return Path(folder) if isinstance(folder, str) else None


def located(
    written: Mapping[str, Any], begun: Path | None, catalogue: Catalogue[Any]
) -> dict[str, Any]:
    """A configuration whose relative paths are absolute, where as typed they name no such file.

    A path is looked for in the folder `begun` of the run first, then in the current one.
    """
    made = copy.deepcopy(dict(written))
    for block, key, path in _paths(made, catalogue):
        found = next((place for place in _places(path, begun) if place.exists()), None)
        typed = Path(path).expanduser()
        if found is not None and not (typed.exists() and typed.samefile(found)):
            block[key] = str(found)
    return made


def same_place(was: Any, now: Any, begun: Path | None) -> bool:
    """Whether a value typed where a run was begun, and one typed here, are equal or name one file.

    Or, one by one, the same files. Without `begun`, which an older version did not keep, only what
    is equal is the same.
    """
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return all(same_place(*pair, begun) for pair in zip(was, now, strict=True))
    if was == now or begun is None or not (isinstance(was, str) and isinstance(now, str)):
        return bool(was == now)
    one, other = begun / Path(was).expanduser(), Path(now).expanduser()
    return one.exists() and other.exists() and one.samefile(other)


def moved(before: Mapping[str, Any], now: Mapping[str, Any], begun: Path | None) -> list[str]:
    """The keys of two flat configurations that name files which are not at one place."""
    return [
        key
        for key in sorted(before.keys() | now.keys())
        if is_place(key) and not same_place(before.get(key), now.get(key), begun)
    ]


def anchored(
    now: Mapping[str, Any], before: Any, begun: Path | None, field: str = ""
) -> dict[str, Any]:
    """A configuration to keep where `before` was kept: its paths hold for a run begun in `begun`.

    Those that name the same file as before stay as they were typed then; others become absolute.
    """
    kept = {}
    for key, value in now.items():
        was = before.get(key) if isinstance(before, Mapping) else None
        if isinstance(value, Mapping):
            # What stands in an arm is said anew: `arms.NAME.data.name` is as `data.name`.
            value = anchored(value, was, begun, "" if field == "arms." else f"{field}{key}.")
        elif isinstance(value, str | list) and is_place(f"{field}{key}"):
            value = was if same_place(was, value, begun) else _absolute(value)
        kept[key] = value
    return kept


def _absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(each) for each in value]
    path = Path(value).expanduser()
    return str(path.absolute()) if path.exists() else value


def check_there(written: Mapping[str, Any], begun: Path | None, catalogue: Catalogue[Any]) -> None:
    """See that the data of a run are there, which `located` has looked for.

    Raises InputError: they are not; names the places.
    """
    for block, key, path in _paths(dict(written), catalogue):
        places = list(dict.fromkeys(_places(path, begun)))
        if block is written.get("data") and not any(place.exists() for place in places):
            raise InputError(
                f"data.{key}: {path}: no such file or folder. Looked for "
                f"{' and '.join(map(str, places))}; if it has moved, say where it is with --data."
            )


def _paths(config: dict[str, Any], catalogue: Catalogue[Any]) -> Iterator[tuple[Any, Any, str]]:
    """Every block and key of a configuration that holds a path, and this path."""
    data = config.get("data")
    if isinstance(data, dict):
        for key in OF_DATA:
            value = data.get(key)
            named = (
                key in NAMES
                and isinstance(value, str)
                and _is_name({**data, "name": value}, catalogue)
            )
            if isinstance(value, str) and not named:
                yield data, key, value
    elif isinstance(data, str) and not _is_name({"name": data}, catalogue):
        yield config, "data", data
    yield from _outside(config, catalogue)
    yield from _weights(config)
    arms = config.get("arms")  # whose keys are dotted
    for arm in arms.values() if isinstance(arms, dict) else ():
        if isinstance(arm, dict):
            yield from _paths(arm, catalogue)
            for key in PLACES:
                value = arm.get(key)
                if isinstance(value, str) and not _is_name({"name": value}, catalogue):
                    yield arm, key, value


def _is_name(data: Mapping[str, Any], catalogue: Catalogue[Any]) -> bool:
    """Whether the name in a `data` block is no path: of a catalogue, or not what is read."""
    name, root = data["name"], data.get("root")
    if name == IN_PYTHON or name.startswith(PREFIX):
        return True
    two_sets = data.get("labelled") is not None
    return two_sets or name in catalogue.known or catalogue.find(name, root) is not None


def _outside(
    config: Mapping[str, Any], catalogue: Catalogue[Any]
) -> Iterator[tuple[Any, Any, str]]:
    """What of `evaluation.ood` and a transport are paths, by place in what holds it."""
    data = config.get("data")
    root = data.get("root") if isinstance(data, dict) else None
    for dotted in (OUTSIDE, PUBLIC, SHARED):
        outer, _, key = dotted.partition(".")
        block, key = (b, key) if isinstance(b := config.get(outer), dict) else (config, dotted)
        held: list[Any] = [(block, key, value := block.get(key))]
        if isinstance(value, list):
            held = [(value, place, each) for place, each in enumerate(value)]
        for holder, place, each in held:
            named = {"name": each, "root": root}
            if isinstance(each, str) and (dotted == SHARED or not _is_name(named, catalogue)):
                yield holder, place, each


def _weights(block: Any) -> Iterator[tuple[dict[str, Any], str, str]]:
    if isinstance(block, dict):
        for key, inner in block.items():
            if isinstance(inner, str) and key.rpartition(".")[2] in WEIGHTS:
                yield block, key, inner
            elif key != "arms":  # what else could be run
                yield from _weights(inner)


def _places(path: str, begun: Path | None) -> list[Path]:
    """Where a path may be; an absolute one is there alone."""
    typed = Path(path).expanduser()
    return [folder / typed for folder in (begun, Path.cwd()) if folder is not None]
