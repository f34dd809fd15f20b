"""Where the files of a finished run are, from whatever folder it is opened.

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

OF_DATA = ("root", "labelled", "unlabelled", "name")
"""Keys of a `data` block that may hold a path; `root` comes first, for names are below it."""
WEIGHTS = "weights"
"""The key, of a peer or of a trunk, that holds the path of a file of weights."""


def begun_in(run: Path) -> Path | None:
    """The folder in which a run was begun; None where it does not say so."""
    try:
        folder = read_json(run / "env.json").get("folder")
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


def _paths(
    config: dict[str, Any], catalogue: Catalogue[Any]
) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Every block and key of a configuration that holds a path, and this path."""
    data = config.get("data")
    if isinstance(data, dict):
        for key in OF_DATA:
            value = data.get(key)
            named = key == "name" and isinstance(value, str) and _is_name(data, catalogue)
            if isinstance(value, str) and not named:
                yield data, key, value
    yield from _weights(config)


def _is_name(data: Mapping[str, Any], catalogue: Catalogue[Any]) -> bool:
    """Whether the name in a `data` block is no path: of a catalogue, or not what is read."""
    name, root = data["name"], data.get("root")
    if name == IN_PYTHON or name.startswith(PREFIX):
        return True
    two_sets = data.get("labelled") is not None
    return two_sets or name in catalogue.known or catalogue.find(name, root) is not None


def _weights(block: Any) -> Iterator[tuple[dict[str, Any], str, str]]:
    if isinstance(block, dict):
        if isinstance(block.get(WEIGHTS), str):
            yield block, WEIGHTS, block[WEIGHTS]
        for key, inner in block.items():
            if key != "arms":  # what else could be run
                yield from _weights(inner)


def _places(path: str, begun: Path | None) -> list[Path]:
    """Where a path may be; an absolute one is there alone."""
    typed = Path(path).expanduser()
    return [folder / typed for folder in (begun, Path.cwd()) if folder is not None]
