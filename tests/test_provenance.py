"""What made a result: versions, commit, processor; and that a comparison says where it is mixed."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from peerlearn import provenance
from peerlearn.errors import InputError
from peerlearn.provenance import (
    check_makers,
    environment,
    made_by,
    maker_words,
    mixture_words,
    source_commit,
    together,
)

ONE = {"peerlearn": "0.1.0", "commit": "abc", "dirty": False, "torch": "2.6", "processor": "Xeon"}
OTHER = ONE | {"commit": "def", "dirty": True, "device": "cuda (H200)"}


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    source_commit.cache_clear()
    yield
    source_commit.cache_clear()


def git(place: Path, *words: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *words], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit; its package."""
    source = tmp_path / "src" / "peerlearn"
    source.mkdir(parents=True)
    (source / "a.py").write_text("1")
    (tmp_path / "notes").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return source


def test_the_commit_is_that_of_the_source(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(checkout, "rev-parse", "HEAD")[:12]
    (checkout.parents[1] / "notes").write_text("2")  # not of the source
    (checkout / "new.py").write_text("1")  # not tracked
    monkeypatch.setenv("GIT_DIR", "/somewhere/else")
    assert source_commit(checkout) == (head, False)
    source_commit.cache_clear()
    (checkout / "a.py").write_text("2")
    assert source_commit(checkout) == (head, True)


def test_there_is_none_without_git_or_a_checkout_of_its_own(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "lib" / "peerlearn"  # in somebody else's checkout
    installed.mkdir(parents=True)
    assert source_commit(installed) == (None, False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_commit(checkout) == (None, False)


def test_what_makes_results_names_no_host_and_no_path() -> None:
    found = made_by(torch.device("cpu"))
    assert {"peerlearn", "commit", "dirty", "python", "torch", "numpy", "processor"} <= found.keys()
    assert (found["torch"], found["device"]) == (torch.__version__, "cpu")
    assert found["processor"] == environment()["processor"]
    text = json.dumps(found)
    assert str(Path.home()) not in text and str(Path.cwd()) not in text
    assert __import__("platform").node() not in text.split('"')


def test_one_maker_is_told_once_and_several_with_their_cells() -> None:
    cells = [("mutual", 0, [ONE]), ("alone", 0, [ONE | {"monai": "1"}]), ("mutual", 1, [ONE])]
    assert together(cells) == [ONE], "what only one process had loaded makes no difference"
    assert mixture_words(together(cells)) == ""
    mixed = together([*cells, ("alone", 1, [OTHER]), ("old", 0, [])])
    assert [entry["cells"] for entry in mixed] == [
        {"mutual": [0, 1], "alone": [0]}, {"alone": [1]}, {"old": [0]},
    ]  # fmt: skip
    said = mixture_words(mixed)
    assert "\n" not in said and said.startswith("not all cells were made alike")
    for part in ("commit abc) on Xeon", "commit def with changed files) on Xeon with cuda (H200)",
                 "a version that did not say", "mutual 0,1, alone 0"):  # fmt: skip
        assert part in said
    again = [(arm, seed, mixed) for arm, seed, _ in (*cells, ("alone", 1, 0), ("old", 0, 0))]
    assert together(again) == mixed, "entries of a comparison know whose they are"
    assert together([("a", 0, []), ("b", 0, [])]) == []
    assert maker_words(ONE) == "peerlearn 0.1.0 (commit abc) on Xeon, torch 2.6"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("x", "made_by must be a list"),
        ([1], r"made_by\[0\] must be a JSON object"),
        ([{"commit": 1}], r"made_by\[0\]\.commit must be a text"),
        ([{"cells": {"a": "0"}}], r"made_by\[0\]\.cells\.a must be a list"),
    ],
)
def test_damaged_entries_are_refused(given: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_makers(given, Path("results.json"))


def test_the_module_asks_git_only_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    real = subprocess.run

    def counted(*words: Any, **more: Any) -> Any:
        calls.append(words)
        return real(*words, **more)

    monkeypatch.setattr(provenance.subprocess, "run", counted)
    made_by(torch.device("cpu"))
    made_by(torch.device("cpu"))
    assert len(calls) <= 1
