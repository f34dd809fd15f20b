"""The folder of a comparison: started, joined or gone on with, and which cells it is to have."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peerlearn.compare.cells import Cell
from peerlearn.data.fingerprint import Fingerprint
from peerlearn.engine.continuing import check_same, data_changed, holds, moved_words, not_empty
from peerlearn.engine.growth import Growth
from peerlearn.engine.places import PLACES, anchored, begun_in
from peerlearn.engine.run_folder import RunFolder, contents
from peerlearn.errors import InputError
from peerlearn.files import check_inside, read_json, write_json, write_text
from peerlearn.json_shapes import TEXT, WHOLE, check_shape
from peerlearn.locks import LOCK, alone_in, in_use
from peerlearn.plain_yaml import parse_yaml, read_yaml, to_yaml

CELLS = "cells.json"
"""File of the cells that a comparison has been asked for so far."""


def _check_data(out: Path, cell: Cell, now: Fingerprint) -> bool:
    """Refuse to put new cells beside those of an arm that were trained on other rows.

    False where there are none to compare with.
    """
    config, known = cell.config.dump(), False
    for path in sorted(cell.folder(out).parent.glob("seed-*")):
        folder = RunFolder(path)
        if not (folder.fingerprint.exists() and folder.config.exists()):
            continue
        before = read_yaml(folder.config)
        # Seeds may choose among splits; then the others are left to their own check.
        if _choices(before) != _choices(parse_yaml(to_yaml(config), "config")):
            continue
        if said := folder.data_changes(now):
            raise data_changed(path, [*moved_words(path, before, config), *said])
        known = True
    return known


def _choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of its data but for where they are."""
    data = config.get("data")
    data = data if isinstance(data, Mapping) else {}
    return {key: value for key, value in data.items() if f"data.{key}" not in PLACES}


def _worker(out: Path) -> str | None:
    """A process that trains a cell now, in words."""
    found = (in_use(lock.parent) for lock in sorted(out.glob(f"cells/*/*/{LOCK}")))
    return next((who for who in found if who is not None), None)


def open_grid(
    out: Path,
    given: Mapping[str, Any],
    resume: bool,
    cells: Sequence[Cell],
    rows: Mapping[str, tuple[Cell, Fingerprint]],
    longer: bool = True,
) -> None:
    """Start the folder or go on with it; `rows` are a cell of each arm, and its data.

    It may go on for more epochs, if it may be `longer`.

    Processes that are started together come one after the other: the first one starts it.

    Raises InputError: it holds something else, or a comparison that is not to be continued, or not
    like this; RunError: it cannot be written.
    """
    with alone_in(out):
        config = out / "config.yaml"
        names = known_cells(out)
        if config.exists():
            if not resume:
                raise holds(out, "a comparison", _worker(out))
            for path in (out / "shared", *(cell.folder(out) for cell in cells)):
                check_inside(out, path)
            before = read_yaml(config)
            # Where the data moved, cells tell whether they are the same; then they may be anywhere.
            known = [_check_data(out, cell, now) for cell, now in rows.values()]
            # Arms may have come; a changed one is refused by its cells.
            if grown := check_same(out, before, given, PLACES if any(known) else ()):
                if not longer:
                    raise _longer(out, grown)
                (out / "results.json").unlink(missing_ok=True)  # of fewer epochs
            given = anchored(given, before, begun_in(out))
        elif contents(out):
            raise not_empty(out)
        write_text(config, to_yaml(dict(given)))
        names += [(cell.arm, cell.seed) for cell in cells if (cell.arm, cell.seed) not in names]
        write_json(out / CELLS, {"cells": [{"arm": arm, "seed": seed} for arm, seed in names]})


def _longer(out: Path, grown: Growth) -> InputError:
    said = ", ".join(f"{key} is {before}, here {now}" for key, (before, now) in grown.items())
    return InputError(
        f"{out}: {said}. A worker helps with a comparison as it is; to train it for more epochs, "
        "give the command with --resume in place of --worker"
    )


def known_cells(out: Path) -> list[tuple[str, int]]:
    """Arm and seed of the cells that a comparison has been asked for so far.

    Those that are there, of a version that did not keep them.

    Raises InputError: the file that says it is damaged.
    """
    path = out / CELLS
    if not path.exists():
        folders = sorted(out.glob("cells/*/seed-*"))
        numbers = [(it.parent.name, it.name.removeprefix("seed-")) for it in folders]
        return [(arm, int(seed)) for arm, seed in numbers if seed.isdecimal()]
    read = read_json(path)
    check_shape(read, {"cells": [{"arm": TEXT, "seed": WHOLE}]}, path, "the file")
    return [(cell["arm"], cell["seed"]) for cell in read["cells"]]
