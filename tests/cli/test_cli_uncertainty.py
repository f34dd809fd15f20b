"""`run` and `predict` where it counts how unsure networks are."""

import csv
import io
import json
import math
import re

import numpy as np
import pytest
import torch
from overriding import over
from tiny_commands import TINY, small_arrays

import peerlearn
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.section import OPEN
from peerlearn.report.statistics import contrasts


@pytest.fixture
def run(cli, tmp_path):
    arrays = small_arrays() | {"class_names": np.array(["ant", "bee", "cat"])}
    np.savez(tmp_path / "my.npz", **arrays)
    words = ["data.train_size=null", "epochs=2", "--data", "my.npz", "--out", "run"]
    assert cli("run", "dml", *over(*TINY, *words)).status == 0
    np.savez(tmp_path / "new.npz", x=arrays["x_test"])
    return arrays["x_test"]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.clip(p, 1e-300, None))).sum(1)


def of_classes(made: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[name]) for name in ("ant", "bee", "cat")] for row in made])


def test_an_ensemble_has_three_parts_which_are_those_of_its_peers(cli, run):
    def asked(who: str) -> list[dict[str, str]]:
        words = ("--peer", who, "--probabilities", "--uncertainty")
        return rows(cli("predict", "run", "new.npz", *words).out)

    said = cli("predict", "run", "new.npz", "--peer", "ensemble", "--uncertainty")
    assert said.out.splitlines()[0] == "input,row,label,probability,total,epistemic,aleatoric"
    assert "says one thing" not in said.err
    parts = {
        name: np.array([float(row[name]) for row in rows(said.out)])
        for name in ("total", "epistemic", "aleatoric")
    }
    members = [of_classes(asked(who)) for who in "ab"]
    mean = sum(members) / 2
    np.testing.assert_allclose(parts["total"], entropy(mean), atol=1e-4)
    np.testing.assert_allclose(parts["aleatoric"], sum(map(entropy, members)) / 2, atol=1e-4)
    np.testing.assert_allclose(parts["total"], parts["epistemic"] + parts["aleatoric"], atol=1e-5)
    assert (parts["epistemic"] >= 0).all()
    assert parts["epistemic"].max() > 1e-4
    header = list(asked("ensemble")[0])
    assert header == [
        *("input", "row", "label", "probability", "total", "epistemic", "aleatoric"),
        *("ant", "bee", "cat"),
    ]


def test_one_deterministic_peer_has_a_total_alone_and_it_is_said_why(cli, run):
    said = cli("predict", "run", "new.npz", "--peer", "a", "--uncertainty", "--probabilities")
    assert said.status == 0
    assert "peer a says one thing of every row" in said.err
    assert "--peer ensemble has them" in said.err
    made = rows(said.out)
    assert {(row["epistemic"], row["aleatoric"]) for row in made} == {("", "")}
    totals = [float(row["total"]) for row in made]
    np.testing.assert_allclose(totals, entropy(of_classes(made)), atol=1e-4)
    plain = cli("predict", "run", "new.npz", "--peer", "a")
    assert plain.out.splitlines()[0] == "input,row,label,probability"


def test_python_has_the_same_parts(cli, run):
    loaded = peerlearn.load("run")
    said = loaded.predict(run, peer="ensemble")
    made = rows(cli("predict", "run", "new.npz", "--peer", "ensemble", "--uncertainty").out)
    for name in ("total", "epistemic", "aleatoric"):
        found = getattr(said, name)
        assert found.shape == (len(run),)
        np.testing.assert_allclose(found, [float(row[name]) for row in made], atol=1e-5)
    alone = loaded.predict(run, peer="a")
    assert (alone.epistemic, alone.aleatoric) == (None, None)
    p = loaded.probabilities("a", raw=True)(torch.from_numpy(run[:, None])).detach().numpy()
    np.testing.assert_allclose(alone.total, entropy(p), atol=1e-4)


