"""`benchmarks/faults/fuzz.py` counts, keeps what fails, and survives its own workers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.faults import fuzz
from benchmarks.faults.fuzzing.case import Case
from benchmarks.faults.fuzzing.judge import CALLS
from benchmarks.faults.fuzzing.kinds import KINDS

SCRIPT = Path(fuzz.__file__)


def test_the_script_runs_at_its_smallest_size(tmp_path):
    out = tmp_path / "fuzz.json"
    command = [sys.executable, str(SCRIPT), "--smallest", "--workers", "1", "--out", str(out)]
    chosen = ["--only", "configuration", "arrays", "weights"]
    done = subprocess.run([*command, *chosen], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    assert results["cases"] == 3
    assert list(results["kinds"]) == chosen[1:]
    assert results["seed"] == 0
    assert results["command"].startswith("python ")
    assert results["environment"].keys() >= {"commit", "processor"}


def test_cases_are_shared_out_by_kind():
    jobs = fuzz.planned(fuzz.options().parse_args(["--cases", "1000"]))
    counts = {kind: sum(job[0] == kind for job in jobs) for kind in KINDS}
    assert counts["arrays"] == KINDS["arrays"].share
    assert min(counts.values()) >= 1
    assert len(set(jobs)) == len(jobs)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)


@pytest.mark.parametrize(("function", "what"), [(die, "crash: exit status -9"), (hang, "hang: ")])
def test_a_worker_that_dies_is_a_fault_of_its_case(tmp_path, monkeypatch, function, what):
    monkeypatch.setattr(fuzz, "PATIENCE", 0.2)
    monkeypatch.setitem(CALLS, "end", function)
    monkeypatch.setitem(CALLS, "nothing", lambda: None)

    def case_of(kind, seed, number):
        return Case(("end",) if number == 1 else ("nothing",))

    monkeypatch.setattr(fuzz, "case_of", case_of)
    jobs = [("weights", number) for number in range(4)]
    arguments = fuzz.options().parse_args(["--workers", "1", "--limit", "0.5"])
    found = list(fuzz.outcomes(jobs, arguments))
    assert [outcome.job for outcome in found] == jobs
    assert [outcome.verdict.status for outcome in found] == ["worked", "fault"] + ["worked"] * 2
    assert found[1].verdict.what.startswith(what)
    results = fuzz.Results(0, tmp_path / "kept")
    for outcome in found:
        results.add(outcome)
    assert results.summary()["kinds"]["weights"]["fault"] == 1
    assert Case.load((tmp_path / "kept" / "weights-0-1.json").read_text()).words
