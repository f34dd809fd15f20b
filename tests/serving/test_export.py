"""Exported files give what `peerlearn.load` gives, without peerlearn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import tiny_config
from torch import nn

import peerlearn
from peerlearn.cli import app
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.serving import Loaded
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

OLD = Path(__file__).parents[1] / "fixtures/runs"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    out = tmp_path_factory.mktemp("exported") / "run"
    run_recipe(find_recipe("dml")[0], tiny_config(), out)
    return peerlearn.load(out)


def rows(run: Loaded, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(256, (count, *run.info.sample_shape), generator=generator).to(torch.uint8)


def command(*words: str | Path) -> None:
    app(["export", *map(str, words)], standalone_mode=False)


@pytest.mark.parametrize("who", ["best", "a", "ensemble"])
def test_a_program_says_what_the_run_says_of_any_number_of_rows(
    run: Loaded, who: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(run.run.folder, "--peer", who, "--out", tmp_path / "net.pt2")
    said = capsys.readouterr().out
    assert "raw uint8 rows (N, 1, 8, 8) to probabilities" in said
    assert ("the ensemble" if who == "ensemble" else f"peer {run.name_of(who)}") in said
    extra = {"peerlearn.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra).module()
    for count in (1, 5):
        x = rows(run, count)
        expected = run.predict(x, peer=who).probabilities
        torch.testing.assert_close(program(x), expected, atol=1e-5, rtol=1e-4)
    about = json.loads(extra["peerlearn.json"])
    assert json.loads(about["class_names"]) == [str(n) for n in range(10)]


def test_a_program_without_preprocessing_reads_normalised_rows(run: Loaded, tmp_path: Path) -> None:
    command(run.run.folder, "--peer", "b", "--out", tmp_path / "net.pt2", "--normalised")
    program = torch.export.load(tmp_path / "net.pt2").module()
    x = rows(run, 3)
    found, expected = program(run.preprocess(x)), run.predict(x, peer="b").probabilities
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_weights_load_into_the_plain_network(run: Loaded, tmp_path: Path) -> None:
    command(run.run.folder, "--peer", "b", "--out", tmp_path / "b.safetensors")
    net = build_model("cnn", (1, 8, 8), 10, {"width": 0.25})
    net.load_state_dict(load_file(tmp_path / "b.safetensors"), strict=True)
    with safe_open(tmp_path / "b.safetensors", framework="pt") as stored:
        known = stored.metadata()
    assert (known["peer"], known["model"], known["metric"]) == ("b", "cnn", "accuracy")
    mean, std = (torch.tensor(json.loads(known[key])).view(1, -1, 1, 1) for key in ("mean", "std"))
    x = rows(run, 5)
    with torch.no_grad():
        probabilities = net.eval()((x / 255 - mean) / std).logits.softmax(1)
    torch.testing.assert_close(run.predict(x, peer="b").probabilities, probabilities)


def test_means_are_asked_of_peers_that_have_distributions(run: Loaded, tmp_path: Path) -> None:
    for out in ("b.safetensors", "b.pt2"):
        with pytest.raises(InputError, match="--mean: peer 'b' has weights, and no distribution"):
            command(run.run.folder, "--peer", "b", "--mean", "--out", tmp_path / out)


def test_weights_of_an_ensemble_are_those_of_its_members(run: Loaded, tmp_path: Path) -> None:
    run.export(tmp_path / "all.safetensors", peer="ensemble")
    found = load_file(tmp_path / "all.safetensors")
    for name, peer in run.peers.items():
        part = {k.removeprefix(f"{name}."): t for k, t in found.items() if k.startswith(f"{name}.")}
        peer.load_state_dict(part, strict=True)


@pytest.mark.parametrize("who", ["best", "ensemble"])
def test_onnx_says_the_same(run: Loaded, who: str, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed (peerlearn[onnx])")
    import onnx
    import onnxruntime

    run.export(tmp_path / "net.onnx", peer=who)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for count in (1, 5):
        x = rows(run, count)
        (found,) = session.run(["probabilities"], {"rows": x.numpy()})
        expected = run.predict(x, peer=who).probabilities.numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)
    known = {p.key: p.value for p in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert known["recipe"] == "dml" and known["input"] == "raw"


def test_onnx_without_its_packages_names_the_command(
    run: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerlearn.serving.export.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'peerlearn\[onnx\]'"):
        run.export(tmp_path / "net.onnx", peer="a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("who", ["s1", "ensemble"])
def test_a_network_that_segments_is_exported_at_its_size(who: str, tmp_path: Path) -> None:
    run = peerlearn.load(OLD / "masks")
    run.export(tmp_path / "net.pt2", peer=who)
    program = torch.export.load(tmp_path / "net.pt2").module()
    x = rows(run, 3)
    expected = run.predict(x, peer=who).probabilities
    torch.testing.assert_close(program(x), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("who", ["global", "ensemble"])
def test_branches_of_discovery_are_exported_with_their_trunk(who: str, tmp_path: Path) -> None:
    run = peerlearn.load(OLD / "discovery")
    run.export(tmp_path / "net.pt2", peer=who)
    program = torch.export.load(tmp_path / "net.pt2").module()
    x = rows(run, 5)
    torch.testing.assert_close(program(x), run.predict(x, peer=who).probabilities)
    run.export(tmp_path / "net.safetensors", peer="local")
    run.peer("local").load_state_dict(load_file(tmp_path / "net.safetensors"), strict=True)


def test_a_network_that_reads_graphs_has_weights_only(tmp_path: Path) -> None:
    run = peerlearn.load(OLD / "nodes")
    said = r"peer 'sage' reads no rows of one shape.*allowed: --format safetens"
    with pytest.raises(InputError, match=said):
        run.export(tmp_path / "net.pt2", peer="sage")
    run.export(tmp_path / "net.safetensors", peer="sage")
    stored = load_file(tmp_path / "net.safetensors")
    run.peer("sage").load_state_dict(stored, strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


class Peculiar(nn.Module):
    """Asks its input a question that no program can."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.flatten(1)) * (2 if x.sum().item() > 0 else 1)


