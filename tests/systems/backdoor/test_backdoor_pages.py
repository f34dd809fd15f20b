"""The report of a backdoor: images with the trigger, and rates of every arm."""

import json
from pathlib import Path

import numpy as np
import pytest
from blots import blots

from peerlearn.compare.report import write_report
from peerlearn.errors import InputError
from peerlearn.systems.backdoor.pages import RATES, read_triggered

SMALL = [
    *(f"peers.{name}.arguments.width=0.25" for name in ("victim", "student", "teacher")),
    "stages.standard.epochs=1",
    "stages.non_target.epochs=1",
    "epochs=1",
    "threads=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three arms."""
    from peerlearn.cli import app

    place = tmp_path_factory.mktemp("compared")
    data = blots(place / "blots.npz", rows=200)
    words = ["compare", "backdoor", *SMALL, f"data.name={data}", "--arms", "nt-ml,none,ft"]
    app([*words, "--seeds", "0", "--out", str(place / "out")], standalone_mode=False)
    return place / "out"


def test_triggers_are_shown_beside_what_they_change(folder: Path, tmp_path: Path) -> None:
    gallery = folder / "cells/none/seed-0/gallery.npz"
    found = read_triggered(gallery)
    change = found.triggered.astype(int) - found.images
    assert change[:, :-3].any() == change[:, :, :-3].any() == False  # noqa: E712 -- numpy's own
    assert change[:, -3:, -3:].any((1, 2, 3)).all()
    assert set(found.aims) == {"0"} and "0" not in found.classes
    assert len(set(found.classes)) == 4, "one of every class that can be attacked, and some more"
    page = write_report([folder], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "to be 0" in page and "of 255" in page
    blocks = json.loads((folder / "results.json").read_text())["arms"]
    assert all(rate in blocks["none"]["mean_peer"] for rate in RATES)
    assert "What is left of the backdoor" in page and "victim" in page
    assert "Validation rows are clean and show no backdoor" in page
    assert "peer student of arm nt-ml" in page, "validation chooses among one arm's peers alone"


def test_a_gallery_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "gallery.npz", index=np.arange(2), images=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(InputError, match=r"gallery\.npz: not readable as a gallery: "):
        read_triggered(tmp_path / "gallery.npz")
    small = {"images": np.zeros((2, 4, 4), np.uint8), "triggered": np.zeros((2, 4, 5), np.uint8)}
    names = {"index": np.arange(2), "classes": np.array(["a", "b"]), "aims": np.array(["c", "c"])}
    np.savez(tmp_path / "gallery.npz", **small, **names)
    with pytest.raises(InputError, match="do not fit each other"):
        read_triggered(tmp_path / "gallery.npz")
