"""`peerlearn.load`: what was trained as plain modules, which say what `eval` and `predict` say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_config
from torch import nn

import peerlearn
from peerlearn.errors import InputError
from peerlearn.serving import Loaded, open_run
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

OLD = Path(__file__).parents[1] / "fixtures/runs"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    out = tmp_path_factory.mktemp("loaded") / "run"
    run_recipe(find_recipe("dml")[0], tiny_config("epochs=3"), out)
    return peerlearn.load(str(out))


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Raw test rows of the digits, and their labels."""
    from peerlearn.data.registry import load_dataset
    from peerlearn.data.spec import DataSpec

    test = load_dataset(DataSpec(name="digits")).test
    return test.rows(torch.arange(len(test))), test.y


def accuracy(said: torch.Tensor, y: torch.Tensor) -> float:
    return (said.argmax(1) == y).double().mean().item()


def test_a_peer_is_a_plain_module_with_its_selected_weights(run: Loaded, digits) -> None:
    x, y = digits
    reported = run.results["arms"]["mutual"]["peers"]
    for name, peer in run.peers.items():
        assert not peer.training
        stored = load_file(run.run.folder / f"checkpoints/best/{name}.safetensors")
        peer.load_state_dict(stored, strict=True)
        with torch.no_grad():
            logits = peer(run.preprocess(x)).logits
        assert accuracy(logits, y) == pytest.approx(reported[name]["accuracy"]["mean"], abs=1e-9)


def test_the_ensemble_gives_mean_probabilities(run: Loaded, digits) -> None:
    x, y = digits
    with torch.no_grad():
        z = run.preprocess(x)
        mean = torch.stack([peer(z).logits.softmax(1) for peer in run.peers.values()]).mean(0)
        torch.testing.assert_close(run.ensemble(z), mean)
    expected = run.results["arms"]["mutual"]["ensemble"]["accuracy"]["mean"]
    assert accuracy(mean, y) == pytest.approx(expected, abs=1e-9)


def test_the_best_is_that_of_validation_never_of_test(run: Loaded) -> None:
    selected = {name: each["value"] for name, each in run.results["selected"].items()}
    worse, best = sorted(selected, key=lambda name: selected[name])
    assert run.name_of("best") == best and run.peer() is run.peers[best] is run.peer(best)
    import copy

    lying = copy.deepcopy(run.results)
    for metric in lying["arms"]["mutual"]["peers"][worse].values():
        metric["mean"] = 1.0
    other = Loaded(type(run.run)(run.run.folder, run.run.recipe, run.run.config, lying))
    assert other.name_of("best") == best, "chosen by what is reported"


@pytest.mark.parametrize("who", ["best", "a", "ensemble"])
def test_raw_rows_are_predicted_as_the_command_line_predicts(
    run: Loaded, digits, who: str, tmp_path: Path
) -> None:
    x = digits[0][:7]
    np.savez(tmp_path / "rows.npz", x=x.numpy())
    found = run.predict(x, peer=who)
    for same in (x.numpy(), tmp_path / "rows.npz", [str(tmp_path / "rows.npz")], x[:, 0].numpy()):
        assert torch.equal(run.predict(same, peer=who).probabilities, found.probabilities)
    with torch.no_grad():
        direct = run.probabilities(who, raw=True)(x)
    torch.testing.assert_close(found.probabilities, direct)
    assert found.labels == [str(number) for number in direct.argmax(1).tolist()]
    assert len(found) == 7 and found.class_names == tuple(map(str, range(10)))
    assert found.classes.tolist() == direct.argmax(1).tolist()


def test_preprocess_is_what_training_read(run: Loaded, digits) -> None:
    from peerlearn.data.augment import normalise

    x = digits[0][:3]
    expected = normalise(x, run.info.mean, run.info.std)
    assert torch.equal(run.preprocess(x), expected)
    torch.testing.assert_close(run.preprocess(x / 255), expected)


def test_rows_that_do_not_fit_are_refused(run: Loaded) -> None:
    with pytest.raises(InputError, match=r"predict: shape \(2, 5, 5\).*trained on uint8 rows"):
        run.predict(np.zeros((2, 5, 5), "uint8"))
    with pytest.raises(InputError, match=r"predict: dtype float64.*uint8 is scaled"):
        run.predict(np.zeros((2, 8, 8)))
    with pytest.raises(InputError, match="unknown peer 'c'"):
        run.peer("c")
    with pytest.raises(InputError, match=r"The ensemble is run\.ensemble"):
        run.peer("ensemble")
    with pytest.raises(InputError, match="no such run folder"):
        peerlearn.load("nowhere")


