"""A finished run of category discovery, measured again and asked about new images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_discovery import digit_arrays, reported, tiny_config

from peerlearn.errors import InputError
from peerlearn.serving import Predictor, TrainedRun, evaluate_run, open_run
from peerlearn.systems.discovery.recipe import DISCOVERY
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.discovery.data.datasets import DiscoveryInfo

#: What only the rows of the run itself have.
TRAINED_ON = {"cluster_accuracy", "nmi", "ari", "all_accuracy", "old_accuracy", "new_accuracy"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 digits of ten classes to train on and 100 to test, as `digits.npz`."""
    folder = tmp_path_factory.mktemp("served")
    arrays = digit_arrays()
    np.savez(folder / "digits.npz", **arrays)
    np.savez(folder / "others.npz", **arrays | {"x_train": arrays["x_train"][::-1]})
    np.save(folder / "x.npy", digit_arrays()["x_test"])
    return folder


def finished(folder: Path, name: str, *overrides: str) -> TrainedRun:
    config = tiny_config(f"data={{name: {folder / 'digits.npz'}}}", *overrides)
    run_recipe(DISCOVERY, config, folder / name)
    return open_run(folder / name)


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    return finished(folder, "dual")


def metrics(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Metrics of the peers that their logits tell, without features and earlier epochs."""
    block = reported(results)["peers"]
    return {
        name: {m: s["mean"] for m, s in each.items() if not m.startswith(("pair_", "oracle_"))}
        for name, each in block.items()
    }


@pytest.mark.parametrize(
    "overrides",
    [["arm=dual"], ["arm=kmeans"], ["arm=uno-mutual"], ["data.unlabelled_known=0.5"], ["ema=0.9"]],
    ids=lambda words: words[0],
)
def test_a_run_measured_again_has_its_own_numbers(
    folder: Path, overrides: list[str], tmp_path: Path
) -> None:
    """Which takes the trunk from the folder, and how known and new classes compete."""
    made = finished(folder, str(tmp_path / "run"), *overrides)
    assert (made.folder / "checkpoints" / "best" / "trunk.safetensors").is_file()
    own = evaluate_run(made)
    assert metrics(own) == metrics(made.results)
    assert reported(own)["ensemble"] == reported(made.results)["ensemble"]
    assert metrics(evaluate_run(made, str(folder / "digits.npz"))) == metrics(own), "its own data"
    other = metrics(evaluate_run(made, str(folder / "others.npz")))
    for name, found in other.items():
        expected = metrics(made.results)[name]
        assert not found.keys() & TRAINED_ON
        for metric in ("known_accuracy", "test_cluster_accuracy"):
            assert found[metric] == expected[metric], f"{name}: {metric}"


def test_a_run_without_its_trunk_is_refused(folder: Path) -> None:
    broken = finished(folder, "broken")
    (broken.folder / "checkpoints" / "best" / "trunk.safetensors").unlink()
    with pytest.raises(InputError, match=r"trunk\.safetensors: no such file"):
        evaluate_run(broken)


@pytest.mark.parametrize("who", ["global", "local", "ensemble"])
def test_predictions_are_probabilities_of_known_classes_and_clusters(
    run: TrainedRun, folder: Path, who: str
) -> None:
    (made,) = Predictor(run, who).predict([folder / "x.npy"])
    assert made.probabilities.shape == (100, 10)
    torch.testing.assert_close(made.probabilities.sum(1), torch.ones(100).double())
    names = ("0", "1", "2", "3", "4", *(f"new {number}" for number in range(1, 6)))
    assert run.info.class_names == names


def test_predictions_of_a_peer_are_those_that_were_measured(run: TrainedRun, folder: Path) -> None:
    y = torch.from_numpy(digit_arrays()["y_test"])
    known = y < 5
    for name in run.peers:
        (made,) = Predictor(run, name, among="known").predict([folder / "x.npy"])
        right = made.probabilities[known].argmax(1) == y[known]
        expected = metrics(run.results)[name]["known_accuracy"]
        assert right.double().mean().item() == pytest.approx(expected)


def test_no_branch_is_best_where_nothing_is_selected(run: TrainedRun) -> None:
    with pytest.raises(InputError, match=r"no peer is known to be best.*global, local, ensemble"):
        Predictor(run, "best")


def test_a_branch_that_another_feeds_predicts_the_same_by_itself(folder: Path) -> None:
    """The one that feeds it is in evaluation mode too, and its statistics stay."""
    fed = finished(folder, "fed", "peers.local.fed_by=global")
    before = {n: t.clone() for n, t in fed.cohort.state_dict().items()}
    (alone,) = Predictor(fed, "local", among="known").predict([folder / "x.npy"])
    for name, tensor in fed.cohort.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    known = torch.from_numpy(digit_arrays()["y_test"])
    right = alone.probabilities[known < 5].argmax(1) == known[known < 5]
    expected = metrics(fed.results)["local"]["known_accuracy"]
    assert right.double().mean().item() == pytest.approx(expected)


def test_a_run_needs_the_weights_it_started_from_no_more(run: TrainedRun, folder: Path) -> None:
    weights = folder / "weights.pt"
    source = run.cohort
    network = dict(source.trunk.state_dict()) | {
        f"stages.stage3.{name}": tensor
        for name, tensor in source.peers["global"].stage.state_dict().items()
    }
    torch.save(network, weights)
    made = finished(folder, "own", f"weights={weights}", "stages.rotation.epochs=0")
    weights.unlink()
    (found,) = Predictor(made, "global").predict([folder / "x.npy"])
    assert len(found.probabilities) == 100


def test_info_of_older_runs_is_read(run: TrainedRun) -> None:
    info = run.info.model_dump()
    del info["generalised"]
    assert DiscoveryInfo.model_validate(info).generalised is False


def test_other_data_must_fit(run: TrainedRun, tmp_path: Path) -> None:
    arrays, path = digit_arrays(), tmp_path / "other.npz"
    np.savez(path, **{n: a[:, :6] if a.ndim == 3 else a for n, a in arrays.items()})
    with pytest.raises(InputError, match=r"--data .*other\.npz: rows of shape \(1, 6, 8\)"):
        evaluate_run(run, str(path))
    few = {part: arrays[f"y_{part}"] < 8 for part in ("train", "test")}  # four of them are known
    np.savez(path, **{n: a[few[n[2:]]] for n, a in arrays.items()})
    with pytest.raises(InputError, match=r"4 known classes, but the run was trained on .* and 5"):
        evaluate_run(run, str(path))
