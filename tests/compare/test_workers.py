"""Workers on one folder: each takes what is free, and the last one writes the results."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from test_jobs import ARMS, TINY

from benchmarks.faults.kills import outcome
from peerlearn import locks
from peerlearn.compare import cells as cells_module
from peerlearn.compare.cells import Cell, plan_cells
from peerlearn.compare.grid import run_grid, work
from peerlearn.compare.opening import known_cells, open_grid
from peerlearn.compare.status import CellState, counted, states
from peerlearn.errors import InputError
from peerlearn.locks import held
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.registry import find_recipe

FAR = "filelock/2\npid=1\nhost=far\nmode=lease\ntoken=abc\nduration=0.6\nstart=5\n"


def planned(seeds=(0, 1), **more):
    recipe, given = find_recipe("dml")
    changes = TINY | more
    return recipe, apply_overrides(given, changes), plan_cells(recipe, given, changes, ARMS, seeds)


def trained(events: list[dict]) -> list[tuple[str, int]]:
    return [(e["arm"], e["seed"]) for e in events if e["event"] == "epoch" and e["epoch"] == 3]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(locks, "LEASE", 0.6)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.1)
    monkeypatch.setattr("peerlearn.compare.status.HEARTBEAT", 0.1)


def test_the_last_worker_writes_what_one_process_does(tmp_path: Path) -> None:
    grid = planned()
    run_grid(*grid, tmp_path / "whole")
    out, cells = tmp_path / "out", grid[2]
    for cell in cells[:-1]:
        assert work(*grid, out, only=[cell]) is None
        assert not (out / "results.json").exists()
    results = work(*grid, out, only=cells[-1:])
    assert results == json.loads((out / "results.json").read_text())
    assert dict(outcome(out)) == dict(outcome(tmp_path / "whole"))
    assert work(*grid, out) == results, "a worker that comes too late finds them"


def test_a_worker_leaves_cells_to_those_that_train_them(tmp_path: Path) -> None:
    grid, events = planned(), []
    busy, free = grid[2][0], grid[2][1:]
    started, go_on = threading.Event(), threading.Event()
    open_grid(tmp_path, grid[1], True, grid[2], {})

    def other() -> None:
        with held(busy.folder(tmp_path)):
            started.set()
            assert go_on.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert started.wait(10)
    try:
        assert work(*grid, tmp_path, events.append) is None
    finally:
        go_on.set()
        thread.join()
    assert sorted(trained(events)) == sorted((cell.arm, cell.seed) for cell in free)


def test_a_worker_takes_the_cell_of_a_dead_host_over(tmp_path: Path, quick) -> None:
    grid, events = planned([0]), []
    folder = grid[2][0].folder(tmp_path)
    open_grid(tmp_path, grid[1], True, grid[2], {})
    folder.mkdir(parents=True)
    (folder / ".lock").write_text(FAR)
    os.utime(folder / ".lock", (time.time() + 3600,) * 2)
    assert work(*grid, tmp_path, events.append) is not None
    assert sorted(trained(events)) == sorted((cell.arm, cell.seed) for cell in grid[2])


def test_two_that_begin_at_once_begin_one_comparison(tmp_path: Path) -> None:
    _, given, cells = planned()
    failed: list[Exception] = []

    def begin(own: list[Cell]) -> None:
        try:
            open_grid(tmp_path / "out", given, True, own, {})
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=begin, args=([cell],)) for cell in cells]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert sorted(known_cells(tmp_path / "out")) == sorted((c.arm, c.seed) for c in cells)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.yaml", "cells.json"}


def test_a_worker_does_not_join_another_comparison(tmp_path: Path) -> None:
    open_grid(tmp_path, *planned()[1:2], True, planned()[2], {})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"lr: was 0\.05, now 0\.2"):
        work(*planned(lr=0.2), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_status_tells_done_running_dead_and_waiting(tmp_path: Path, quick, monkeypatch) -> None:
    grid = planned([0, 1, 2])
    assert work(*grid, tmp_path, only=grid[2][:1]) is None
    dead, running = grid[2][1], grid[2][2]
    run = cells_module.run_recipe

    def halfway(recipe, config, out, observe, **more):
        def stop(event):
            observe(event)
            if event["event"] == "epoch" and event["epoch"] == 2:
                raise KeyboardInterrupt

        return run(recipe, config, out, observe=stop, **more)

    with monkeypatch.context() as until_then:
        until_then.setattr(cells_module, "run_recipe", halfway)
        with pytest.raises(KeyboardInterrupt):
            work(*grid, tmp_path, only=[dead])
    (dead.folder(tmp_path) / ".lock").write_text(FAR)
    os.utime(dead.folder(tmp_path) / ".lock", (1.0, 1.0))
    with held(running.folder(tmp_path)):
        found = states(tmp_path)
    me = f"process {os.getpid()} on host "
    assert found[0] == CellState("mutual", 0, "done")
    assert found[1] == CellState(
        "independent", 0, "dead", "process 1 on host far", "mutual epoch 2/3"
    )
    assert (found[2].state, found[2].where[: len(me)]) == ("running", me)
    assert {cell.state for cell in found[3:]} == {"waiting"}
    assert counted(found) == "1 done, 1 running, 1 dead, 3 waiting"


def test_status_needs_a_comparison(tmp_path: Path) -> None:
    for make, said in (
        (lambda: None, "does not exist"),
        (lambda: (tmp_path / "it").mkdir(), "holds no comparison"),
        (lambda: (tmp_path / "it" / "env.json").touch(), "holds a single run"),
    ):
        make()
        with pytest.raises(InputError, match=said):
            states(tmp_path / "it")
    (tmp_path / "it" / "env.json").unlink()
    (tmp_path / "it" / "cells.json").write_text('{"cells": [{"arm": 3}]}')
    with pytest.raises(InputError, match=r"cells\[0\]\.arm must be a text"):
        states(tmp_path / "it")


def test_a_comparison_of_an_older_version_is_told_of_too(tmp_path: Path) -> None:
    grid = planned([0])
    run_grid(*grid, tmp_path)
    (tmp_path / "cells.json").unlink()
    assert sorted((it.arm, it.state) for it in states(tmp_path)) == [
        ("independent", "done"),
        ("mutual", "done"),
    ]
