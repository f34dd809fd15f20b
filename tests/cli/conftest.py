"""The command line in this process: fast, and with everything it says at hand."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_commands import TINY, Said

from peerlearn import cli as command_line

Cli = Callable[..., Said]


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys) -> Cli:
    """`cli("run", "dml", ...)` in an empty folder, without the HTML report."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("peerlearn.cli.output.report_beside", lambda folder, brief=False: None)
    monkeypatch.setenv("PEERLEARN_DATA", str(tmp_path / "no-data-here"))

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["peerlearn", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            command_line.main()
        said = capsys.readouterr()
        return Said(left.value.code or 0, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A finished run on the digits, shared by all tests: read only."""

    from overriding import parsed

    from peerlearn.systems.registry import find_recipe
    from peerlearn.systems.running import run_recipe

    folder = tmp_path_factory.mktemp("trained") / "run"
    recipe, given = find_recipe("dml")
    run_recipe(recipe, recipe.resolve(given, parsed(*TINY)), folder)
    return folder


@pytest.fixture
def run_folder(trained, tmp_path) -> Path:
    """A copy of the finished run that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
