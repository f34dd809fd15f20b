"""Processes that torchrun starts together train as one does, and one of them speaks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_commands import TINY

from peerlearn.cli.launch import be_silent_unless_first, complain
from peerlearn.engine.transports import MeshTransport
from peerlearn.errors import InputError, RunError
from peerlearn.row_scores import read_row_scores, read_row_set

MEASURED = ("peers", "mean_peer", "ensemble")


def torchrun(*words: object, place: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "peerlearn", *map(str, words)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=240)


def test_a_comparison_of_two_processes_equals_that_of_one(cli, tmp_path):
    words = ["compare", "dml", *TINY, "--arms", "mutual,independent", "--seeds", "0"]
    done = torchrun(*words, "--out", "both-2", place=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = cli(*words, "--out", "one")
    assert alone.status == 0
    one, two = (json.loads((tmp_path / x / "results.json").read_text()) for x in ("one", "both-2"))
    for arm in ("mutual", "independent"):
        assert [one["arms"][arm][k] for k in MEASURED] == [two["arms"][arm][k] for k in MEASURED]
    assert one["differences"] == two["differences"]
    said, alike = (re.sub(r"[\d.]+ ms", "? ms", out) for out in (done.stdout, alone.out))
    assert said.replace("both-2", "one") == alike, "said once"
    for arm in ("mutual", "independent"):
        files = [tmp_path / x / f"cells/{arm}/seed-0/rows.npz" for x in ("one", "both-2")]
        (a, b), sets = map(read_row_scores, files), set(map(read_row_set, files))
        assert len(sets) == 1 and a.keys() == b.keys() == {"a", "b", "ensemble"}
        assert all((a[who][name] == b[who][name]).all() for who in a for name in a[who])
    assert done.stderr.count("2/2 cells") == 1
    assert (tmp_path / "both-2" / "report.html").exists()
    assert not list(tmp_path.glob("both-2/**/.lock"))


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
        raise RuntimeError("[/pytorch/gloo/pair.cc:534] Connection closed by peer\nmore")

    monkeypatch.setattr(dist, "all_reduce", broken)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    transport = object.__new__(MeshTransport)
    transport.device, transport.group = "cpu", None
    with pytest.raises(RunError, match=r"^another of the 2 processes of this launch has ended \("):
        transport.anywhere(True)
