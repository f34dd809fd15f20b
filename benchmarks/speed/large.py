"""Large `.npz` files: peak memory of a process that reads one, over the size of its arrays.

Each file is made, then read by a process of its own, which divides the rows, measures them and
draws batches. Its peak is that of resident memory (`ru_maxrss`), mapped pages included, without
what it had before it read anything.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.speed.timing import environment

TARGET = 1.1
BATCHES = 4
#: Shape of a row, dtype, and whether the file is compressed.
FILES: dict[str, tuple[tuple[int, ...], str, bool]] = {
    "images, channels first": ((3, 64, 64), "uint8", False),
    "images, channels last": ((64, 64, 3), "uint8", False),
    "vectors": ((3072,), "float32", False),
    "images, channels first, compressed": ((3, 64, 64), "uint8", True),
}


def make(path: Path, name: str, gigabytes: float) -> None:
    """Write a file of random rows, a sixth of them for test, without validation rows."""
    shape, dtype, compressed = FILES[name]
    count = max(120, int(gigabytes * 1e9 / (np.prod(shape) * np.dtype(dtype).itemsize)))
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}  # of arrays: a type checker takes the keywords for options
    for part, rows in (("train", count - count // 6), ("test", count // 6)):
        if dtype == "uint8":
            arrays[f"x_{part}"] = generator.integers(0, 256, (rows, *shape), np.uint8)
        else:
            arrays[f"x_{part}"] = generator.random((rows, *shape), np.float32)
        arrays[f"y_{part}"] = np.arange(rows) % 10
    (np.savez_compressed if compressed else np.savez)(path, **arrays)


def read(path: Path) -> dict[str, float]:
    """Read a file as a run does, and draw batches of it."""
    from peerlearn.data.fingerprint import data_fingerprint
    from peerlearn.data.loaders import train_loader
    from peerlearn.data.registry import load_dataset
    from peerlearn.data.spec import DataSpec

    with np.load(path) as file:
        size = sum(_nbytes(file, key) for key in file.files)
    before, wall, cpu = _peak(), time.perf_counter(), time.process_time()
    data = load_dataset(DataSpec(name=str(path)))
    _ = data.mean, data_fingerprint(data)
    for _, batch in zip(range(BATCHES), train_loader(data, 128, 0).epoch(0), strict=False):
        assert batch.x.is_contiguous()
    return {
        "bytes": size,
        "peak_over_size": (_peak() - before) / size,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
    }


def _nbytes(file: Any, key: str) -> int:
    return int(file.zip.getinfo(f"{key}.npy").file_size)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=1.0, help="size of the arrays, in 10^9 bytes")
    parser.add_argument("--folder", type=Path, default=None, help="where files are made")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    if given.make:
        make(Path(given.make[1]), given.make[0], given.gb)
        return
    if given.read:
        print(json.dumps(read(given.read)))
        return
    found, load = {}, os.getloadavg()[0]
    script = [sys.executable, __file__, "--gb", str(given.gb)]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "rows.npz"
        for name in FILES:
            subprocess.run([*script, "--make", name, str(path)], check=True)
            said = subprocess.check_output([*script, "--read", str(path)], text=True)
            found[name] = json.loads(said)
    whole = {
        "environment": environment(1),
        "load": round(load, 1),
        "target": TARGET,
        "files": found,
    }
    given.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(large_markdown(whole))


def large_markdown(found: Mapping[str, Any]) -> str:
    """Peak memory and time of each file."""
    head = f"| file | GB | peak over size, at most {found['target']} | CPU s | wall s |"
    lines = [head, "| --- |" + " ---: |" * 4]
    for name, one in found["files"].items():
        cells = [f"{one['bytes'] / 1e9:.2f}", f"{one['peak_over_size']:.2f}"]
        cells += [f"{one['cpu_s']:.1f}", f"{one['wall_s']:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
