"""Cells side by side in processes of their own give what they give one after the other."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.faults.kills import outcome
from peerlearn.compare import jobs as jobs_module
from peerlearn.compare import room
from peerlearn.compare.cells import plan_cells
from peerlearn.compare.grid import run_grid
from peerlearn.compare.room import jobs_that_fit, jobs_wanted
from peerlearn.compare.shared_data import SharedData
from peerlearn.engine.interruption import Interrupted
from peerlearn.engine.needs import Needs
from peerlearn.errors import InputError, RunError
from peerlearn.systems.overrides import apply_overrides, parse_assignments
from peerlearn.systems.registry import find_recipe

TINY = parse_assignments(
    [
        "data.train_size=60",
        "epochs=3",
        "batch_size=32",
        "threads=1",
        "peers.a={model: mlp, arguments: {hidden: [8]}}",
        "peers.b={model: mlp, arguments: {hidden: [8]}}",
    ]
)
ARMS = ["mutual", "independent"]


def compare(out: Path, observe=lambda e: None, resume: bool = False, jobs: Any = 1, **more: Any):
    recipe, given = find_recipe("dml")
    changes = TINY | more
    cells = plan_cells(recipe, given, changes, ARMS, [0, 1])
    return run_grid(recipe, apply_overrides(given, changes), cells, out, resume, observe, jobs)


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grid") / "in-turn"
    compare(out)
    return out


def left_behind(folder: Path) -> dict[str, Any]:
    """What `outcome` gives, but for the state of this checkout, which other tests may change."""
    return {
        path: {k: v for k, v in found.items() if k != "made_by"}
        if isinstance(found, dict)
        else found
        for path, found in dict(outcome(folder)).items()
    }


def test_two_jobs_give_byte_for_byte_what_one_gives(tmp_path: Path, in_turn: Path) -> None:
    events: list[dict] = []
    compare(tmp_path / "out", events.append, jobs=2)
    assert left_behind(tmp_path / "out") == left_behind(in_turn)
    assert events[0]["event"] == "compare" and set(events[0]["facts"]) == set(ARMS)
    done = [(e["arm"], e["seed"]) for e in events if e["event"] == "cell done"]
    assert sorted(done) == sorted((arm, seed) for arm in ARMS for seed in (0, 1))
    assert sum(e["event"] == "epoch" for e in events) == 3 * 4
    made = [json.loads(p.read_text())["command"] for p in tmp_path.rglob("env.json")]
    assert len(made) == 4 and not any("loky" in word for words in made for word in words)


DEADLY = """
import os, signal
from pathlib import Path
from torch import nn

def net(shape, classes):
    if os.getpid() != int(os.environ["STARTED_BY"]) and deadly():
        os.kill(os.getpid(), signal.SIGKILL)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

def deadly():
    try:
        Path("died").touch(exist_ok=ALWAYS)
    except FileExistsError:
        return False
    return True
"""


def deadly(folder: Path, monkeypatch: pytest.MonkeyPatch, always: bool) -> dict[str, Any]:
    """A network that kills the process that trains it, the first time or always."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STARTED_BY", str(os.getpid()))
    name = f"deadly_{'always' if always else 'once'}"
    (folder / f"{name}.py").write_text(DEADLY.replace("ALWAYS", str(always)))
    return {"peers.a": {"model": f"python:{name}:net"}}


def test_a_cell_whose_process_dies_is_tried_again_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = deadly(tmp_path, monkeypatch, always=False)
    events: list[dict] = []
    results = compare(tmp_path / "out", events.append, jobs=2, **model)
    (note,) = [event for event in events if event["event"] == "note"]
    assert note["text"] == (
        "its process died (SIGKILL(-9)); begun a second time, from where it was saved"
    )
    assert note["arm"] in ARMS
    assert results["arms"] == compare(tmp_path / "out", resume=True, **model)["arms"]


def test_a_cell_whose_process_dies_twice_fails_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = deadly(tmp_path, monkeypatch, always=True)
    with pytest.raises(RunError) as said:
        compare(tmp_path / "out", jobs=2, **model)
    assert "its process died 2 times (SIGKILL(-9))" in str(said.value)
    assert str(said.value).startswith("arm '")
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_signal_saves_all_cells_that_are_being_trained(tmp_path: Path) -> None:
    long = {"epochs": 300}

    def stop(event: dict) -> None:
        if event["event"] == "epoch":
            raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted):
        compare(tmp_path / "out", stop, jobs=2, **long)
    left = list((tmp_path / "out").glob("cells/*/*/checkpoints/last/state.safetensors"))
    assert 1 <= len(left) <= 2 and not list(tmp_path.rglob("results.json"))
    assert not list(tmp_path.rglob(".lock"))


ORPHANING = """
import sys
sys.path[:0] = {path}
from pathlib import Path
from test_jobs import compare
compare(Path("out"), jobs=2, epochs=100000)
"""


