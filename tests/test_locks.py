"""A folder is written by one process at a time, and a dead one leaves nothing to clean up."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import SoftFileLease

from peerlearn import locks
from peerlearn.errors import RunError
from peerlearn.locks import Holder, InUseError, Watch, held

HOLD = (
    "import sys, time; from pathlib import Path; from peerlearn.locks import held\n"
    "with held(Path(sys.argv[1])):\n"
    "    (Path(sys.argv[1]) / 'begun').touch(); print('held', flush=True); time.sleep(60)\n"
)


def refused(folder: Path) -> str:
    began = time.monotonic()
    with pytest.raises(InUseError) as said, held(folder):
        pass
    assert time.monotonic() - began < 1
    return str(said.value)


@pytest.fixture
def other(tmp_path):
    """Another process that holds `tmp_path / "run"`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def elsewhere(lock: Path, seconds: float) -> None:
    """Let the lock be that of another host, which touched it some seconds ago."""
    lock.write_text(lock.read_text().replace("host=", "host=far-"))
    then = time.time() - seconds
    os.utime(lock, (then, then))


def test_a_second_process_is_refused_at_once_and_told_by_whom(tmp_path, other):
    said = refused(tmp_path / "run")
    assert said.startswith(f"{tmp_path / 'run'}: is being written by process {other.pid} on host ")
    assert "last sign of life 0 s ago" in said


def test_a_killed_process_holds_nothing(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / "run" / ".lock").exists()
    with held(tmp_path / "run"):
        assert f"pid={os.getpid()}\n" in (tmp_path / "run" / ".lock").read_text()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["begun"]


def test_a_process_that_was_killed_before_it_signed_holds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "UNSIGNED", 0.3)
    (tmp_path / "run").mkdir()
    for lock in (tmp_path / "run" / ".lock", tmp_path / ".data.lock"):
        lock.touch()
    began = time.monotonic()
    with held(tmp_path / "run"), locks.one_at_a_time(tmp_path / ".data.lock"):
        assert 0.25 < time.monotonic() - began < 3
    assert not list((tmp_path / "run").iterdir()) and not (tmp_path / ".data.lock").exists()


def test_a_process_of_another_host_holds_while_it_gives_signs_of_life(tmp_path, other):
    other.send_signal(signal.SIGSTOP)  # nobody touches the lock but this test
    elsewhere(tmp_path / "run" / ".lock", seconds=10)
    said = refused(tmp_path / "run")
    assert "on host far-" in said
    assert "last sign of life 10 s ago" in said


def test_a_silent_process_of_another_host_is_taken_for_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE", 0.4)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.2)
    folder = tmp_path / "run"
    folder.mkdir()
    record = "filelock/2\npid=1\nhost=far\nmode=lease\ntoken=abc\nduration=0.4\nstart=5\n"
    (folder / ".lock").write_text(record)
    os.utime(folder / ".lock", (1.0, 1.0))
    with held(folder):
        assert "host=far" not in (folder / ".lock").read_text()


def test_threads_exclude_each_other_and_a_thread_may_hold_again(tmp_path):
    said: list[str] = []
    with held(tmp_path / "run"), held(tmp_path / "x" / ".." / "run"):
        thread = threading.Thread(target=lambda: said.append(refused(tmp_path / "run")))
        thread.start()
        thread.join()
    assert f"process {os.getpid()}" in said[0]
    assert not (tmp_path / "run").exists(), "made for the lock alone"


def test_who_lost_a_folder_stops_at_the_next_write(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE", 0.4)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.1)
    lock = tmp_path / ".lock"
    with pytest.raises(RunError, match="lost to another process: process 1 on host far"):  # noqa: SIM117
        with held(tmp_path) as hold:
            hold.check()
            lock.unlink()
            record = "filelock/2\npid=1\nhost=far\nmode=lease\ntoken=abc\nduration=0.4\nstart=5\n"
            lock.write_text(record)
            time.sleep(0.5)
            hold.check()
    assert lock.exists(), "it is the other's"


def test_who_stood_still_and_lost_a_folder_stops_before_it_is_told(tmp_path):
    lock = tmp_path / ".lock"
    with pytest.raises(RunError, match="lost to another process: process 1 on host far"):  # noqa: SIM117
        with held(tmp_path) as hold:
            lock.unlink()
            lock.write_text(FAR.replace("0.6", "30.0"))
            hold.check()
    assert lock.exists(), "it is the other's"


def test_a_deleted_lock_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE", 0.4)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.1)
    with held(tmp_path) as hold:
        (tmp_path / ".lock").unlink()
        time.sleep(0.5)
        hold.check()
        assert (tmp_path / ".lock").exists()


def test_where_the_lock_cannot_be_written_the_run_fails(tmp_path, monkeypatch):
    def full(self, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SoftFileLease, "acquire", full)
    with pytest.raises(RunError, match=r"cannot write .*\.lock: No space left"), held(tmp_path):
        pass


def test_locks_need_no_flock(tmp_path, monkeypatch):
    import fcntl

    def missing(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with held(tmp_path / "run"):
        pass


def test_flock_is_not_what_keeps_processes_apart(tmp_path, other, monkeypatch):
    """Some network file systems say yes to every `flock`."""
    import fcntl

    for name in ("flock", "lockf", "fcntl"):
        monkeypatch.setattr(fcntl, name, lambda *_: 0)
    assert f"process {other.pid}" in refused(tmp_path / "run")
    with pytest.raises(InUseError), held(tmp_path / "run", Watch()):
        pass


@pytest.fixture
def quick(monkeypatch):
    """Leases of less than a second."""
    monkeypatch.setattr(locks, "LEASE", 0.6)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.1)


@pytest.fixture
def no_exchange(monkeypatch):
    """As on NFS and Lustre, two names cannot be exchanged in one step."""
    monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False)


