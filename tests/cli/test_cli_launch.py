"""Processes that torchrun starts together train as one does, and one of them speaks."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_commands import TINY

from peerlearn.cli.launch import be_silent_unless_first, complain
from peerlearn.engine.checkpoint import Checkpoints
from peerlearn.engine.mesh import MeshTransport
from peerlearn.errors import InputError, RunError
from peerlearn.row_scores import read_row_scores, read_row_set

LEVEL = "lr=0.1", "lr_schedule=constant"  # the second epoch is better for either peer
MEASURED = ("peers", "mean_peer", "ensemble")


def torchrun(*words: object, place: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "peerlearn", *map(str, words)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=900)


@pytest.fixture
def stopped(cli, monkeypatch):
    """`stopped(*words)` is a command that a signal ends after its first epoch."""

    def run(*words: str) -> None:
        def ask(checkpoints: Checkpoints) -> bool:
            os.kill(os.getpid(), signal.SIGTERM)
            return True

        with monkeypatch.context() as until_then:
            until_then.setattr(Checkpoints, "worth_saving", ask)
            assert cli(*words).status == 75

    return run


def test_a_run_of_two_processes_equals_that_of_one(cli, stopped, tmp_path):
    # It was begun by one process, and is gone on with by two.
    words = ["run", "dml", *TINY, *LEVEL]
    stopped(*words, "--out", "both-2")
    done = torchrun(*words, "--out", "both-2", "--resume", place=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = cli(*words, "--out", "one")
    assert alone.status == 0
    one, two = (json.loads((tmp_path / x / "results.json").read_text()) for x in ("one", "both-2"))
    (a, b) = (each["arms"]["mutual"] for each in (one, two))
    assert [a[k] for k in MEASURED] == [b[k] for k in MEASURED]
    for peer in "ab":
        chosen = [each["selected"] for each in (one, two)]
        assert chosen[0] == chosen[1] and chosen[0][peer]["epoch"] == 2, "better than the first"
    said, alike = (re.sub(r"[\d.]+ ms", "? ms", out) for out in (done.stdout, alone.out))
    assert said.replace("both-2", "one") == alike, "said once"
    files = [tmp_path / x / "rows.npz" for x in ("one", "both-2")]
    (c, d), sets = map(read_row_scores, files), set(map(read_row_set, files))
    assert len(sets) == 1 and c.keys() == d.keys() == {"a", "b", "ensemble"}
    assert all((c[who][name] == d[who][name]).all() for who in c for name in c[who])
    assert (tmp_path / "both-2" / "report.html").exists()
    assert not list(tmp_path.glob("both-2/**/.lock"))


def test_a_comparison_is_refused_with_the_way_out(cli, second, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    said = cli("compare", "dml", *TINY, "--out", "both")
    assert said.status == 2 and not Path("both").exists()
    ways = "leave torchrun out", "--jobs N", "--worker", "-m peerlearn run RECIPE arm=NAME"
    for way_out in ways:
        assert way_out in said.err


def test_a_comparison_of_snapshots_is_refused(cli):
    words = "transport={kind: snapshot, folder: shared, peer: a}"
    said = cli("compare", "dml", *TINY, words, "--out", "both")
    assert said.status == 2 and not Path("both").exists()
    assert "transport.kind: 'snapshot' trains one peer of one run" in said.err


def test_bayesian_peers_of_two_processes_draw_and_are_told_of_as_in_one(cli, tmp_path):
    small = ["peers.*.bayesian={test_samples: 2}", "stages.deterministic.epochs=1"]
    words = ["run", "bayesian", *TINY, *small, "arm=mutual"]
    done = torchrun(*words, "--out", "both", place=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cli(*words, "--out", "one").status == 0
    one, two = (
        json.loads((tmp_path / x / "results.json").read_text())["arms"]["mutual"]
        for x in ("one", "both")
    )
    compared = [*MEASURED, "posteriors", "posterior_distances"]
    assert [one[k] for k in compared] == [two[k] for k in compared]
    assert one["posteriors"].keys() == {"a", "b"} and one["posterior_distances"].keys() == {"a~b"}


def test_a_process_tells_of_its_own_peers_alone(monkeypatch):
    import torch.distributed as dist

    told = []

    def gather(parts, own, group):
        told.append(own)
        parts[:] = [own, {"b": "new"}]

    monkeypatch.setattr(dist, "all_gather_object", gather)
    monkeypatch.setattr(dist, "get_world_size", lambda group: 2)
    transport = object.__new__(MeshTransport)
    transport.group, transport.peers, transport.owned = None, ["a", "b"], ["a"]
    # What it has of b is from a checkpoint that it went on from.
    assert transport.collect({"b": "old", "a": "new"}) == {"a": "new", "b": "new"}
    assert told == [{"a": "new"}]


@pytest.fixture
def second(monkeypatch):
    """This process is the second of two."""
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))


def test_the_others_say_only_what_the_first_does_not_know(second, capfd):
    be_silent_unless_first()
    print("a table")
    complain(InputError("epochs: unknown"), everywhere=True)
    complain(RunError("peer 'b': its loss became nan"), everywhere=False)
    assert capfd.readouterr() == ("", "peerlearn: process 1: peer 'b': its loss became nan\n")


def test_a_launch_must_be_told_its_folder(cli, second, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    said = cli("run", "dml", *TINY)
    assert said.status == 2
    assert "--out: missing; processes that are started together must be told one folder" in said.err


def test_a_process_that_has_ended_is_a_message(monkeypatch):
    import torch.distributed as dist

    def broken(*_, **__):
        raise RuntimeError("[/gloo/pair.cc:5] Read error [::1]:9: Reset by peer. This is\nmore")

    monkeypatch.setattr(dist, "all_reduce", broken)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    transport = object.__new__(MeshTransport)
    transport.device, transport.group = "cpu", None
    with pytest.raises(
        RunError, match=r"^another of the 2 processes .* ended \(Read error .*Reset by peer\); "
    ):
        transport.anywhere(True)
