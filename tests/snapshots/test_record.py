"""The recording that says whether a change of the package changed any result."""

import json
from pathlib import Path

import pytest
from configurations import TINY, configurations, write_files
from record import differences, record

from peerlearn.systems.registry import RECIPES


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """One run recorded twice."""
    write_files(tmp_path)
    (chosen,) = (run for run in configurations() if run[0] == "styles-segment/ml-v1")
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        monkeypatch.chdir(folder)
        write_files(folder)
        record(*chosen, folder / "out" / chosen[0])
    return [folder / "out" for folder in folders]


def test_two_recordings_are_equal_byte_for_byte(recorded: list[Path]) -> None:
    first, second = recorded
    files = sorted(path.relative_to(first) for path in first.rglob("*.json"))
    assert [path.name for path in files] == [
        "data.json", "gallery.json", "metrics.json", "results.json"
    ]  # fmt: skip
    for path in files:
        assert (first / path).read_bytes() == (second / path).read_bytes()
    assert list(differences(first, second)) == []


def test_a_difference_is_named_by_its_file_and_path(recorded: list[Path]) -> None:
    first, second = recorded
    name = "styles-segment/ml-v1"
    results = json.loads((second / name / "results.json").read_text())
    results["seeds"] = [1]
    (second / name / "results.json").write_text(json.dumps(results))
    (second / name / "gallery.json").unlink()
    assert list(differences(first, second)) == [
        f"{name}/gallery.json: not in the reference",
        f"{name}/results.json: $.seeds[0]: 0, in the reference 1",
    ]
    assert list(differences(first, second, only="dml/")) == []


def test_numbers_within_the_tolerance_count_as_equal(recorded: list[Path]) -> None:
    first, second = recorded
    path = second / "styles-segment/ml-v1/results.json"
    results = json.loads(path.read_text())
    iou = results["arms"]["ml-v1"]["mean_peer"]["iou"]
    iou["mean"] *= 1 + 1e-7
    path.write_text(json.dumps(results))
    assert len(list(differences(first, second))) == 1
    assert list(differences(first, second, tolerance=1e-5)) == []


def test_every_recipe_is_recorded() -> None:
    assert set(TINY) == set(RECIPES)
