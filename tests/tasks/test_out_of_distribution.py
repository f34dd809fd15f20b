"""Runs that tell rows of other data from their own, and look at images made worse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from overriding import parsed
from sklearn.metrics import roc_auc_score
from tiny import tiny_config, tiny_trainer
from torch import nn

import peerlearn
from peerlearn.data.corruption import KINDS
from peerlearn.engine.evaluate import predict
from peerlearn.errors import InputError
from peerlearn.metrics.uncertainty import TOLD_APART
from peerlearn.models.bayesian import BayesianNetwork, to_bayesian
from peerlearn.results import merge, one_seed
from peerlearn.row_scores import read_row_scores
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

DRAW = np.random.default_rng(0)
MLPS = [f"peers.{name}={{model: mlp, arguments: {{hidden: [8]}}}}" for name in "ab"]
#: The metrics of a set, but for the set.
BY_ENTROPY = set(TOLD_APART)
BY_BOTH = {*BY_ENTROPY, *(f"{name}_mi" for name in TOLD_APART)}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bright.npz` and `dark.npz` beside each other."""
    folder = tmp_path_factory.mktemp("sets")
    np.savez(folder / "bright.npz", x=DRAW.integers(100, 255, (50, 8, 8), dtype=np.uint8))
    np.savez(folder / "dark.npz", x_test=DRAW.integers(0, 60, (30, 8, 8), dtype=np.uint8))
    return folder


def outside(sets: Path) -> str:
    return f"evaluation.ood=[{sets / 'bright.npz'}, {sets / 'dark.npz'}]"


