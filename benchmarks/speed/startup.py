"""Start-up: processor time, user and system, of commands that do little else.

Each command is a process of its own, called several times after one call that leaves compiled
modules behind, as any first use does. `import torch` stands beside them as a yardstick.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.speed.timing import environment

RUN = ["run", "dml", "epochs=1", "--out"]
#: Arguments of `peerlearn`, and the most CPU seconds that they should take. {new}: a folder that
#: is not there, {run}: that of a finished run, {page}: a file.
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "ls": (["ls"], 0.5),
    "run dml epochs=1": ([*RUN, "{new}"], 4.0),
    "the same, finished, --resume": ([*RUN, "{run}", "--resume"], None),
    "report of it": (["report", "{run}", "--out", "{page}"], None),
    "ls data": (["ls", "data"], None),
    "ls models": (["ls", "models"], None),
}


def cpu_seconds(command: list[str], env: dict[str, str]) -> float:
    """User and system time of one process and those that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int, names: list[str]) -> dict[str, Any]:
    """By command the median, the least and all CPU seconds, and the target."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "OMP_NUM_THREADS": "1"}
        begin = [sys.executable, "-m", "peerlearn"]
        places = {"run": str(folder / "run"), "page": str(folder / "page.html")}
        if any("{run}" in COMMANDS[each][0] for each in names):
            cpu_seconds([*begin, *RUN, places["run"]], env)
        for each in ("import torch", *names):
            words, target = COMMANDS.get(each, ([], None))
            seconds = []
            for number in range(runs + 1):
                here = places | {"new": str(folder / f"{len(found)}-{number}")}
                command = [*begin, *(word.format(**here) for word in words)]
                if not words:
                    command = [sys.executable, "-c", "import torch"]
                seconds.append(cpu_seconds(command, env))
            seconds = seconds[1:]  # the first compiles modules
            found[each] = {
                "median": statistics.median(seconds),
                "least": min(seconds),
                "all": seconds,
                "target": target,
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="calls of each command")
    parser.add_argument("--smallest", action="store_true", help="one call of `ls` alone")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    names = ["ls"] if given.smallest else list(COMMANDS)
    load = os.getloadavg()[0]
    found = measure(1 if given.smallest else given.runs, names)
    said = {"environment": environment(1), "load": round(load, 1), "cpu_seconds": found}
    given.out.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    print(startup_markdown(said))


def startup_markdown(found: Mapping[str, Any]) -> str:
    """CPU seconds of each command, beside what they should be and what importing torch takes."""
    lines = [
        "| command | CPU seconds, median | least | imports of torch | target |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    torch = found["cpu_seconds"]["import torch"]["median"]
    for name, one in found["cpu_seconds"].items():
        target = ""
        if one["target"] is not None:
            met = "met" if one["median"] <= one["target"] else "missed"
            target = f"<= {one['target']:g}, {met}"
        seconds = [one["median"], one["least"], one["median"] / torch]
        lines.append(f"| {name} | {' | '.join(f'{each:.2f}' for each in seconds)} | {target} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
