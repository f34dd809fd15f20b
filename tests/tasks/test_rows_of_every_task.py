"""Every task keeps what its test rows scored, and the means of that are what it reports."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from overriding import parsed
from tiny import TINY
from tiny_discovery import TINY as TINY_DISCOVERY
from tiny_graphs import PEERS, TRAINING, graph_arrays, node_arrays
from tiny_masks import TINY_MASKS as MASKS
from tiny_masks import mask_arrays

import peerlearn
from peerlearn.metrics.calibration import bin_means, calibration_error, equal_width
from peerlearn.metrics.confusion import matrix
from peerlearn.row_scores import read_row_scores, read_row_set
from peerlearn.systems.registry import find_recipe

#: Metrics of a run that are no means over rows.
NOT_OF_ROWS = {
    "ece", "adaptive_ece", "aurc", "f1", "nmi", "ari", "clusters", "largest_cluster",
    "oracle_cluster_accuracy", "pair_precision", "pair_recall",
}  # fmt: skip
MULTILABEL = {
    f"{kind}_{part}": values
    for part in ("train", "val", "test")
    for kind, values in (
        ("x", np.random.default_rng(0).random((30, 6)).astype(np.float32)),
        ("y", np.random.default_rng(1).integers(0, 2, (30, 4)).astype(np.float32)),
    )
}
OVERLAPPING = {
    name: np.stack([values == 0, values > 0], 1).astype(np.float32) if name[0] == "y" else values
    for name, values in mask_arrays(6).items()
    if name != "classes"
}
BOTH = ["evaluation.report=val+test", "evaluation.select=last"]
SIGMOID = ["objective.loss=bce+dice", "evaluation.batch_size=2"]
TINY_MASKS = [*MASKS, "epochs=1"]
MLPS = [f"peers.{name}={{model: mlp, arguments: {{hidden: [8]}}}}" for name in "ab"]


def run(
    recipe: str, overrides: list[str], out: Path, arrays: Mapping[str, Any] | None = None
) -> tuple[Any, dict[str, Any], str]:
    """The block of a run, its row scores, and which rows they are of."""
    changes = parsed(*overrides)
    if arrays is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(out.parent / "data.npz", **arrays)
        changes["data.name"] = str(out.parent / "data.npz")
    peerlearn.recipe(recipe, changes).run(changes.get("seed", 0), out=out)
    (block,) = json.loads((out / "results.json").read_text())["arms"].values()
    return block, read_row_scores(out / "rows.npz"), read_row_set(out / "rows.npz")


@pytest.mark.parametrize(
    ("recipe", "overrides", "arrays"),
    [
        ("dml", [*TINY, "epochs=1"], None),
        ("dml", [*TINY, "evaluation.select=mean_last", "evaluation.last_epochs=2"], None),
        ("dml", [*TINY, *BOTH, "evaluation.members=[a]"], None),
        ("dml", [*MLPS, "epochs=1"], MULTILABEL),
        ("gml-node", [*TRAINING, *PEERS["gml-node"]], node_arrays()),
        ("gml-graph", [*TRAINING, *PEERS["gml-graph"]], graph_arrays()),
        ("styles-segment", TINY_MASKS, mask_arrays(6)),
        ("styles-segment", [*TINY_MASKS, *SIGMOID], OVERLAPPING),
        ("discovery", TINY_DISCOVERY, None),
        ("discovery", [*TINY_DISCOVERY, "data.unlabelled_known=0.5"], None),
    ],
    ids=[
        "dml", "mean-last", "val+test", "several labels", "nodes", "graphs", "masks",
        "masks that overlap", "discovery", "generalised discovery",
    ],
)  # fmt: skip
def test_means_of_rows_are_what_is_reported(
    recipe: str, overrides: list[str], arrays: dict[str, Any] | None, tmp_path: Path
) -> None:
    block, rows, row_set = run(recipe, overrides, tmp_path / "run", arrays)
    assert row_set
    everyone = block["peers"] | {"ensemble": block["ensemble"]}
    assert rows.keys() == everyone.keys()
    for who, measured in everyone.items():
        of_rows = {name for name in measured if name not in NOT_OF_ROWS and ":" not in name}
        assert of_rows and of_rows <= rows[who].keys()
        for name in of_rows:
            mean = np.nanmean(rows[who][name].astype(np.float64))
            assert mean == pytest.approx(measured[name]["mean"], abs=1e-6, rel=1e-6), (who, name)


def test_the_rest_of_a_report_follows_from_the_rows(tmp_path: Path) -> None:
    import torch

    block, rows, _ = run("dml", TINY, tmp_path / "run")
    for who, scores in rows.items():
        found = {
            name: torch.from_numpy(values.astype(np.float64)) for name, values in scores.items()
        }
        sure, right = found["confidence"], found["accuracy"]
        ece = calibration_error(bin_means(sure, right, equal_width(sure)))
        of = block["peers"].get(who, block["ensemble"])
        assert ece == pytest.approx(of["ece"]["mean"], abs=1e-6)
        cells = np.zeros((10, 10), int)
        np.add.at(cells, (scores["label"].astype(int), scores["predicted"].astype(int)), 1)
        np.testing.assert_array_equal(cells, matrix(block["confusion"]["of"][who], 10)[:, :10])
    same = (rows["a"]["predicted"] == rows["b"]["predicted"]).mean()
    assert same == pytest.approx(block["between_peers"]["agreement"]["a~b"]["mean"])


def test_metrics_of_images_together_follow_from_their_counts(tmp_path: Path) -> None:
    block, rows, _ = run("styles-segment", TINY_MASKS, tmp_path / "run", mask_arrays(6))
    scores = rows["ensemble"]
    assert all(len(values) == 6 for values in scores.values()), "a row is an image"
    for name in ("ground", "tree", "house"):
        hit, union = scores[f"intersection.{name}"].sum(), scores[f"union.{name}"].sum()
        assert hit / union == pytest.approx(block["ensemble"][f"iou:{name}"]["mean"])
        assert 2 * hit / (union + hit) == pytest.approx(block["ensemble"][f"dice:{name}"]["mean"])
    gaps = [abs((scores[f"confidence.{b}"] - scores[f"right.{b}"]).sum()) for b in range(15)]
    decisions = scores["decisions"].sum()
    assert sum(gaps) / decisions == pytest.approx(block["ensemble"]["ece"]["mean"], abs=1e-6)
    own = 1 - scores["wrong"] / scores["decisions"]  # images of one size, so the image's own
    np.testing.assert_allclose(scores["accuracy"], own, atol=1e-6)


def test_rows_of_one_test_part_are_the_same_for_all_arms_and_seeds(tmp_path: Path) -> None:
    digits = peerlearn.recipe("dml", parsed(*TINY, "epochs=1"))
    digits.compare(tmp_path / "out", arms=["mutual", "independent"], seeds=[0, 1])
    files = sorted(tmp_path.glob("out/cells/*/*/rows.npz"))
    assert len(files) == 4
    assert len({read_row_set(file) for file in files}) == 1
    labels = [read_row_scores(file)["a"]["label"] for file in files]
    assert all((each == labels[0]).all() for each in labels)


def test_rows_of_other_splits_are_told_apart(tmp_path: Path) -> None:
    np.savez(tmp_path / "nodes.npz", **node_arrays())
    nodes = [*TRAINING, *PEERS["gml-node"], f"data.name={tmp_path / 'nodes.npz'}"]

    def of(name: str, *words: str) -> str:
        recipe, given = find_recipe(name)
        return recipe.task.load(recipe.resolve(given, parsed(*words))).row_set()

    assert of("gml-node", *nodes) == of("gml-node", *nodes, "seed=1", "data.labels=6")
    assert of("gml-node", *nodes) != of("gml-node", *nodes, "data.split_index=1")
    assert of("dml", *TINY) == of("dml", *TINY, "data.labels=50", "seed=3")
    assert of("dml", *TINY) != of("dml", *TINY, *BOTH)
    discovery = [*TINY_DISCOVERY, "seed=2"]
    assert of("discovery", *TINY_DISCOVERY) == of("discovery", *discovery)
    assert of("discovery", *discovery) != of("discovery", *discovery, "data.unlabelled_known=0.5")


def test_a_run_in_python_keeps_its_rows_too(tmp_path: Path) -> None:
    import torch

    cohort = peerlearn.Cohort({name: torch.nn.Linear(5, 3) for name in "ab"}, "predictions: kl")
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, generator=draw), torch.arange(40) % 3
    result = peerlearn.fit(cohort, (x, y), epochs=1, folder=tmp_path / "run")
    kept = read_row_scores(tmp_path / "run/rows.npz")
    assert kept["a"]["accuracy"].mean() == pytest.approx(result.block["peers"]["a"]["accuracy"])
    np.testing.assert_array_equal(kept["b"]["nll"], result.row_scores["b"]["nll"])


def test_rows_of_a_mean_over_epochs_are_the_same_after_a_resume(tmp_path: Path) -> None:
    words = parsed(*TINY, "evaluation.select=mean_last", "evaluation.last_epochs=2")
    recipe = peerlearn.recipe("dml", words)
    recipe.run(out=tmp_path / "whole")
    recipe.run(out=tmp_path / "resumed")
    for name in ("results.json", "rows.npz"):  # killed before these were written
        (tmp_path / "resumed" / name).unlink()
    recipe.run(out=tmp_path / "resumed", resume=True)
    one, other = (read_row_scores(tmp_path / at / "rows.npz") for at in ("whole", "resumed"))
    assert set(one["a"]) == {"accuracy", "top5", "nll", "brier", "entropy"}
    for who, scores in one.items():
        for name, values in scores.items():
            np.testing.assert_array_equal(values, other[who][name])
