"""Runs that an older version wrote are measured and put to use with the numbers of that version."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from old_runs import KINDS, RUNS, TASKS, evaluated, predicted, results_of

import peerlearn
from peerlearn.errors import InputError
from peerlearn.serving import open_run

NUMBERS = json.loads((RUNS / "numbers.json").read_text(encoding="utf-8"))
FINISHED = [*KINDS, *TASKS]
#: Processors differ in the last bits of a sum.
TOLERANCE = 1e-5


def apart(found: Any, expected: Any, path: str = "$") -> list[str]:
    """Paths at which two values differ by more than processors do; further keys may be there."""
    if isinstance(expected, dict):
        if not isinstance(found, dict) or expected.keys() - found.keys():
            return [path]
        pairs = [(found[key], expected[key], f"{path}.{key}") for key in expected]
    elif isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return [path]
        pairs = [(*pair, path) for pair in zip(found, expected, strict=True)]
    elif isinstance(expected, float):
        same = math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return [] if same else [f"{path}: {found}, then {expected}"]
    else:
        return [] if found == expected else [f"{path}: {found}, then {expected}"]
    return [line for pair in pairs for line in apart(*pair)]


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_is_measured_as_then(name: str, tmp_path: Path) -> None:
    assert apart(evaluated(RUNS / name, tmp_path), NUMBERS[name]["evaluated"]) == []


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_predicts_as_then(name: str, tmp_path: Path) -> None:
    assert apart(predicted(RUNS / name, name, tmp_path), NUMBERS[name]["predicted"]) == []


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_is_continued_by_its_results(name: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(RUNS / name, tmp_path / "run"))
    results = peerlearn.recipe(run / "config.yaml").run(out=run, resume=True)
    assert results == json.loads((RUNS / name / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_run_goes_on_as_then_or_is_refused_by_its_version(kind: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(RUNS / f"{kind}-cut", tmp_path / "run"))
    bound = peerlearn.recipe(run / "config.yaml")
    try:
        results = bound.run(out=run, resume=True)
    except InputError as refusal:
        assert "version" in str(refusal) and "checkpoints/last" in str(refusal)
        shutil.rmtree(run / "checkpoints" / "last")  # what the message says to do
        results = bound.run(out=run, resume=True)
    assert apart(results_of(results), NUMBERS[f"{kind}-cut"]) == []


def test_a_cut_run_of_another_version_is_not_put_to_use() -> None:
    for use in (peerlearn.load, open_run):
        with pytest.raises(InputError, match="begun by another version of peerlearn"):
            use(RUNS / "predictions-cut")