FAR = "filelock/2\npid=1\nhost=far\nmode=lease\ntoken=abc\nduration=0.6\nstart=5\n"


def beating(lock: Path, shift: float) -> tuple[threading.Event, threading.Thread]:
    """A holder of another host, whose clock is so many seconds off, gives signs of life."""
    end = threading.Event()
    lock.write_text(FAR)

    def beat() -> None:
        while not end.wait(0.05):
            os.utime(lock, (time.time() + shift, time.time() + shift))

    thread = threading.Thread(target=beat)
    thread.start()
    return end, thread


@pytest.mark.parametrize("shift", [-3600, 3600, 0])
@pytest.mark.parametrize("watch", [None, Watch()], ids=["waits", "watches"])
def test_who_lives_keeps_the_lock_whatever_its_clock_says(tmp_path, quick, shift, watch):
    end, thread = beating(tmp_path / ".lock", shift)
    try:
        began = time.monotonic()
        while time.monotonic() - began < 0.9:
            with pytest.raises(InUseError), held(tmp_path, watch):
                pass
        assert (tmp_path / ".lock").read_text() == FAR
        seen = Watch()
        locks.holder(tmp_path, seen)
        time.sleep(0.2)
        assert locks.holder(tmp_path, seen) == Holder("process 1 on host far", True)
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("shift", [-3600, 3600])
@pytest.mark.parametrize("exchanges", [True, False])
def test_who_is_dead_holds_nothing_whatever_its_clock_said(
    tmp_path, quick, request, shift, exchanges
):
    if not exchanges:
        request.getfixturevalue("no_exchange")
    lock = tmp_path / ".lock"
    for watch in (None, Watch()):
        lock.write_text(FAR)
        os.utime(lock, (time.time() + shift, time.time() + shift))
        began = time.monotonic()
        while True:
            try:
                with held(tmp_path, watch):
                    assert lock.read_text() != FAR
                    break
            except InUseError:
                assert watch is not None and time.monotonic() - began < 5
                time.sleep(0.05)
        assert 0.5 < time.monotonic() - began < 3
        assert not list(tmp_path.iterdir())


def test_of_many_that_see_a_dead_holder_one_takes_over_at_a_time(tmp_path, quick, no_exchange):
    (tmp_path / ".lock").write_text(FAR)
    (tmp_path / "there").touch()
    inside, most, served = [], [], []

    def take() -> None:
        watch = Watch()
        while True:
            try:
                with held(tmp_path, watch):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.05)
                    inside.pop()
                    served.append(1)
                return
            except InUseError:
                time.sleep(0.01)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(served), set(most)) == (8, {1})
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_turn_of_the_dead_passes(tmp_path, quick, no_exchange):
    """A process was killed just when it took a dead one's lock away."""
    (tmp_path / ".lock").write_text(FAR)
    digest = hashlib.sha256(FAR.encode()).hexdigest()[:16]
    (tmp_path / f".lock.{digest}").touch()
    watch, taken, end = Watch(), False, time.monotonic() + 10
    while not taken and time.monotonic() < end:
        with suppress(InUseError), held(tmp_path, watch):
            taken = True
        time.sleep(0.05)
    assert taken and not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [b"x" * 6000, b"\xff\xfe\x00garbage"], ids=["long", "no text"])
def test_a_lock_of_whatever_bytes_passes_when_it_is_silent(tmp_path, quick, text):
    (tmp_path / ".lock").write_bytes(text)
    os.utime(tmp_path / ".lock", (1, 1))
    watch, taken, end = Watch(), False, time.monotonic() + 10
    while not taken and time.monotonic() < end:
        with suppress(InUseError), held(tmp_path, watch):
            taken = True
        time.sleep(0.05)
    assert taken and not list(tmp_path.iterdir())


def test_a_lock_that_was_taken_meanwhile_is_put_back(tmp_path, quick):
    lock = tmp_path / ".lock"
    lock.write_text(FAR)
    locks._set_aside(lock, lambda aside: False)
    assert lock.read_text() == FAR and len(list(tmp_path.iterdir())) == 1


def test_who_holds_a_folder_is_told(tmp_path, other):
    watch = Watch()
    assert locks.holder(tmp_path, watch) is None
    found = locks.holder(tmp_path / "run", watch)
    assert found == Holder(f"process {other.pid} on host {socket.gethostname()}", True)
    other.kill()
    other.wait()
    assert locks.holder(tmp_path / "run", watch) == Holder(found.name, False)


def test_whether_a_silent_one_of_another_host_lives_is_seen_by_waiting(tmp_path, quick):
    (tmp_path / ".lock").write_text(FAR)
    os.utime(tmp_path / ".lock", (1.0, 1.0))
    watch = Watch()
    assert locks.holder(tmp_path, watch) == Holder("process 1 on host far", None)
    time.sleep(0.3)
    assert locks.holder(tmp_path, watch) == Holder("process 1 on host far", False)


def test_a_run_that_another_process_writes_is_not_resumed(tmp_path, other):
    from tiny import tiny_config

    from peerlearn.systems.registry import find_recipe
    from peerlearn.systems.running import run_recipe

    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(InUseError, match=f"process {other.pid}"):
        run_recipe(find_recipe("dml")[0], tiny_config(), tmp_path / "run", resume=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
    other.kill()
    other.wait()
    run_recipe(find_recipe("dml")[0], tiny_config(), tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["seeds"] == [0]