def test_an_input_that_cannot_be_read_has_empty_cells(cli, run, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    from PIL import Image

    Image.fromarray(run[0]).save(tmp_path / "good.png")
    said = cli("predict", "run", "bad.png", "good.png", "--peer", "ensemble", "--uncertainty")
    assert said.status == 1
    good, bad = rows(said.out)
    assert math.isfinite(float(good["total"]))
    assert bad == dict.fromkeys(bad, "") | {"input": "bad.png", "row": "0"}


def test_a_run_with_other_rows_and_worse_images_reports_all_of_it(cli, tmp_path):
    pytest.importorskip("matplotlib")
    draw = np.random.default_rng(0)
    np.savez("other.npz", x=draw.integers(0, 255, (20, 8, 8), dtype=np.uint8))
    words = ["evaluation.ood=[other.npz]", "evaluation.corruption=[noise,blur]"]
    words += ["peers.b=null", "transfer=none"]
    said = cli("run", "dml", *over(*TINY, *words), "--out", "run")
    assert said.status == 0
    assert "out of distribution: other (20 rows)" in said.out + said.err
    results = json.loads((tmp_path / "run/results.json").read_text())
    value = results["arms"]["mutual"]["ensemble"]["auroc:other"]["mean"]
    line = f"out of distribution, other: the ensemble has AUROC {value:.4f} by entropy"
    assert line in said.out
    assert line in cli("eval", "run").out
    value = results["arms"]["mutual"]["ensemble"]["corrupted_nll"]["mean"]
    line = f"images made worse (noise, blur): the ensemble has accuracy .*NLL {value:.4f}, ECE"
    assert re.search(line.replace("(", "\\(").replace(")", "\\)"), said.out)
    assert cli("report", "run", "--out", "page.html").status == 0
    page = (tmp_path / "page.html").read_text()
    for name in ("selective", "ood", "corruption"):
        assert f'id="s1-{name}"' in page
        assert name not in OPEN, "folded, as what few ask first"
    assert "out of distribution: other (20 rows)" in page


def test_arms_of_a_comparison_are_set_against_each_other_by_it_outside_the_headline(cli, tmp_path):
    np.savez("other.npz", x=np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8))
    words = ["evaluation.ood=[other.npz]", "evaluation.corruption=[blur]", "epochs=1"]
    arms = ["--arms", "mutual,independent", "--seeds", "0-2", "--out", "study"]
    assert cli("compare", "dml", *over(*TINY, *words), *arms).status == 0
    results = json.loads((tmp_path / "study/results.json").read_text())
    found = contrasts(results["differences"], Catalogue(CLASSIFICATION))
    compared = {entry.metric.name for entry in found}
    assert {"auroc:other", "auroc_mi:other", "corrupted_nll", "aurc"} <= compared
    assert {entry.metric.name for entry in found if entry.tested} == {"accuracy"}
    arm = results["arms"]["mutual"]
    assert len(arm["ensemble"]["auroc:other"]["values"]) == 3
    assert len(arm["corruption"]["kinds"]["blur"]["ensemble"]["nll"]) == 5
    assert set(arm["ood"]["scores"]) == {"entropy", "mutual_information"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["evaluation.ood=[gone.npz]"], "evaluation.ood.0: gone.npz: no such file or folder"),
        (["evaluation.ood=[large.npz]"], "evaluation.ood.0: large.npz: x: shape (20, 9, 9)"),
        (["evaluation.ood=[large.npz,large.npz]"], "evaluation.ood.0: large.npz"),
        (["evaluation.ood=[digist]"], "evaluation.ood.0: unknown data set or path 'digist'. Did"),
        (["evaluation.corruption=[blurr]"], "evaluation.corruption.0: found 'blurr'"),
        (
            ["evaluation.corruption=blurr"],
            "evaluation.corruption.0: found 'blurr'. Did you mean 'blur'?",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(cli, tmp_path, words, expected):
    np.savez("large.npz", x=np.zeros((20, 9, 9), np.uint8))
    said = cli("run", "dml", *over(*TINY, *words), "--out", "run")
    assert said.status == 2
    assert expected in said.err
    assert not (tmp_path / "run" / "results.json").exists()


def test_masks_have_no_uncertainty_of_rows(cli, tmp_path):
    from pathlib import Path

    old = Path(__file__).parents[1] / "fixtures/runs/masks"
    np.save("new.npy", np.zeros((1, 16, 16), np.uint8))
    said = cli("predict", str(old), "new.npy", "--uncertainty", "--out", "made")
    assert said.status == 2
    assert "--uncertainty: is of rows" in said.err
