"""How much sooner a comparison is over with two jobs on two cores.

    python benchmarks/speed/jobs.py

The same comparison as a user types it, start-up and report included, with `--jobs 1` and with
`--jobs 2`, in turn, on two processors that nothing else uses; one thread in every process, so that
both give the same bytes.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.speed.page import Results, lines_of, measure, options
from benchmarks.speed.tables import interval_cell
from benchmarks.speed.timing import interleave, row, summary

OUT = Path(__file__).with_name("jobs.json")
CELLS = ["--arms", "mutual,independent", "--seeds", "0-3"]
SMALLEST = ["data.train_size=60", "epochs=1", "peers.a=mlp", "peers.b=mlp"]
SMALLEST_CELLS = ["--arms", "mutual,independent", "--seeds", "0"]


def compare(out: Path, jobs: int, smallest: bool) -> None:
    """One comparison. Raises CalledProcessError: it failed."""
    shutil.rmtree(out, ignore_errors=True)
    changes = SMALLEST if smallest else ["epochs=60"]
    cells = SMALLEST_CELLS if smallest else CELLS
    command = [sys.executable, "-m", "peerlearn", "compare", "dml", "threads=1", *changes, *cells]
    command += ["--out", str(out), "--jobs", str(jobs)]
    subprocess.run(command, check=True, capture_output=True)


def jobs(arguments: Namespace) -> dict[str, Any]:
    """One job beside two."""
    with tempfile.TemporaryDirectory(prefix="jobs-") as folder:
        works = {
            f"{number} jobs": partial(compare, Path(folder) / "out", number, arguments.smallest)
            for number in (1, 2)
        }
        samples = interleave(works, arguments.rounds, warm_up=0 if arguments.smallest else 1)
    line = row("time of one job / time of two", samples, "1 jobs", "2 jobs", (">=", 1.8), cpu=False)
    return {"lines": [line], "medians": summary(samples)}


def main() -> None:
    """Measure, and print the ratio."""
    parser = options(__doc__, {"jobs": jobs}, OUT)
    parser.set_defaults(threads=2, rounds=4)
    arguments = parser.parse_args()
    if arguments.smallest:
        if arguments.out == OUT:
            parser.error("--smallest: give another --out")
        arguments.rounds = 1
    measure(arguments, {"jobs": jobs})
    print(jobs_markdown(json.loads(arguments.out.read_text(encoding="utf-8"))))


def jobs_markdown(found: Results) -> str:
    """How many times as soon a comparison is over."""
    lines = ["| what | ratio | 95 % interval | target |", "| --- | ---: | ---: | --- |"]
    for line in lines_of(found):
        met, ratio = "met" if line["met"] else "missed", line["ratio"]
        cells = f"{ratio['median']:.2f} | {interval_cell(ratio, 2)} | {line['target']}, {met}"
        lines.append(f"| {line['name']} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