def test_what_cannot_be_a_program_is_said_plainly(tmp_path: Path) -> None:
    peer = f"peers.a={{model: 'python:{__name__}:Peculiar'}}"
    run_recipe(find_recipe("dml")[0], tiny_config(peer, "epochs=1"), tmp_path / "run")
    run = peerlearn.load(tmp_path / "run", trust=True)
    with pytest.raises(InputError, match=r"peer 'a' cannot be exported as a program.*safetensors"):
        run.export(tmp_path / "net.pt2", peer="a")
    assert not (tmp_path / "net.pt2").exists()
    run.export(tmp_path / "net.safetensors", peer="a")


class Words(nn.Module):
    """A bag of words."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.words(x).mean(1))


def test_networks_of_fit_that_read_words_are_exported(tmp_path: Path) -> None:
    x = torch.randint(9, (40, 7), generator=torch.Generator().manual_seed(0))
    data = {"x_train": x, "y_train": (x[:, 0] > 4).long(), "x_test": x, "y_test": x[:, 0] % 2}
    peers = {"a": Words(), "b": Words()}
    fitted = peerlearn.Cohort(peers)
    peerlearn.fit(fitted, data, epochs=1, folder=tmp_path / "fit", threads=1, precision="fp32")
    run = peerlearn.load(tmp_path / "fit", networks={"a": Words(), "b": Words()})
    run.export(tmp_path / "net.pt2", peer="ensemble")
    program = torch.export.load(tmp_path / "net.pt2").module()
    expected = torch.stack([peers[n].eval()(x[:5]).softmax(1) for n in ("a", "b")]).mean(0)
    torch.testing.assert_close(program(x[:5]), expected)
    torch.testing.assert_close(run.predict(x[:5], peer="ensemble").probabilities, expected)


@pytest.mark.parametrize(
    ("out", "format", "message"),
    [
        ("net.bin", None, r"--out .*net\.bin: no format by that ending; allowed: \.safetensors"),
        ("net.pt2", "onx", r"unknown format 'onx'.*[Dd]id you mean 'onnx'"),
        ("net.pt2", "onnx", r"a file of format onnx ends in \.onnx"),
        ("run/checkpoints/best/a.safetensors", None, "among the checkpoints of a run"),
        ("run/checkpoints/new.pt2", None, "among the checkpoints of a run"),
    ],
)
def test_places_and_formats_that_do_not_go_are_refused(
    run: Loaded, out: str, format: str | None, message: str
) -> None:
    path = run.run.folder.parent / out
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(InputError, match=message):
        run.export(path, format=format)
    assert (path.read_bytes() if path.exists() else None) == before
    with pytest.raises(InputError, match=r"unknown peer .c.*Allowed: a, b, best, ensemble"):
        run.export(run.run.folder.parent / "net.pt2", "c")
    with pytest.raises(InputError, match="for programs"):
        run.export(run.run.folder.parent / "w.safetensors", normalised=True)
