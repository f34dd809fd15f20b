"""Every script of benchmarks/ runs, once and at its smallest size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import peerlearn
from benchmarks.speed.page import options, publish

ROOT = Path(__file__).parents[2]
#: The discovery recipe at a size that trains in a second.
TINY_DISCOVERY = {
    "data.train_size": 200,
    "stages.rotation.epochs": 1,
    "stages.supervised.epochs": 1,
    "epochs": 1,
    "batch_size": 64,
    "transfer.memory": 64,
    "threads": 1,
    "peers.global.arguments.width": 0.25,
}
#: On speed: whether they need real data.
ON_SPEED = {
    "speed/speed.py": False,
    "graph/speed.py": False,
    "styles/speed.py": True,
    "discovery/ranking.py": False,
}
OTHERS = {
    "write_tables.py": "test_pages_are_checked_by_the_script_too",
    "discovery/class_count.py": "test_classes_are_counted_in_a_finished_comparison",
    "graph/memory.py": "a process of graph/speed.py",
}


def script(name: str, *arguments: object) -> str:
    """What a script prints; a failure shows what it says on stderr."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_script_is_left_out() -> None:
    found = {
        path.relative_to(ROOT / "benchmarks").as_posix()
        for path in (ROOT / "benchmarks").rglob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    assert found == {*ON_SPEED, *OTHERS}


@pytest.mark.parametrize("name", ON_SPEED)
def test_a_script_on_speed_measures_every_section(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if ON_SPEED[name]:
        request.getfixturevalue("shared_data")
    out = tmp_path / "results.json"
    script(name, "--smallest", "--out", out)
    results = json.loads(out.read_text(encoding="utf-8"))
    assert results["rounds"] == 1
    assert results["environment"]["processor"]
    measured = [line for line in results["lines"] if "skipped" not in line]
    assert measured
    assert all(line["ratio"]["median"] > 0 for line in measured)


def test_the_smallest_size_does_not_overwrite_what_was_measured(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    arguments = options("", ["all"], tmp_path / "speed.json").parse_args(["--smallest"])
    with pytest.raises(SystemExit, match="give another --out"):
        publish(arguments, page, lambda arguments: {}, str)
    assert not list(tmp_path.iterdir())


def test_pages_are_checked_by_the_script_too() -> None:
    assert script("write_tables.py", "--check") == "stale: none\n"


def test_classes_are_counted_in_a_finished_comparison(tmp_path: Path) -> None:
    discovery = peerlearn.recipe("discovery", TINY_DISCOVERY)
    discovery.compare(tmp_path / "compared", arms=["kmeans"], seeds=[0])
    out = tmp_path / "counts.json"
    script("discovery/class_count.py", tmp_path / "compared", "--out", out)
    (counted,) = json.loads(out.read_text(encoding="utf-8"))
    assert counted["truth"] == counted["known"] == 5
    assert counted["seeds"]["0"]["count"] >= 2
