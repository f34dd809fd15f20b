"""What scripts rely on: fast help, exit statuses, names of verbs."""

import resource
import subprocess
import sys

import pytest

from peerlearn import __version__

MAIN = "from peerlearn.cli import main; main()"


def test_importing_the_command_line_imports_nothing_heavy():
    heavy = ["torch", "numpy", "pydantic", "sklearn", "matplotlib"]
    code = f"import sys, peerlearn.cli; print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_recipes_are_listed_without_torch():
    code = (
        "import sys; from peerlearn.cli.ls import list_recipes; list_recipes(); "
        "print([m for m in ['torch', 'sklearn', 'scipy', 'matplotlib'] if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *listed, heavy = said.stdout.splitlines()
    assert heavy == "[]"
    assert any(line.startswith("dml ") and "mutual, independent" in line for line in listed)


def test_help_answers_at_once():
    """By processor time, which a busy machine does not stretch; the wall adds little to it."""

    def spent():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    seconds = []
    for _ in range(3):
        before = spent()
        subprocess.run([sys.executable, "-c", MAIN, "--help"], capture_output=True, check=True)
        seconds.append(spent() - before)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    "verb",
    [
        *("ls", "cp", "validate", "run", "compare", "discover", "attack", "purify", "status"),
        *("eval", "predict", "export", "report", "data"),
    ],
)
def test_every_verb_explains_itself(cli, verb):
    said = cli(verb, "--help")
    assert said.status == 0
    assert "Usage" in said.out


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(cli, option):
    assert cli(option) == (0, f"peerlearn {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["compre"], "compare"),
        (["rnu", "dml"], "run"),
        (["run"], "recipe"),
        (["run", "dml", "--sed", "1"], "--seed"),
        (["run", "dml", "--seed", "x"], "--seed"),
        (["eval"], "RUN"),
        (["data", "gett"], "get"),
    ],
)
def test_bad_usage_names_what_was_meant(cli, words, expected):
    said = cli(*words)
    assert said.status == 2
    assert expected in said.err
    assert "Traceback" not in said.err


def test_an_error_of_the_system_is_a_failed_run_without_a_traceback(cli, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("peerlearn.systems.running.run_recipe", full)
    said = cli("run", "dml")
    assert said.status == 1
    assert said.err == "peerlearn: [Errno 28] No space left on device\n"