def test_the_best_of_last_epochs_is_that_of_their_validation(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_recipe(find_recipe("dml")[0], tiny_config("evaluation.select=last", "epochs=1"), out)
    run = peerlearn.load(out)
    (record,) = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
    values = {name: record["val"][name]["accuracy"] for name in ("a", "b")}
    assert run.name_of("best") == max(values, key=lambda name: values[name])
    known = run.results["arms"]["mutual"]["validation"]
    assert {name: each["accuracy"]["values"] for name, each in known.items()} == {
        name: [value] for name, value in values.items()
    }


def test_rows_that_are_reported_choose_nobody(tmp_path: Path) -> None:
    words = ("evaluation={select: last, report: val+test}", "epochs=1")
    run_recipe(find_recipe("dml")[0], tiny_config(*words), tmp_path / "run")
    run = peerlearn.load(tmp_path / "run")
    assert set(run.peers) == {"a", "b"}
    with pytest.raises(InputError, match=r"no peer is known to be best.*allowed: a, b"):
        run.peer()


def own(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def test_code_that_a_run_names_needs_trust(tmp_path: Path, digits) -> None:
    peer = f"peers.a={{model: 'python:{__name__}:own', arguments: {{hidden: 5}}}}"
    run_recipe(find_recipe("dml")[0], tiny_config(peer, "epochs=1"), tmp_path / "run")
    with pytest.raises(InputError, match=rf"(?s)names code.*python:{__name__}:own.*trust=True"):
        peerlearn.load(tmp_path / "run")
    run = peerlearn.load(tmp_path / "run", trust=True)
    logits = run.peer("a")(run.preprocess(digits[0][:2]))
    assert type(logits) is torch.Tensor and logits.shape == (2, 10)


def test_several_labels_are_named_each() -> None:
    from peerlearn.serving import Predicted

    p = torch.tensor([[0.9, 0.6, 0.1], [0.2, 0.1, 0.3]])
    assert Predicted(("x", "y", "z"), p, multilabel=True).labels == [("x", "y"), ()]
    assert Predicted(("x", "y", "z"), p).labels == ["x", "z"]
    assert "(2, 3)" in repr(Predicted(("x", "y", "z"), p))


def test_old_runs_load_and_open_by_text() -> None:
    assert open_run(str(OLD / "predictions")).peers == ["a", "b"]
    run = peerlearn.load(OLD / "predictions")
    x = np.load(OLD / "inputs/rows.npz")["x"]
    torch.testing.assert_close(
        run.predict(x, "ensemble").probabilities, run.ensemble(run.preprocess(torch.tensor(x)))
    )


def test_masks_are_probabilities_of_pixels() -> None:
    run = peerlearn.load(OLD / "masks")
    x = np.load(OLD / "inputs/scenes.npz")["x"]
    found = run.predict(x, peer="ensemble")
    assert found.probabilities.shape == (3, len(run.info.class_names), 48, 48)
    assert found.classes.shape == (3, 48, 48)
    with torch.no_grad():
        direct = run.ensemble(run.preprocess(torch.tensor(x)))
    torch.testing.assert_close(found.probabilities, direct, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="labels: what is predicted are masks"):
        _ = found.labels


@pytest.mark.parametrize("name", ["nodes", "graphs"])
def test_graphs_are_predicted_from_arrays_by_name(name: str) -> None:
    run = peerlearn.load(OLD / name)
    path = OLD / "inputs" / f"{name}.npz"
    arrays = {key: torch.tensor(value) for key, value in np.load(path).items()}
    from_file, found = (run.predict(given, peer="best") for given in (path, arrays))
    assert torch.equal(found.probabilities, from_file.probabilities)
    assert len(found.labels) == (6 if name == "nodes" else 2)
    with pytest.raises(InputError, match="encoded from arrays, and no module does that"):
        _ = run.preprocess
    with pytest.raises(InputError, match="predict: found Tensor; allowed: arrays by name"):
        run.predict(torch.zeros(2, 3))


def test_branches_of_discovery_stand_on_their_trunk() -> None:
    run = peerlearn.load(OLD / "discovery")
    x = np.load(OLD / "inputs/rows.npz")["x"]
    with torch.no_grad():
        z = run.preprocess(torch.tensor(x))
        branch = run.peer("global")
        assert {name.split(".")[0] for name in branch.state_dict()} == {"trunk", "peer"}
        assert branch(z).logits.shape == (6, run.info.classes)
        found = run.predict(x, peer="ensemble")
        torch.testing.assert_close(found.probabilities, run.ensemble(z))
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(6))
    known = run.predict(x, peer="ensemble", among="known")
    assert set(known.labels) <= set(run.info.class_names[: run.info.known])
    with pytest.raises(InputError, match="no peer is known to be best"):
        run.predict(x)