def test_processes_that_are_left_alone_save_and_end(tmp_path: Path) -> None:
    code = ORPHANING.replace("{path}", repr([str(Path(__file__).parent), *sys.path]))
    saved: list[Path] = []
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as parent:
        while not saved and parent.poll() is None:
            saved = list(tmp_path.glob("out/cells/*/*/checkpoints/last/state.safetensors"))
            time.sleep(0.05)
        lock = saved[0].parents[2] / ".lock"
        trainer = int(re.findall(r"pid=(\d+)", lock.read_text())[0])
        parent.kill()
    end = time.monotonic() + 60
    while _is_there(trainer) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _is_there(trainer) and not lock.exists()


def _is_there(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_cell_that_fails_is_named_as_in_one_process(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^arm 'mutual', seed [01]: .*lr"):
        compare(tmp_path / "out", jobs=2, **{"lr": 1e30, "arms.independent.lr": 0.1})


@pytest.mark.parametrize("number", [0, -3])
def test_fewer_than_one_job_is_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(InputError, match=f"--jobs: {number}; allowed: 1 or more, or auto"):
        compare(tmp_path / "out", jobs=number)
    assert not (tmp_path / "out").exists()


def test_jobs_are_no_more_than_cells_or_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "cpu_count", lambda: 6)
    assert [jobs_wanted("auto", cells) for cells in (1, 4, 40)] == [1, 4, 6]
    assert jobs_wanted(8, 3) == 3 and jobs_wanted(8, 40) == 8
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun started together train each cell together"):
        jobs_wanted(2, 4)
    assert jobs_wanted(1, 4) == 1


GB = 10**9


def needs(weights: int = 2 * GB, rows: int = GB, where: str = "cpu") -> Needs:
    return Needs({"weights": weights}, {"rows": rows}, {}, torch.device(where))


def test_more_jobs_than_memory_allows_are_refused_with_the_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "available_memory", lambda: 10 * GB)
    own = GB // 2
    assert jobs_that_fit(3, 3, [needs()], own) == 3, "3 × 2.5 GB, and rows once"
    with pytest.raises(InputError) as said:
        jobs_that_fit(4, 4, [needs(), needs(weights=1)], own)
    assert str(said.value) == (
        "--jobs: 4 processes need about 11 GB without activations, 2.5 GB each; this machine has "
        "10 GB, which is enough for 3"
    )
    assert jobs_that_fit("auto", 4, [needs()], own) == 3
    assert jobs_that_fit("auto", 4, [needs(weights=20 * GB)], own) == 1
    monkeypatch.setattr(room, "available_memory", lambda: None)
    assert jobs_that_fit(4, 4, [needs()], own) == 4


def test_memory_of_an_accelerator_is_shared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available_memory", lambda: 100 * GB)
    monkeypatch.setattr(room, "free_on", lambda device: 5 * GB)
    with pytest.raises(InputError, match=r"3 processes need about 6 GB .*; cuda has 5 GB"):
        jobs_that_fit(3, 3, [needs(where="cuda")], GB)


def test_too_many_jobs_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "available_memory", lambda: 1000)
    monkeypatch.setattr(jobs_module, "Seat", lambda told, threads: FakeSeat())
    with pytest.raises(InputError, match="--jobs: 2 processes need about"):
        compare(tmp_path / "out", jobs=2)
    assert not (tmp_path / "out").exists()


class FakeSeat:
    """In place of a process."""

    class executor:
        @staticmethod
        def shutdown(**_: Any) -> None:
            pass


def test_data_are_read_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, given = find_recipe("dml")
    config = recipe.resolve(given, TINY)
    read, times = recipe.task.read.__func__, []  # type: ignore[attr-defined]

    def counted(cls, config):
        times.append(config)
        return read(cls, config)

    monkeypatch.setattr(recipe.task, "read", classmethod(counted))
    expected = recipe.task.load(config)
    del times[:]
    shared = SharedData(tmp_path)
    one, two = (recipe.task.load(config, kept=shared) for _ in range(2))
    assert len(times) == 1
    assert torch.equal(one.data.train.x, expected.data.train.x)
    assert one.fingerprint == expected.fingerprint
    one.data.train.x.zero_()
    assert torch.equal(two.data.train.x, expected.data.train.x), "each has its own view"
    other = recipe.resolve(given, TINY | {"data.train_size": 50})
    assert len(recipe.task.load(other, kept=shared).data.train) == 50 and len(times) == 2


def test_data_that_cannot_be_saved_are_read_by_everyone(tmp_path: Path) -> None:
    read = []

    def give():
        read.append(1)
        return lambda: None

    data = SharedData(tmp_path)
    assert all(callable(data.get("key", give)) for _ in range(2))
    assert len(read) == 3, "once in vain"
    assert {path.suffix for path in tmp_path.iterdir()} == {".alone"}
