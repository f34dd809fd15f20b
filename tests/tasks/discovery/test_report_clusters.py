"""What a report shows of clusters: contact sheets, pairs, the oracle, and words for metrics."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import report_samples as samples

from peerlearn.compare.report import write_report
from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import Catalogue
from peerlearn.report.curves import Curve, draw_curves, lines_of
from peerlearn.report.figures import arm_styles
from peerlearn.report.statistics import Contrast
from peerlearn.report.terminal import markdown_table
from peerlearn.report.words import amount, outcome
from peerlearn.results import summary
from peerlearn.tasks.discovery.metrics.assessment import METRICS
from peerlearn.tasks.discovery.pages import MOST, Sheets, strips_of

CATALOGUE = Catalogue(METRICS)

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("PIL.Image")

HIGHER = [
    *("cluster_accuracy", "nmi", "ari", "all_accuracy", "old_accuracy", "new_accuracy"),
    *("known_accuracy", "test_cluster_accuracy", "pair_precision", "pair_recall"),
    "oracle_cluster_accuracy",
]
NEITHER = ["clusters", "largest_cluster"]


def arrays(names: list[str], truth: bool = True, side: int = 8) -> dict[str, np.ndarray]:
    """Contact sheets of clusters of 30, 29, … images, the second with one image alone."""
    count = len(names)
    confidence = np.linspace(0.99, 0.5, 12 * count, dtype=np.float32).reshape(count, 12)
    if count > 1:
        confidence[1, 1:] = np.nan
    return {
        "clusters": np.array(names),
        "sizes": np.array([30 - n if n != 1 else 1 for n in range(count)]),
        "images": np.random.default_rng(0).integers(0, 255, (count, 12, side, side)).astype("u1"),
        "confidence": confidence,
        "classes": np.array([f"<{n}>" if truth else "" for n in range(count)]),
        "shares": np.array([0.5 if truth else np.nan] * count, np.float32),
    }


def hung(folder: Path, **options) -> Path:
    """The folder with contact sheets in every run of it."""
    names = options.pop("names", ["new 1", "new 2"])
    samples.edit_results(folder, lambda results: results.update(recipe="discovery"))
    for run in [folder, *folder.glob("cells/*/*")]:
        if (run / "metrics.jsonl").exists():
            np.savez(run / "gallery.npz", **arrays(names, **options))
    return samples.leave(folder)


def page(folder: Path) -> str:
    return write_report([folder], folder / "report.html").read_text(encoding="utf-8")


def discovered(folder: Path, metrics: dict[str, float]) -> Path:
    """The run with other metrics of its peers, as `discovery` measures them."""
    path = folder / "results.json"
    results = json.loads(path.read_text()) | {"recipe": "discovery"}
    for block in results["arms"].values():
        seeds = len(results["seeds"])
        measured = {name: summary([value] * seeds) for name, value in metrics.items()}
        block["peers"] = dict.fromkeys(block["peers"], measured)
        block["mean_peer"] = block["ensemble"] = {
            n: v for n, v in measured.items() if not n.startswith(("pair_", "oracle_"))
        }
    results["differences"] = []
    path.write_text(json.dumps(results))
    for events in folder.rglob("metrics.jsonl"):
        events.write_text(events.read_text().replace('"accuracy"', '"cluster_accuracy"'))
    return folder


# --- contact sheets ---


def test_every_cluster_has_its_images_its_size_and_its_class(tmp_path):
    html = page(hung(samples.run_folder(tmp_path / "run")))
    assert html.count('class="strip"') == 2
    assert len(re.findall(r'<img src="data:image/png[^>]*class="enlarged"', html)) == 13
    assert 'alt="new 1, image 1, confidence 99.0\xa0%"' in html
    notes = re.findall(r'<p class="spread">(.*?)</p>', html)
    assert notes == ["30 images, 50.0\xa0% are &lt;0&gt;", "1 image, 50.0\xa0% are &lt;1&gt;"]


def test_without_truth_no_class_is_named_and_large_images_are_not_blown_up(tmp_path):
    html = page(hung(samples.run_folder(tmp_path / "run"), truth=False, side=64))
    assert re.findall(r'<p class="spread">(.*?)</p>', html) == ["30 images", "1 image"]
    assert 'class="enlarged"' not in html


def test_a_comparison_shows_the_main_arm_and_folds_the_other_away(tmp_path):
    arms = {"dual": 1.0, "independent": 0.0, "third": 0.0}
    folder = samples.compare_folder(tmp_path / "run", arms=arms, seeds=(0, 1), epochs=2)
    html = page(hung(folder))
    assert html.count('class="strip"') == 4
    assert "<details><summary>Clusters of independent</summary>" in html


def test_of_very_many_clusters_the_largest_are_shown():
    many = arrays([f"new {n + 1}" for n in range(MOST + 5)])
    sizes = tuple(range(MOST + 5))
    found = Sheets(
        tuple(many["clusters"]), sizes, many["images"], many["confidence"],
        tuple(many["classes"]), tuple(many["shares"]),
    )  # fmt: skip
    strips = strips_of("dual", found)
    assert strips.hidden == 5
    assert [strip.name for strip in strips.strips] == [f"new {n + 1}" for n in range(5, MOST + 5)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: a.pop("sizes"),
        lambda a: a.update(images=a["images"][:1]),
        lambda a: a.update(images=a["images"].astype(float)),
        lambda a: a.update(confidence=a["confidence"][:, :3]),
        lambda a: a.update(confidence=np.float32(1)),
        lambda a: a.update(shares=a["shares"][:1]),
    ],
    ids=["missing", "fewer", "floats", "narrow", "scalar", "shares"],
)
def test_damaged_sheets_are_named(tmp_path, damage):
    run = discovered(samples.run_folder(tmp_path / "run"), {"nmi": 0.5})
    made = arrays(["new 1", "new 2"])
    damage(made)
    np.savez(run / "gallery.npz", **made)
    with pytest.raises(InputError, match=r"gallery\.npz: not readable as a gallery"):
        page(run)


# --- figures ---


def test_pairs_have_one_figure_in_a_run_and_one_a_peer_in_a_comparison(tmp_path):
    metrics = {"cluster_accuracy": 0.5, "pair_precision": 0.625, "pair_recall": 0.25}
    html = page(discovered(samples.run_folder(tmp_path / "run"), metrics))
    assert "Precision and recall: a 62.5\xa0% and 25.0\xa0%; b 62.5\xa0% and 25.0\xa0%." in html
    folder = samples.compare_folder(tmp_path / "both", seeds=(0, 1), epochs=2)
    html = page(discovered(folder, metrics))
    assert html.count("Precision and recall: mutual 62.5") >= 2
    html = page(samples.run_folder(tmp_path / "dml"))
    assert "Precision and recall" not in html


def test_the_oracle_stands_beside_the_last_epoch(tmp_path):
    folder = samples.run_folder(tmp_path / "run", epochs=2)
    discovered(folder, {"cluster_accuracy": 0.5, "oracle_cluster_accuracy": 0.75})
    html = page(folder)
    assert re.search(r"Last epoch: mutual [^.]*\.\d.%\. Oracle, best by truth: mutual 75\.0", html)
    assert "Metrics of unlabelled training rows after the last epoch" in html
    assert "of unlabelled rows" in html, "peers agree on those"


def test_epochs_that_were_not_measured_do_not_break_the_line(tmp_path):
    events = [
        {"event": "epoch", "stage": "joint", "epoch": n, "train": {}}
        | ({"val": {"a": {"nmi": n / 10}}} if n % 2 == 0 else {})
        for n in range(1, 7)
    ]
    runs, metric = {"dual": {0: events}}, CATALOGUE["nmi"]
    figure = draw_curves(runs, lines_of(runs, "a", metric), metric, arm_styles(["dual"]))
    (line,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert list(line.get_xdata()) == [2, 4, 6]
    assert list(line.get_ydata()) == pytest.approx([0.2, 0.4, 0.6])
    assert Curve([0.1, float("nan")], [0, 0], 1).last == 0.1


# --- words ---


@pytest.mark.parametrize("metric", HIGHER)
def test_more_is_better_of_what_is_right(metric):
    assert CATALOGUE[metric].better == "higher"
    assert CATALOGUE[metric].is_fraction and CATALOGUE[metric].titled.endswith(", %")


@pytest.mark.parametrize("metric", NEITHER)
def test_how_many_clusters_and_how_large_is_neither_better_nor_worse(metric):
    found = CATALOGUE[metric]
    entry = Contrast("dual", "independent", "ensemble", found, 2.0, (1.0, 3.0), 3, adjusted=0.01)
    assert found.better is None
    assert entry.winner is None
    assert "differ in" in outcome(entry)


def test_metrics_are_written_in_their_own_units_and_order():
    assert amount(4.5, CATALOGUE["clusters"]) == "4.5"
    assert amount(0.25, CATALOGUE["largest_cluster"]) == "25.0\xa0%"
    assert CATALOGUE["oracle_cluster_accuracy"].titled == "oracle, best by truth, %"
    shuffled = ["largest_cluster", "pair_recall", "known_accuracy", "nmi", "cluster_accuracy"]
    assert CATALOGUE.ordered(shuffled) == list(reversed(shuffled))


def test_the_table_of_the_terminal_tells_old_new_and_known(tmp_path):
    values = {"cluster_accuracy": 0.5, "old_accuracy": 0.75, "known_accuracy": 0.25, "clusters": 5}
    block = {name: summary([value]) for name, value in values.items()}
    results = {"seeds": [0], "arms": {"dual": {"mean_peer": block, "ensemble": block}}}
    head, _, row, *_ = markdown_table(results, CATALOGUE).splitlines()
    assert "old accuracy %" in head and "known accuracy %" in head and "clusters" not in head
    assert "75.00" in row and "25.00" in row
