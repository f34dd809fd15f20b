"""The judge of odd input sees what it is there to see."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.faults.fuzzing import judge
from benchmarks.faults.fuzzing.case import CANARY, Case, Fifo, Folder, Link
from benchmarks.faults.fuzzing.judge import judged
from benchmarks.faults.fuzzing.kinds import KINDS, case_of
from peerlearn.errors import InputError


@pytest.fixture
def call(monkeypatch):
    """`call(function)`: the verdict on a case that calls the function in its folder."""

    def tried(function, limit=20.0, **files):
        monkeypatch.setitem(judge.CALLS, "try", function)
        return judged(Case(("try",), files, ("out",)), limit)

    return tried


def refuse():
    raise InputError("x: no such file")


@pytest.mark.parametrize(
    ("function", "status", "what"),
    [
        (lambda: None, "worked", ""),
        (refuse, "refused", "x: no such file"),
        (lambda: [][1], "fault", "IndexError: list index out of range"),
        (lambda: Path("beside.txt").write_text("x"), "fault", "written outside: beside.txt"),
        (lambda: Path("../../up").mkdir(), "fault", "written outside: "),
        (lambda: Path("canary").rename("moved"), "fault", "written outside: "),
        (lambda: subprocess.run(["true"]), "fault", "executed: subprocess.Popen"),
        (lambda: os.system("true"), "fault", "executed: os.system"),
        (lambda: exec(CANARY), "fault", "executed: "),
        (lambda: (Path("out").mkdir(), Path("out/a").write_text("x")), "worked", ""),
        (lambda: exit(3), "fault", "exit status 3"),
        (lambda: exit(2), "fault", "refused without a word"),
    ],
)
def test_a_verdict(call, function, status, what):
    verdict = call(function)
    assert (verdict.status, verdict.what.startswith(what)) == (status, True), verdict


def test_what_is_stopped_is_seen_whatever_the_call_makes_of_it(call):
    def careless():
        try:
            Path("/victim").write_text("x")
        except OSError:
            return

    assert call(careless).what == "written outside: /victim"
    assert not Path("/victim").exists()


def test_a_hang_is_ended(call):
    def waits():
        try:
            time.sleep(60)
        except Exception:
            time.sleep(60)

    verdict = call(waits, limit=0.1)
    assert verdict.what == "hang: more than 0.1 s"
    assert verdict.seconds < 5


def test_the_command_line_is_judged_by_status_and_message():
    assert judged(Case(("ls", "models"))).status == "worked"
    refused = judged(Case(("run", "absent.yaml")))
    assert refused.status == "refused"
    assert "absent.yaml" in refused.what


def test_a_case_is_as_it_was_when_it_is_loaded_again():
    files = {"a": b"\x00\xff", "caf\udce9": Link("a"), "p": Fifo(), "d": Folder()}
    case = Case(("run", "a=\udce9"), files, ("out",))
    assert Case.load(case.dump()) == case


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_stands_for_one_case(kind):
    first, second = (case_of(kind, 3, 5) for _ in range(2))
    assert first.words == second.words
    assert first.files.keys() == second.files.keys()
