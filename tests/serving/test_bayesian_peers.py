"""Bayesian peers of a finished run: as they are, and as one network of their mean weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import peerlearn
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.models.bayesian import BayesianNetwork, to_bayesian
from peerlearn.serving import Loaded
from peerlearn.serving.export import export

PLAIN = {"width": 0.25}


def peers() -> dict[str, nn.Module]:
    nets = [build_model("cnn", (1, 8, 8), 3, PLAIN) for _ in range(2)]
    return {"a": BayesianNetwork(to_bayesian(nets[0], std=0.2), test_samples=3), "b": nets[1]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("bayesian") / "fit"
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = (3 * x[:, 0, 0, 0]).long()
    data = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}
    cohort = peerlearn.Cohort(peers())
    peerlearn.fit(cohort, data, epochs=1, folder=folder, threads=1, precision="fp32")
    return peerlearn.load(folder, networks=peers())


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_peer_draws_and_its_mean_does_not(run: Loaded, rows: torch.Tensor) -> None:
    x = run.preprocess(rows)
    drawn, mean = run.peer("a"), run.peer("a", mean=True)
    assert isinstance(drawn, BayesianNetwork)
    with torch.no_grad():
        assert drawn(x).samples.shape == (3, 5, 3)
        assert not torch.equal(drawn(x).logits, drawn(x).logits)
        assert torch.equal(mean(x).logits, mean(x).logits)
        drawn.deterministic = True
        torch.testing.assert_close(mean(x).logits, drawn(x).logits)
        drawn.deterministic = False
    build_model("cnn", (1, 8, 8), 3, PLAIN).load_state_dict(mean.state_dict(), strict=True)
    with pytest.raises(InputError, match="mean: peer 'b' has weights, and no distribution"):
        run.peer("b", mean=True)


@pytest.mark.parametrize("who", ["a", "ensemble"])
def test_a_program_is_of_the_means_and_says_so(
    run: Loaded, rows: torch.Tensor, who: str, tmp_path: Path
) -> None:
    made = export(run, tmp_path / "net.pt2", who)
    assert "of the means of its weights, as random draws cannot be in a program" in made.note
    extra = {"peerlearn.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra).module()
    x = run.preprocess(rows)
    with torch.no_grad():
        each = {"a": run.peer("a", mean=True)(x).logits, "b": run.peer("b")(x).logits}
    names = ["a", "b"] if who == "ensemble" else [who]
    expected = torch.stack([each[name].softmax(1) for name in names]).mean(0)
    torch.testing.assert_close(program(rows), expected, atol=1e-5, rtol=1e-4)
    about = json.loads(extra["peerlearn.json"])
    assert json.loads(about["means_of_posteriors"]) == ["a"]


def test_onnx_too(run: Loaded, rows: torch.Tensor, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed (peerlearn[onnx])")
    import onnx

    run.export(tmp_path / "net.onnx", peer="a")
    known = {p.key: p.value for p in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert json.loads(known["means_of_posteriors"]) == ["a"]


Fits = Callable[[], nn.Module]


@pytest.mark.parametrize(
    ("mean", "fits", "said"),
    [
        (False, lambda: peers()["a"], None),
        (True, lambda: build_model("cnn", (1, 8, 8), 3, PLAIN), '["a"]'),
    ],
)
def test_weights_are_those_of_the_posterior_or_of_the_plain_network(
    run: Loaded, mean: bool, fits: Fits, said: str | None, tmp_path: Path
) -> None:
    made = export(run, tmp_path / "a.safetensors", "a", mean=mean)
    assert ("of the means of its weights" in made.note) is mean
    fits().load_state_dict(load_file(tmp_path / "a.safetensors"), strict=True)
    with safe_open(tmp_path / "a.safetensors", framework="pt") as stored:
        assert stored.metadata().get("means_of_posteriors") == said
    with pytest.raises(InputError, match="--mean: peer 'b' has weights, and no distribution"):
        run.export(tmp_path / "b.safetensors", peer="b", mean=True)


def test_a_temperature_that_was_fitted_to_many_draws_is_left_out(
    run: Loaded, rows: torch.Tensor, tmp_path: Path
) -> None:
    from peerlearn.engine.calibration import set_temperature

    set_temperature(run.peers["a"], 3.0)
    try:
        for mean, known in ((False, "3.0"), (True, None)):
            run.export(tmp_path / "a.safetensors", peer="a", mean=mean)
            with safe_open(tmp_path / "a.safetensors", framework="pt") as stored:
                assert stored.metadata().get("temperature") == known
        assert not run.peer("a", mean=True)._forward_hooks
    finally:
        set_temperature(run.peers["a"], None)
