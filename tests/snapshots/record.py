"""Record what every recipe and arm gives at tiny size, so that a later state can be set beside it.

    python tests/snapshots/record.py OUT                        # record
    python tests/snapshots/record.py OUT --against REFERENCE    # record, and say what differs
    python tests/snapshots/record.py OUT --only dml/            # runs whose name contains `dml/`
    python tests/snapshots/record.py OUT --against REFERENCE --tolerance 1e-5

A state of the package that computes the same records the same bytes; exit 1 where it does not. One
that adds in another order differs in last bits: numbers within the tolerance then count as equal.
Times and memory are left out. `RECIPE/+NAME` are runs with options that no arm sets. Numbers are
those of one machine: record the reference where the comparison is made.

To record an older state, check it out somewhere and set PYTHONPATH to its `src`.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from configurations import Changes, configurations, write_files

import peerlearn

#: Names of numbers that vary from run to run.
MEASURED = ("train_s", "peak_rss_mb", "seconds", "latency_ms")
#: Differences shown of one file.
SHOWN = 5


def main() -> int:
    """Record, compare if asked to; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write, which must be empty or new")
    parser.add_argument("--against", type=Path, metavar="REFERENCE", help="folder to compare with")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="part of the runs' names")
    parser.add_argument("--tolerance", type=float, default=0.0, help="relative and absolute")
    given = parser.parse_args()
    if given.out.exists() and any(given.out.iterdir()):
        parser.error(f"{given.out} is not empty")
    chosen = [run for run in configurations() if given.only in run[0]]
    if not chosen:
        parser.error(f"--only: no run's name contains {given.only!r}")
    out = given.out.absolute()
    reference = given.against.absolute() if given.against else None
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        write_files(Path())
        for name, recipe, changes in chosen:
            record(name, recipe, changes, out / name)
    print(f"{len(chosen)} runs recorded", file=sys.stderr)
    if reference is None:
        return 0
    found = list(differences(out, reference, given.only, given.tolerance))
    for line in found:
        print(line)
    print(f"{len(found)} differences" if found else "no difference", file=sys.stderr)
    return 1 if found else 0


def record(name: str, recipe: str, changes: Changes, out: Path) -> None:
    """Train one configuration and write what it gave."""
    run = Path(name.replace("/", "-"))
    peerlearn.recipe(recipe, changes).run(out=run)
    out.mkdir(parents=True)
    _write(out / "results.json", json.loads((run / "results.json").read_text(encoding="utf-8")))
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    _write(out / "metrics.json", [json.loads(line) for line in lines])
    if (run / "data.json").exists():
        _write(out / "data.json", json.loads((run / "data.json").read_text(encoding="utf-8")))
    if (run / "gallery.npz").exists():
        with np.load(run / "gallery.npz", allow_pickle=False) as arrays:
            _write(out / "gallery.json", {key: _described(arrays[key]) for key in arrays})


def _described(array: np.ndarray) -> dict[str, Any]:
    values = array.tolist()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "values": values}


def _write(path: Path, value: Any) -> None:
    indent = None if path.name == "gallery.json" else 1
    path.write_text(json.dumps(_lasting(value), indent=indent) + "\n", encoding="utf-8")


def _lasting(value: Any) -> Any:
    """A value without what was measured by the clock or in memory."""
    if isinstance(value, dict):
        return {key: _lasting(inner) for key, inner in value.items() if key not in MEASURED}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value


def differences(
    found: Path, reference: Path, only: str = "", tolerance: float = 0.0
) -> Iterator[str]:
    """A line for everything in which two recorded folders differ, runs named by `only` alone."""
    files = [
        {path.relative_to(folder).as_posix() for path in folder.rglob("*.json")}
        for folder in (found, reference)
    ]
    for name in sorted(files[0] | files[1]):
        if only not in name.rpartition("/")[0]:
            continue
        if name not in files[1]:
            yield f"{name}: not in the reference"
        elif name not in files[0]:
            yield f"{name}: only in the reference"
        else:
            here, there = ((folder / name).read_text("utf-8") for folder in (found, reference))
            if here != there:
                lines = list(_apart(json.loads(here), json.loads(there), "$", tolerance))
                yield from (f"{name}: {line}" for line in lines[:SHOWN])
                if len(lines) > SHOWN:
                    yield f"{name}: and {len(lines) - SHOWN} more"


def _apart(here: Any, there: Any, path: str, tolerance: float) -> Iterator[str]:
    """Where two JSON values differ, `path` leading to them."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in dict.fromkeys([*there, *here]):
            if key not in there:
                yield f"{path}.{key}: {_short(here[key])} is not in the reference"
            elif key not in here:
                yield f"{path}.{key}: {_short(there[key])} is only in the reference"
            else:
                yield from _apart(here[key], there[key], f"{path}.{key}", tolerance)
        if here.keys() == there.keys() and list(here) != list(there):
            yield f"{path}: keys {_short(list(here))}, in the reference {_short(list(there))}"
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        for number, pair in enumerate(zip(here, there, strict=True)):
            yield from _apart(*pair, f"{path}[{number}]", tolerance)
    elif isinstance(here, float) and isinstance(there, float):
        both_nan = math.isnan(here) and math.isnan(there)
        if not (both_nan or math.isclose(here, there, rel_tol=tolerance, abs_tol=tolerance)):
            yield f"{path}: {here}, in the reference {there}"
    elif json.dumps(here) != json.dumps(there):
        yield f"{path}: {_short(here)}, in the reference {_short(there)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


if __name__ == "__main__":
    sys.exit(main())
