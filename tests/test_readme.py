"""Invariant 8: every YAML and every README command runs."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from peerlearn.cli import app
from peerlearn.systems.registry import RECIPES, find_recipe
from peerlearn.systems.running import run_recipe
from peerlearn.transfer.graph import TransferGraph

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = {"epochs": 1, "data.train_size": 100, "batch_size": 32, "threads": 1}
#: Of recipes with further stages, wide heads, or a row for every pixel.
SMALLER = {
    "discovery": {"stages.rotation.epochs": 1, "stages.supervised.epochs": 1, "uno.hidden": 64},
    "styles-segment": {"data.train_size": 16, "batch_size": 8},
    "backdoor": {
        "stages.standard.epochs": 1,
        "stages.non_target.epochs": 1,
        "data.train_size": 200,
    },
    "music": {"evaluation.every": 1},
    "bayesian": {
        "stages.deterministic.epochs": 1,
        "peers.a.arguments.width": 0.25,
        "peers.b.arguments.width": 0.25,
        "evaluation.every": 2,
    },
}


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_invariant_8_readme_commands_run_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("bash") for line in block.strip().splitlines()]
    assert len(commands) >= 8
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "peerlearn", command
        app(arguments, standalone_mode=False)
    assert {path.name for path in (tmp_path / "runs").iterdir()} >= {"first", "versus"}
    assert (tmp_path / "runs/versus/report.html").stat().st_size > 10_000


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_invariant_8_readme_python_runs(
    number: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = blocks("python")[number]
    monkeypatch.chdir(tmp_path)
    if "runs/first" in block:  # what a command above it has trained
        recipe, given = find_recipe("dml")
        run_recipe(recipe, recipe.resolve(given, TINY), tmp_path / "runs/first")
        capsys.readouterr()
    exec(compile(block, f"README block {number}", "exec"), {})
    if "print" in block:
        number_said = float(capsys.readouterr().out.split()[-1])
        limit = 1e-5 if "abs()" in block else 1.0  # a difference that there must not be
        assert 0.0 <= number_said <= limit


def test_invariant_8_readme_transfer_graph_holds() -> None:
    import yaml

    (block,) = blocks("yaml")
    given = yaml.safe_load(block)["transfer"]
    graph = TransferGraph(given, ["big", "small", "tiny"])
    incoming = [edges for entry in graph.entries for edges in entry.incoming]
    assert [(edges.teachers, edges.learner) for edges in incoming] == [
        (("big",), "small"),
        (("big",), "tiny"),
        (("small",), "tiny"),
        (("big",), "small"),
        (("tiny",), "small"),
        (("small",), "tiny"),
    ]


@pytest.fixture(scope="module")
def few_masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 images of 16x16 with masks: where every pixel is a row, few images are many."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, (32, 4, 4), "uint8").repeat(4, 1).repeat(4, 2)
    x = 80 * y + draw.integers(0, 80, y.shape, "uint8")
    parts = {"train": slice(16), "val": slice(16, 24), "test": slice(24, 32)}
    arrays = {f"x_{part}": x[rows] for part, rows in parts.items()}
    arrays |= {f"y_{part}": y[rows] for part, rows in parts.items()}
    path = tmp_path_factory.mktemp("masks") / "few.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("name", "arm"), [(name, arm) for name, r in RECIPES.items() for arm in r.defaults()["arms"]]
)
def test_invariant_8_every_arm_of_every_recipe_runs(name: str, arm: str, few_masks: Path) -> None:
    recipe, given = find_recipe(name)
    data = {"data.name": str(few_masks)} if name == "styles-segment" else {}
    tiny = TINY | SMALLER.get(name, {}) | data
    config = recipe.resolve(given, tiny | {"arm": arm})
    results = run_recipe(recipe, config)
    assert results["arms"][arm]["mean_peer"][config.evaluation.metric]["mean"] > 0


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("benchmarks/**/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_invariant_8_every_benchmark_recipe_holds(path: Path) -> None:
    recipe, given = find_recipe(str(path))
    arms = given["arms"]
    assert arms
    for arm in arms:
        assert recipe.resolve(given, {"arm": arm}).arm == arm
