"""`peerlearn discover`: from two files to clusters, and what it says where that cannot be."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TINY = [
    *("stages.rotation.epochs=1", "stages.supervised.epochs=1", "epochs=1", "batch_size=32"),
    *("transfer.memory=64", "threads=1", "precision=fp32", "peers.global.arguments.width=0.25"),
]


@pytest.fixture
def discover(cli, own_images):
    """`discover("--classes", 3, ...)` on the images in the present folder."""

    def call(*words, labelled="labelled.npz", unlabelled="unlabelled.npz", out="run"):
        where = ["--labelled", labelled, "--unlabelled", unlabelled]
        return cli("discover", *where, *TINY, *words, *(["--out", out] if out else []))

    return call


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_files_become_clusters_in_an_ordinary_run_folder(discover, cli):
    said = discover("--classes", 3)
    assert said.status == 0, said.err
    found = lines(Path("run/assignments.csv"))
    assert [(line["file"], line["row"]) for line in found] == [
        ("unlabelled.npz", str(number)) for number in range(100)
    ]
    for name in {line["cluster"] for line in found}:
        count = sum(line["cluster"] == name for line in found)
        assert f"{name}  " in said.out and f" {count} " in said.out
    assert not Path("run/shared").exists()
    assert "known_accuracy" in cli("eval", "run").out
    assert cli("predict", "run", "unlabelled.npz", "--peer", "ensemble").out.count("\n") == 101
    report = cli("report", "run", "--out", "page.html")
    assert report.status == 0 and "Clusters found" in Path("page.html").read_text()


def predicted(cli, *words) -> list[dict[str, str]]:
    return list(csv.DictReader(cli("predict", *words).out.splitlines()))


def test_later_images_are_sorted_among_the_new_classes_as_those_of_the_run(discover, cli):
    # Logits of known and new classes have been trained apart, each on images of its own.
    assert discover("--classes", 3).status == 0
    rows = predicted(cli, "run", "unlabelled.npz", "--peer", "ensemble", "--probabilities")
    found = lines(Path("run/assignments.csv"))
    assert [row["label"] for row in rows] == [line["cluster"] for line in found]
    for row, line in zip(rows, found, strict=True):
        assert float(row["probability"]) == pytest.approx(float(line["confidence"]), rel=1e-4)
        assert sum(float(row[f"new {n}"]) for n in (1, 2, 3)) == pytest.approx(1, abs=1e-4)
    alone = {row["label"] for row in predicted(cli, "run", "unlabelled.npz", "--peer", "local")}
    assert alone <= {"new 1", "new 2", "new 3"}


def test_predict_chooses_among_the_classes_that_it_is_told(discover, cli):
    assert discover("--classes", 3).status == 0
    sums = {}
    for among in ("known", "new", "all"):
        words = ("run", "unlabelled.npz", "--peer", "global", "--probabilities", "--among", among)
        for row in predicted(cli, *words):
            new = sum(float(row[f"new {n}"]) for n in (1, 2, 3))
            assert row["label"].startswith("new ") or among != "new"
            assert not row["label"].startswith("new ") or among != "known"
            sums.setdefault(among, []).append(new)
    assert max(sums["known"]) == 0 and min(sums["new"]) == pytest.approx(1, abs=1e-4)
    assert min(sums["all"]) > 0 and max(sums["all"]) < 1
    said = cli("predict", "run", "unlabelled.npz", "--peer", "global", "--among", "knwn")
    assert said.status == 2
    expected = (
        "--among: unknown kind of class 'knwn'. Did you mean 'known'? Allowed: all, known, new."
    )
    assert expected in said.err


@pytest.mark.parametrize(
    "words",
    [["objective.unlabelled_are_new=1"], ["--arm", "uno"], ["objective.incremental=true"]],
    ids=["unlabelled_are_new", "uno", "incremental"],
)
def test_later_images_may_be_of_known_classes_where_both_were_learned_together(
    discover, cli, words
):
    assert discover("--classes", 3, *words).status == 0
    for row in predicted(cli, "run", "unlabelled.npz", "--peer", "ensemble", "--probabilities"):
        new = sum(float(row[f"new {n}"]) for n in (1, 2, 3))
        assert 0 < new < 1, "the rest is that of known classes"


def test_the_summary_measures_where_truth_is_there(discover):
    assert "cluster_accuracy" not in discover("--classes", 3).out
    assert "cluster_accuracy" in discover("--classes", 3, unlabelled="told.npz", out="told").out


def test_auto_says_the_estimate_with_its_scores_and_trains_with_it(discover):
    said = discover("--candidates", "2-4")
    assert said.status == 0, said.err
    found = json.loads(Path("run/classes.json").read_text())
    assert f"estimate: {found['count']} new classes" in said.out
    for score in found["scores"]:
        assert f"{score['bic']:.3f}" in said.out
        assert f"{score['silhouette']:.3f}" in said.out
    info = json.loads(Path("run/data.json").read_text())
    assert info["classes"] - info["known"] == found["count"]
    again = discover("--candidates", "2-4", "--resume")
    assert again.status == 0 and "epoch" not in again.err, "nothing is left to train"
    assert again.out == said.out


def test_an_arm_a_seed_and_the_same_seed_again(discover):
    assert discover("--classes", 3, "--arm", "ranking", "--seed", 4).status == 0
    first = Path("run/assignments.csv").read_text()
    assert "seed: 4" in Path("run/config.yaml").read_text()
    discover("--classes", 3, "--arm", "ranking", "--seed", 4, out="again")
    assert Path("again/assignments.csv").read_text() == first
    discover("--classes", 3, "--arm", "ranking", "--seed", 5, out="other")
    assert Path("other/assignments.csv").read_text() != first


def test_a_folder_is_found_where_none_is_named(discover):
    assert discover("--classes", 3, out=None).status == 0
    assert Path("runs/discover-1/assignments.csv").exists()


@pytest.mark.parametrize("stage", ["rotation", "supervised", "joint"])
def test_an_interrupted_discovery_goes_on_to_the_same_assignments(
    discover, monkeypatch, own_images, stage
):
    from peerlearn.engine.trainer import Trainer

    assert discover("--candidates", "2,3", out="whole").status == 0
    run_epoch = Trainer._run_epoch

    def interrupted(trainer, running, *rest):
        if running.stage.name == stage:
            signal.raise_signal(signal.SIGINT)
        return run_epoch(trainer, running, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_run_epoch", interrupted)
        said = discover("--candidates", "2,3")
    assert said.status == 130
    assert "interrupted; saved in stage" in said.err
    assert "; continue with: peerlearn discover" in said.err
    assert not Path("run/assignments.csv").exists()
    if stage == "joint":
        whole = Path("unlabelled.npz").read_bytes()
        np.savez("unlabelled.npz", x=255 - np.load("unlabelled.npz")["x"])
        said = discover("--candidates", "2,3", "--resume")
        assert said.status == 2 and "the data changed since it began" in said.err
        Path("unlabelled.npz").write_bytes(whole)
    said = discover("--candidates", "2,3", "--resume")
    assert said.status == 0, said.err
    whole, cut = (Path(name, "assignments.csv").read_text() for name in ("whole", "run"))
    assert cut == whole


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "many"], "--classes: 'many'; allowed: a number from 2 on, or auto"),
        (["--classes", "-3"], "--classes: '-3'"),
        (["--classes", "1"], "--classes: '1'; one cluster tells nothing apart"),
        (["--classes", "101"], "classes: 101 new classes among 100 unlabelled rows"),
        (["--candidates", "x"], "--candidates: 'x'; expected numbers"),
        (["--candidates", "2-200"], "candidates 2 to 200 for 100 unlabelled rows"),
        (["--classes", "3", "--candidates", "2-5"], "--classes 3 leaves no choice"),
        (["--classes", "3", "classes=4"], "classes: say it with --classes"),
        (["--classes", "3", "data.unlabelled=x"], "say it with --unlabelled"),
        (["--classes", "3", "--arm", "dul"], "Did you mean 'dual'?"),
        (["--classes", "3", "--resume"], "--resume: run does not exist"),
        (["data.overlap=true"], "may be of known classes"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_trained(discover, words, message):
    said = discover(*words)
    assert said.status == 2
    assert message in said.err
    assert "Traceback" not in said.err
    assert not Path("run/assignments.csv").exists() and not Path("run/metrics.jsonl").exists()


@pytest.mark.parametrize("missing", ["--labelled", "--unlabelled"])
def test_both_files_are_needed(cli, own_images, missing):
    (other,) = {"--labelled", "--unlabelled"} - {missing}
    said = cli("discover", other, "labelled.npz", "--classes", "3", "--out", "run")
    assert said.status == 2
    assert missing in said.err


def test_files_that_cannot_be_used_are_named(discover, own_images):
    assert "unlabeled.npz: no such file" in discover("--classes", 3, unlabelled="unlabeled.npz").err
    assert "Did you mean unlabelled.npz" in discover("--classes", 3, unlabelled="unlabeled.npz").err
    np.savez("empty.npz", y=np.zeros(3, int))
    assert "array 'x_train', or 'x', is missing" in discover(unlabelled="empty.npz").err
    np.savez("none.npz", x=np.zeros((0, 8, 8), np.uint8))
    assert "x is empty" in discover(unlabelled="none.npz").err
    (own_images / "bare").mkdir()
    assert "no images in this folder" in discover("--classes", 3, unlabelled="bare").err
    np.savez("one.npz", x=np.zeros((9, 8, 8), np.uint8), y=np.zeros(9, int))
    assert "at least 2 known classes are needed" in discover("--classes", 3, labelled="one.npz").err
    assert not (own_images / "run").exists()


def test_a_folder_in_use_is_left_alone(discover, own_images):
    (own_images / "mine").mkdir()
    (own_images / "mine/notes.txt").write_text("mine")
    assert "exists and is not empty" in discover("--classes", 3, out="mine").err
    assert discover("--classes", 3).status == 0
    before = Path("run/assignments.csv").read_bytes()
    assert "already holds a run" in discover("--classes", 4).err
    assert "cannot resume with a changed configuration" in discover("--classes", 4, "--resume").err
    assert Path("run/assignments.csv").read_bytes() == before


def test_help_and_refusals_do_not_import_torch():
    code = (
        "import sys; from peerlearn.cli import app\n"
        "try: app(['discover', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--unlabelled" in said.stdout


def test_clusters_are_listed_in_the_order_of_their_numbers():
    from peerlearn.cli.discover import natural

    names = ["new 10", "new 9", "cat", "new 1"]
    assert sorted(names, key=natural) == ["cat", "new 1", "new 9", "new 10"]
