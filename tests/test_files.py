"""Files are whole or not there."""

from pathlib import Path

import pytest

from peerlearn import files
from peerlearn.errors import InputError, RunError


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    files.write_json(path, {"old": 1})

    def full(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"cannot write .*results\.json: No space left"):
        files.write_atomically(path, full)
    assert files.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_json_holds_no_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "r.json", {"nll": float("nan"), "x": [float("inf"), 1.5]})
    assert files.read_json(tmp_path / "r.json") == {"nll": None, "x": [None, 1.5]}


def test_links_that_lead_out_or_in_a_circle_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to("circle")
    files.check_inside(folder, folder / "mine")
    with pytest.raises(InputError, match="leads out of"):
        files.check_inside(folder, folder / "out")
    with pytest.raises(InputError, match="circle: links that lead in a circle"):
        files.check_inside(folder, folder / "circle")
