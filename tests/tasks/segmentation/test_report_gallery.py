"""The gallery of a report: pictures that show what the arrays hold."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import report_samples as samples

from peerlearn.compare.report import write_report
from peerlearn.errors import InputError
from peerlearn.tasks.segmentation import class_maps

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
Image = pytest.importorskip("PIL.Image")

CLASSES = ["background", "<road>", "boat"]


# --- the page ---


def page(folder: Path, *others: Path) -> str:
    return write_report([folder, *others], folder / "report.html").read_text(encoding="utf-8")


def walls(html: str) -> list[list[list[str]]]:
    """The alternative texts of every row of every table of pictures."""
    tables = re.findall(r'<table class="gallery">(.*?)</table>', html, re.DOTALL)
    rows = [re.findall(r'<tr><th scope="row">(.*?)</tr>', table, re.DOTALL) for table in tables]
    return [[re.findall(r'alt="(.*?)"', row) for row in wall] for wall in rows]


@pytest.fixture
def run(tmp_path) -> Path:
    return samples.leave(samples.hang_gallery(samples.run_folder(tmp_path / "run"), CLASSES))


def hung(folder: Path) -> Path:
    """Galleries are made where `metrics.jsonl` is, which `leave` takes away."""
    return samples.leave(samples.hang_gallery(folder, CLASSES))


def test_a_run_shows_image_truth_peers_ensemble_and_disagreement(run):
    html = page(run)
    ((first, second),) = walls(html)
    with np.load(run / "gallery.npz") as file:
        truth, predicted = file["truth"][0], file["predicted"][:, 0]
    counted = truth != 255
    right = [f"{100 * (p == truth)[counted].mean():.0f}\xa0%" for p in predicted]
    differ = f"{100 * (predicted[0] != predicted[1]).mean():.0f}\xa0%"
    assert first == [
        "Test image 3",
        "True classes of image 3",
        f"Classes of image 3 as predicted by peer a, {right[0]} of pixels right",
        f"Classes of image 3 as predicted by peer b, {right[1]} of pixels right",
        f"Classes of image 3 as predicted by ensemble, {right[2]} of pixels right",
        f"Where peers disagree on image 3: {differ} of pixels",
    ]
    assert second[0] == "Test image 9"


def test_the_legend_names_what_is_there_and_escapes_it(run):
    legend = re.search(r'aria-label="Classes">(.*?)</ul>', page(run), re.DOTALL)[1]
    names = [name.strip() for name in re.findall(r"</span>(.*?)</li>", legend)]
    assert names == ["background", "&lt;road&gt;", "boat", "does not count", "peers disagree"]
    assert legend.count(f"background:{class_maps.CLASS_COLOURS[0]}") == 1


def test_a_comparison_shows_the_main_arm_and_the_reference_of_the_first_seed(tmp_path):
    arms = {"other": 1.0, "mutual": 1.0, "independent": 0.0}
    folder = hung(samples.compare_folder(tmp_path / "run", arms=arms, seeds=(0, 1), epochs=2))
    html = page(folder)
    titles = re.findall(r'<h4 class="wall">.*?</svg>\s*(.*?)</h4>', html, re.DOTALL)
    assert titles == ["mutual", "independent"]
    (folder / "cells/mutual/seed-0/gallery.npz").unlink()
    assert len(walls(page(folder))) == 2, "another seed stands in"


def test_runs_side_by_side_show_their_galleries(tmp_path):
    folders = [
        hung(samples.run_folder(tmp_path / arm, arm=arm)) for arm in ("mutual", "independent")
    ]
    assert len(walls(page(*folders))) == 2


def test_one_peer_has_neither_ensemble_nor_disagreement(tmp_path):
    run = hung(samples.run_folder(tmp_path / "run", peers=("only",)))
    ((row, _),) = walls(page(run))
    assert [words.partition(" image")[0] for words in row] == [
        "Test",
        "True classes of",
        "Classes of",
    ]


def test_a_run_without_a_gallery_has_no_section(tmp_path):
    assert "What peers see" not in page(samples.leave(samples.run_folder(tmp_path / "run")))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def _lose(path: Path) -> None:
    with zipfile.ZipFile(path, "w"):
        pass


def _pickle(path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **(arrays | {"truth": np.array([{}, {}])}))


def _misfit(path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **(arrays | {"predicted": arrays["predicted"][:1]}))


@pytest.mark.parametrize("damage", [_cut, _lose, _pickle, _misfit])
def test_a_damaged_gallery_is_named(run, damage):
    damage(run / "gallery.npz")
    with pytest.raises(InputError, match=r"gallery\.npz: not readable as a gallery"):
        page(run)