@pytest.fixture(scope="module")
def run(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    worse = "evaluation.corruption=[noise, blur]"
    config = tiny_config(*MLPS, "epochs=3", outside(sets), worse)
    run_recipe(find_recipe("dml")[0], config, out)
    return out


def block_of(folder: Path) -> dict[str, Any]:
    (arm,) = json.loads((folder / "results.json").read_text())["arms"].values()
    return arm


def of_set(measured: dict[str, Any], name: str) -> set[str]:
    return {key.partition(":")[0] for key in measured if key.partition(":")[2] == name}


def test_every_peer_their_mean_and_the_ensemble_are_measured_on_every_set(run: Path) -> None:
    arm = block_of(run)
    for name in ("bright", "dark"):
        assert of_set(arm["ensemble"], name) == BY_BOTH  # whose members are its samples
        for measured in (*arm["peers"].values(), arm["mean_peer"]):
            assert of_set(measured, name) == BY_ENTROPY
    values = [arm["peers"][who]["auroc:dark"]["mean"] for who in "ab"]
    assert arm["mean_peer"]["auroc:dark"]["mean"] == pytest.approx(sum(values) / 2)


def test_scores_are_those_of_rows_and_normalised_as_the_run_has_it(run: Path, sets: Path) -> None:
    arm, rows = block_of(run), read_row_scores(run / "rows.npz")
    trained = peerlearn.load(run)
    p = trained.predict(np.load(sets / "dark.npz")["x_test"], peer="ensemble")
    inside = rows["ensemble"]["entropy"], rows["ensemble"]["mutual_information"]
    for ending, own, other in zip(("", "_mi"), inside, (p.total, p.epistemic), strict=True):
        truth = np.repeat([0, 1], [len(own), len(other)])
        expected = roc_auc_score(truth, np.r_[own, other])
        assert arm["ensemble"][f"auroc{ending}:dark"]["mean"] == pytest.approx(expected, abs=1e-4)


def test_the_block_has_histograms_and_the_account_says_which_rows(run: Path) -> None:
    ood = block_of(run)["ood"]
    assert ood["rows"] == {"bright": 50, "dark": 30}
    assert set(ood["scores"]["entropy"]["of"]) == {"a", "b", "ensemble"}
    assert set(ood["scores"]["mutual_information"]["of"]) == {"ensemble"}
    shares = ood["scores"]["entropy"]["of"]["a"]
    assert set(shares["out"]) == {"bright", "dark"}
    for values in (shares["in"], *shares["out"].values()):
        assert sum(values) == pytest.approx(1)
        assert len(values) == len(ood["scores"]["entropy"]["edges"]) - 1
    account = json.loads((run / "results.json").read_text())["account"]
    assert account == ["out of distribution: bright (50 rows), dark (30 test rows)"]


def test_eval_measures_the_same_again(run: Path) -> None:
    from peerlearn.serving import evaluate_run, open_run

    again = next(iter(evaluate_run(open_run(run))["arms"].values()))
    first = block_of(run)
    for who in ("mean_peer", "ensemble"):
        measured = {n: v for n, v in first[who].items() if not n.startswith("corrupted")}
        assert again[who] == measured
    assert again["ood"] == first["ood"]


def test_relative_paths_are_found_from_another_folder(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peerlearn.serving import evaluate_run, open_run

    monkeypatch.chdir(sets)
    config = tiny_config(*MLPS, "epochs=1", "evaluation.ood=[dark.npz]")
    run_recipe(find_recipe("dml")[0], config, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    again = next(iter(evaluate_run(open_run("run"))["arms"].values()))
    assert again["ensemble"]["auroc:dark"] == block_of(tmp_path / "run")["ensemble"]["auroc:dark"]
    recipe, given = find_recipe("run/config.yaml")
    finished = run_recipe(recipe, recipe.resolve(given, {}), tmp_path / "run", resume=True)
    assert finished["arms"]["mutual"] == block_of(tmp_path / "run")
    for others in ([str(sets / "bright.npz")], [*given["evaluation"]["ood"], "digits"]):
        changed = recipe.resolve(given, {"evaluation.ood": others})
        with pytest.raises(InputError, match=r"cannot resume with a changed .*\n  evaluation.ood"):
            run_recipe(recipe, changed, tmp_path / "run", resume=True)


def test_other_rows_leave_training_and_what_is_measured_of_own_rows_alone(run: Path) -> None:
    plain = tiny_trainer(*MLPS, "epochs=3").run().block
    arm = block_of(run)
    for who in ("mean_peer", "ensemble"):
        for name, value in plain[who].items():
            assert arm[who][name]["mean"] == value, name
    assert not {"ood", "corruption"} & set(plain)


def test_changed_rows_are_seen_when_a_run_goes_on(sets: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=DRAW.integers(0, 255, (9, 8, 8), dtype=np.uint8))
    words = (*MLPS, "epochs=1", f"evaluation.ood=[{tmp_path / 'own.npz'}]")
    task = tiny_trainer(*words).task
    np.savez(tmp_path / "own.npz", x=DRAW.integers(0, 255, (9, 8, 8), dtype=np.uint8))
    other = tiny_trainer(*words).task
    key = f"evaluation.ood.0: {tmp_path / 'own.npz'}"
    assert task.fingerprint[key] != other.fingerprint[key]
    assert {k: v for k, v in task.fingerprint.items() if k != key}.items() <= (
        other.fingerprint.items()
    )


def test_means_over_last_epochs_have_it_too(sets: Path) -> None:
    words = (*MLPS, "evaluation.select=mean_last", "evaluation.last_epochs=2", outside(sets))
    block = tiny_trainer(*words, "epochs=2").run().block
    last = tiny_trainer(*MLPS, "evaluation.select=last", "epochs=2", outside(sets)).run().block
    assert of_set(block["ensemble"], "dark") == BY_BOTH
    assert block["ensemble"]["fpr95:dark"] != last["ensemble"]["fpr95:dark"]


def test_a_resumed_run_equals_one_that_was_not_interrupted(sets: Path, tmp_path: Path) -> None:
    means = ["evaluation.select=mean_last", "evaluation.last_epochs=3"]
    words = [*MLPS, *means, outside(sets), "epochs=3", "evaluation.corruption=[noise]"]
    whole = tiny_trainer(*words, folder=tmp_path / "whole").run()

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise KeyboardInterrupt

    cut = tiny_trainer(*words, folder=tmp_path / "cut")
    cut.observe = stop
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = tiny_trainer(*words, folder=tmp_path / "cut").run(resume=True)
    for part in ("peers", "mean_peer", "ensemble", "ood", "corruption", "selective"):
        assert resumed.block[part] == whole.block[part], part


def test_ids_that_an_embedding_does_not_have_are_found_before_training(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.full((6, 5), 40))
    nets = {name: nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 2)) for name in "ab"}
    rows = torch.randint(9, (40, 5)), torch.arange(40) % 2
    given: dict[str, Any] = {"epochs": 1, "evaluation": {"ood": [str(tmp_path / "other.npz")]}}
    with pytest.raises(InputError, match=r"evaluation.ood .*: row 0 .* holds id 40"):
        peerlearn.fit(peerlearn.Cohort(nets), rows, **given)


# Images made worse


def test_corruption_is_measured_by_kind_and_level_and_in_the_mean(run: Path) -> None:
    arm = block_of(run)
    found = arm["corruption"]
    assert found["levels"] == [1, 2, 3, 4, 5]
    assert set(found["kinds"]) == {"noise", "blur"}
    for who, measured in (
        *arm["peers"].items(), ("mean_peer", arm["mean_peer"]), ("ensemble", arm["ensemble"]),
    ):  # fmt: skip
        for name in ("accuracy", "nll", "ece"):
            values = [v for kind in found["kinds"].values() for v in kind[who][name]]
            assert len(values) == 10
            assert measured[f"corrupted_{name}"]["mean"] == pytest.approx(sum(values) / 10)
    clean = arm["ensemble"]["nll"]["mean"]
    assert found["kinds"]["noise"]["ensemble"]["nll"][-1] > clean


def test_curves_are_those_of_images_made_worse_before_they_are_normalised() -> None:
    from peerlearn.data.corruption import corrupted

    trainer = tiny_trainer(*MLPS, "epochs=2", "evaluation.corruption=[contrast]")
    block = trainer.run().block
    data = trainer.task.data
    x = corrupted(data.test.x / 255, "contrast", 5, np.random.default_rng(0))
    x = (x - data.mean[0]) / data.std[0]
    peers = dict(trainer.cohort.peers.items())
    ((logits, y),) = predict(peers, lambda: [(x, data.test.y)], trainer.precision)
    for name, z in logits.items():
        expected = (z.argmax(1) == y).double().mean().item()
        found = block["corruption"]["kinds"]["contrast"][name]["accuracy"][-1]
        assert found == pytest.approx(expected, abs=0.006)


def test_seeds_draw_their_own_noise_and_batches_do_not_matter() -> None:
    def curves(*words: str) -> Any:
        made = tiny_trainer(
            *MLPS, "epochs=1", "data.train_size=40", "evaluation.corruption=[noise]", *words
        )
        return made.run().block["corruption"]["kinds"]["noise"]["ensemble"]["nll"]

    assert curves() == pytest.approx(curves("evaluation.batch_size=7"), rel=1e-5)
    assert curves() != curves("seed=1")


def test_seeds_of_a_comparison_are_averaged_point_by_point(run: Path) -> None:
    arm = block_of(run)
    other = json.loads(json.dumps(arm))
    other["corruption"]["kinds"]["noise"]["a"]["nll"] = [9.0] * 5
    other["selective"]["risk"]["a"][0] = arm["selective"]["risk"]["a"][0] + 1
    merged = merge([arm, other])
    first = arm["corruption"]["kinds"]["noise"]["a"]["nll"]
    expected = [(value + 9) / 2 for value in first]
    assert merged["corruption"]["kinds"]["noise"]["a"]["nll"] == pytest.approx(expected)
    risk = arm["selective"]["risk"]["a"][0]
    assert merged["selective"]["risk"]["a"][0] == pytest.approx(risk + 0.5)
    assert len(merged["ensemble"]["auroc:dark"]["values"]) == 2
    del other["corruption"]["kinds"]["blur"]
    with pytest.raises(InputError, match="merge: corruption differs between runs"):
        merge([arm, other])


def test_cells_of_an_earlier_version_can_be_merged_with_new_ones(run: Path) -> None:
    arm = block_of(run)
    older = one_seed({key: arm[key] for key in ("peers", "mean_peer", "ensemble") if key in arm})
    older = json.loads(json.dumps({k: arm[k] for k in older}))
    newer = json.loads(json.dumps(older)) | {"selective": arm["selective"]}
    for part in (*older["peers"].values(), older["mean_peer"], older["ensemble"]):
        for name in ("aurc", "mutual_information"):
            part.pop(name, None)
    merged = merge([older, newer])
    assert "aurc" not in merged["mean_peer"]
    assert "selective" not in merged
    assert len(merged["mean_peer"]["accuracy"]["values"]) == 2


# Stochastic peers, and what is refused


def fitted(**evaluation: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    bayes = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    cohort = peerlearn.Cohort(
        {"bayes": BayesianNetwork(to_bayesian(bayes, std=0.1)), "plain": plain}
    )
    given = {"epochs": 2, "precision": "fp32", "threads": 1, "evaluation": evaluation}
    return peerlearn.fit(cohort, "digits", **given).block


def test_a_stochastic_peer_tells_rows_apart_by_mutual_information_too(sets: Path) -> None:
    block = fitted(ood=[str(sets / "dark.npz")], corruption=["contrast"])
    assert of_set(block["peers"]["bayes"], "dark") == BY_BOTH
    assert of_set(block["peers"]["plain"], "dark") == BY_ENTROPY
    found = block["peers"]["bayes"]
    assert found["mutual_information"] > 1e-4
    assert block["mean_peer"]["auroc_mi:dark"] == found["auroc_mi:dark"]
    assert set(block["ood"]["scores"]["mutual_information"]["of"]) == {"bayes", "ensemble"}
    assert set(block["corruption"]["kinds"]["contrast"]) == {
        "bayes", "plain", "mean_peer", "ensemble",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "words", "said"),
    [
        ("gml-node", ["evaluation.ood=[digits]"], "evaluation.ood: found 'digits', but it is for"),
        ("dml", ["evaluation.corruption=[fog]"], "evaluation.corruption"),
        ("dml", ["evaluation.ood=3"], "evaluation.ood"),
    ],
)
def test_what_has_no_meaning_is_refused(recipe: str, words: list[str], said: str) -> None:
    found, given = find_recipe(recipe)
    with pytest.raises(InputError, match=said):
        found.resolve(given, parsed(*words))


def test_corruption_of_what_is_no_image_is_refused_before_training(tmp_path: Path) -> None:
    arrays = {f"x_{part}": DRAW.random((30, 6)) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.arange(30) % 3 for part in ("train", "test")}
    np.savez(tmp_path / "vectors.npz", **arrays)
    words = [*MLPS, f"data.name={tmp_path / 'vectors.npz'}", "evaluation.corruption=[blur]"]
    with pytest.raises(InputError, match=r"evaluation.corruption: is for images"):
        tiny_trainer(*words, "data.train_size=null")
    assert set(KINDS) == {"noise", "blur", "contrast", "pixelate"}


def test_a_graph_recipe_refuses_corruption() -> None:
    found, given = find_recipe("gml-node")
    config = found.resolve(given, parsed("evaluation.corruption=[blur]"))
    with pytest.raises(
        InputError, match=r"evaluation.corruption: is for images that are classified"
    ):
        found.build(config)


def test_one_name_alone_is_a_list_of_one() -> None:
    found, given = find_recipe("dml")
    words = ("evaluation.ood=mnist", "evaluation.corruption=noise")
    read = found.resolve(given, parsed(*words)).evaluation
    assert (read.ood, read.corruption) == (("mnist",), ("noise",))
