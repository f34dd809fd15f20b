"""`peerlearn.fit` on data at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import peerlearn
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.randomness import seeded_rng


def arrays(rows: int = 80) -> dict[str, torch.Tensor]:
    """Two classes that a linear network tells apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 6, generator=generator)
    y = (x[:, 0] > 0).long()
    half = rows // 2
    return {"x_train": x[:half], "y_train": y[:half], "x_test": x[half:], "y_test": y[half:]}


def cohort(transfer: object = "predictions: kl") -> peerlearn.Cohort:
    with seeded_rng(0, "test"):
        return peerlearn.Cohort({n: nn.Linear(6, 2) for n in ("a", "b")}, transfer=transfer)


QUICK = {"lr": 0.5, "batch_size": 16, "precision": "fp32"}


def test_fit_learns_from_tensors_and_from_arrays_alike() -> None:
    from_tensors = peerlearn.fit(cohort(), arrays(), epochs=10, **QUICK)
    from_arrays = peerlearn.fit(
        cohort(), {k: np.asarray(v) for k, v in arrays().items()}, epochs=10, **QUICK
    )
    assert from_tensors.block["mean_peer"]["accuracy"] > 0.85
    assert from_tensors.block["mean_peer"] == from_arrays.block["mean_peer"]
    assert len(from_tensors.history) == 10


def test_fit_leaves_the_selected_weights_in_the_peers() -> None:
    trained = cohort()
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    result = peerlearn.fit(trained, arrays(), epochs=2, **QUICK)
    assert any(not torch.equal(v, before[k]) for k, v in trained.state_dict().items())
    assert set(result.selected) == {"a", "b"}


def test_fit_takes_peers_own_settings_and_augmentation() -> None:
    def accuracy(**more: object) -> dict:
        with seeded_rng(0, "nets"):
            nets = {n: build_model("cnn", (1, 8, 8), 10, {"width": 0.25}) for n in ("a", "b")}
        options = QUICK | {"epochs": 1, "evaluation": {"select": "last"}} | more
        return peerlearn.fit(peerlearn.Cohort(nets), "digits", **options).block["peers"]

    base = accuracy()
    own = accuracy(peers={"b": {"lr": 0.01}})
    assert own["b"] != base["b"]
    assert accuracy(augment={"crop": 2}) != base
    assert accuracy(peers={"b": {"view": 1}}, augment={"crop": 2}) != accuracy(augment={"crop": 2})


def test_fit_resumes_in_its_folder_and_refuses_another_configuration(tmp_path: Path) -> None:
    whole = peerlearn.fit(cohort(), arrays(), epochs=4, **QUICK)

    def stop(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        peerlearn.fit(cohort(), arrays(), epochs=4, folder=run, observe=stop, **QUICK)
    with pytest.raises(InputError, match="already holds a run"):
        peerlearn.fit(cohort(), arrays(), epochs=4, folder=run, **QUICK)
    with pytest.raises(InputError, match=r"epochs: was 4, now 5"):
        peerlearn.fit(cohort(), arrays(), epochs=5, folder=run, resume=True, **QUICK)
    resumed = peerlearn.fit(cohort(), arrays(), epochs=4, folder=run, resume=True, **QUICK)
    assert resumed.block["peers"] == whole.block["peers"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epoch": 3}, "epoch: unknown key. Did you mean 'epochs'"),
        ({"optimiser": "sdg"}, "unknown optimiser 'sdg'. Did you mean 'sgd'"),
        ({"peers": {"c": {}}}, "'c'"),
        ({"augment": {"crops": 2}}, r"augment\.crops: unknown key. Did you mean 'crop'"),
        ({"evaluation": {"select": "first"}}, r"evaluation\.select: found 'first'"),
        ({"evaluation": {"report": "val+test"}}, "chose the weights"),
    ],
)
def test_fit_says_what_is_wrong_before_it_trains(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        peerlearn.fit(cohort(), arrays(), **wrong)


def test_fit_refuses_data_it_cannot_read() -> None:
    with pytest.raises(InputError, match="data: found int"):
        peerlearn.fit(cohort(), 3)
    with pytest.raises(InputError, match="x_test"):
        peerlearn.fit(cohort(), {k: v for k, v in arrays().items() if k != "x_test"})


def test_a_result_prints_as_a_short_table() -> None:
    result = peerlearn.fit(cohort(), arrays(), epochs=2, **QUICK)
    shown = repr(result).splitlines()
    assert shown[0] == "TrainingResult: 2 epochs" and len(shown) == 6 and max(map(len, shown)) < 80
    titles, accuracy = shown[1].split(), result.block["peers"]["b"]["accuracy"]
    assert titles[0] == "accuracy" and titles[-1] == "epoch"
    assert shown[3].split()[:2] == ["b", f"{accuracy:.4f}"]
    assert shown[3].split()[-1] == str(result.selected["b"]["epoch"])
    assert [line.split()[0] for line in shown[2:]] == ["a", "b", "mean", "ensemble"]
