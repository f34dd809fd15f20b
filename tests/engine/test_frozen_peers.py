"""Peers that only teach, and weights that come from elsewhere."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_config, tiny_trainer, weights

from peerlearn.engine.pretrained import in_form_of, load_weights
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

MLP = "peers.t={model: mlp, arguments: {hidden: [16]}}"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A run folder that holds a trained peer `t`, and its weights."""
    found, _ = find_recipe("dml")
    out = tmp_path_factory.mktemp("teacher") / "run"
    run_recipe(found, tiny_config(MLP, "peers.a=null", "peers.b=null", "transfer=none"), out)
    trainer = tiny_trainer(MLP, f"peers.t.weights={out}/checkpoints/best/t.safetensors")
    return out, dict(trainer.cohort.peers["t"].state_dict())


def of(trainer, peer: str) -> dict:
    return {k: v for k, v in weights(trainer).items() if k.startswith(f"{peer}.")}


def test_a_frozen_peer_teaches_and_stays_as_it_is() -> None:
    trainer = tiny_trainer("peers.b.frozen=true")
    before = of(trainer, "b")  # a network with batch normalisation
    assert any("running_mean" in name for name in before)
    result = trainer.run()
    assert of(trainer, "b") == before
    assert result.block["cost"]["forwards_per_step"] == 1, "a frozen peer does not train"
    assert set(result.selected) == {"a"}
    taught, alone = of(trainer, "a"), tiny_trainer("peers.b.frozen=true", "transfer=none")
    alone.run()
    assert taught != of(alone, "a"), "it taught nothing"


def test_a_frozen_peer_teaches_as_when_evaluated() -> None:
    """Its dropout is off, and its normalisation does not see the batch."""
    trainer = tiny_trainer("peers.a.frozen=true", "epochs=1")
    modes = []
    trainer.cohort.peers["a"].register_forward_hook(lambda m, i, o: modes.append(m.training))
    trainer.run()
    assert modes and not any(modes)


def test_one_key_freezes_a_peer_at_weights_from_a_run(teacher) -> None:
    out, given = teacher
    trainer = tiny_trainer(MLP, f"peers.t.frozen={out}/checkpoints/best/t.safetensors")
    trainer.run()
    for name, tensor in trainer.cohort.peers["t"].state_dict().items():
        assert torch.equal(tensor, given[name])


PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "student.backbone.")


@pytest.mark.parametrize("form", ["safetensors", "pt", "wrapped", "twice", *PREFIXES])
def test_weights_are_read_from_every_usual_form(form: str, teacher, tmp_path: Path) -> None:
    _, given = teacher
    path = tmp_path / ("t.safetensors" if form == "safetensors" else "t.pt")
    if form == "safetensors":
        save_file(given, path)
    elif form == "pt":
        torch.save(given, path)
    elif form == "wrapped":
        torch.save({"epoch": 3, "state_dict": given}, path)
    elif form == "twice":
        torch.save({"model": {"epoch": 3, "model_state_dict": given}}, path)
    else:
        torch.save({f"{form}{name}": tensor for name, tensor in given.items()}, path)
    trainer = tiny_trainer(MLP, f"peers.t.weights={path}")
    for name, tensor in trainer.cohort.peers["t"].state_dict().items():
        assert torch.equal(tensor, given[name])


def refused(message: str, *overrides: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_trainer(MLP, *overrides)


def test_weights_that_do_not_fit_are_named(teacher, tmp_path: Path) -> None:
    _, given = teacher
    first, *_, last = given
    path = tmp_path / "t.pt"
    torch.save({n: t for n, t in given.items() if n != last} | {"other": torch.ones(1)}, path)
    refused(
        rf"(?s)peers.t.weights: .*t.pt.*nothing.*not in the file: {last} .*network: other \(1,\)",
        f"peers.t.weights={path}",
    )
    torch.save(given | {first: torch.ones(2, 3)}, path)
    refused(rf"{first} \(2, 3\), the network's \(", f"peers.t.frozen={path}")


def test_what_a_compiled_part_is_called_does_not_count(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    given = {name.replace("0.", "0._orig_mod."): t for name, t in network.state_dict().items()}
    save_file(given, tmp_path / "t.safetensors")
    other = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    load_weights(other, tmp_path / "t.safetensors", "weights")
    assert torch.equal(other[0].weight, network[0].weight)


def test_what_a_file_has_beside_a_network_is_named_and_nothing_taken(tmp_path: Path) -> None:
    """The names of both networks end alike: which one is meant is not guessed."""
    network = torch.nn.Linear(2, 3)
    before, path = network.weight.clone(), tmp_path / "t.safetensors"
    both = {
        f"{who}.{name}": t + 1 for who in ("b", "a") for name, t in network.state_dict().items()
    }
    save_file(both, path)
    with pytest.raises(InputError, match=r"2 weights of the file .*: .\.bias \(3,\), .\.weight"):
        load_weights(network, path, "weights")
    assert torch.equal(network.weight, before)


def test_a_weight_under_another_name_and_another_number_of_classes_are_told(tmp_path: Path) -> None:
    path, network = tmp_path / "t.safetensors", torch.nn.Sequential()
    network.add_module("body", torch.nn.Linear(2, 4))
    network.add_module("head", torch.nn.Linear(4, 3))
    names = {"head.weight": "fc.weight", "head.bias": "fc.bias"}
    given = network.state_dict()
    save_file({names.get(name, name): tensor for name, tensor in given.items()}, path)
    with pytest.raises(InputError, match=r"head.bias \(3,\) \(the file's fc.bias has this shape"):
        load_weights(network, path, "weights")
    more = {"head.weight": torch.ones(5, 4), "head.bias": torch.ones(5)}
    save_file(dict(given) | more, path)
    with pytest.raises(InputError, match="a network for 5 classes, and here there are 3"):
        load_weights(network, path, "weights")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64], ids=str)
def test_weights_that_are_not_of_real_numbers_are_refused(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    """They would be read, and tuned weights written in their form, without a part of them."""
    network, path = torch.nn.BatchNorm1d(3), tmp_path / "t.safetensors"
    own = network.state_dict()
    given = own | {"weight": torch.ones(3).to(dtype)}
    save_file(given, path)
    kind = str(dtype).removeprefix("torch.")
    said = (
        rf"weights: .*\n  1 weights are not of real numbers: weight {kind}, the network's float32"
    )
    with pytest.raises(InputError, match=said):
        load_weights(network, path, "weights")
    with pytest.raises(InputError, match=said):
        in_form_of(path, own, "weights")
    save_file({name: tensor.to(torch.float16) for name, tensor in own.items()}, path)
    load_weights(network, path, "weights")  # and a count may be of any numbers


@pytest.mark.parametrize("classifier", ["another", "none"])
def test_names_that_are_skipped_are_left_as_they_are(classifier: str, tmp_path: Path) -> None:
    """So a network for other classes gives all but its classifier."""
    small, large = (build_model("cnn", (1, 8, 8), n, {"width": 0.25}, "model") for n in (3, 5))
    given, before = small.state_dict(), {n: t.clone() for n, t in large.state_dict().items()}
    if classifier == "none":
        given = {n: t for n, t in given.items() if not n.startswith("classifier.")}
    path = tmp_path / "small.safetensors"
    save_file(given, path)
    load_weights(large, path, "weights", skip=("classifier.",))
    for name, tensor in large.state_dict().items():
        skipped = name.startswith("classifier.")
        assert torch.equal(tensor, before[name] if skipped else given[name]), name
    with pytest.raises(InputError, match=r"weights: .*small\.safetensors: does not fit"):
        load_weights(large, path, "weights")
    with pytest.raises(InputError, match="not in the file: stages"):
        save_file({"classifier.bias": torch.zeros(5)}, path)
        load_weights(large, path, "weights", skip=("classifier.",))


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "teacher.pt"
    (tmp_path / "teachr.pt").touch()
    refused("teacher.pt: no such file. Did you mean .*teachr.pt", f"peers.t.weights={missing}")
    os.mkfifo(tmp_path / "pipe.pt")
    refused("pipe.pt: is no plain file", f"peers.t.weights={tmp_path / 'pipe.pt'}")
    refused("no weights can be read", f"peers.t.weights={tmp_path}/teachr.pt")
    torch.save([1, 2], missing)
    refused("holds a list; allowed: a state_dict", f"peers.t.weights={missing}")
    torch.save({"net": 3}, missing)
    refused("holds a mapping with the keys net", f"peers.t.weights={missing}")


class _Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_pickled_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"weights": _Evil()}, path)
    capsys.readouterr()
    refused("no weights can be read", f"peers.t.weights={path}")
    assert capsys.readouterr().out == ""


def test_somebody_must_train() -> None:
    trainer = ("peers.a.frozen=true", "peers.b.frozen=true")
    with pytest.raises(InputError, match="nobody trains in stage 'mutual'"):
        tiny_trainer(*trainer)


def test_weights_are_named_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="named twice"):
        tiny_trainer(MLP, "peers.t.frozen=a.pt", "peers.t.weights=b.pt")


def test_mean_and_ensemble_are_those_of_the_members() -> None:
    both, one = tiny_trainer().run().block, tiny_trainer("evaluation.members=[a]").run().block
    assert one["ensemble"] == one["mean_peer"] == one["peers"]["a"] == both["peers"]["a"]
    assert one["peers"] == both["peers"]
    with pytest.raises(InputError, match=r"evaluation\.members: unknown peer 'c'"):
        tiny_trainer("evaluation.members=[c]")
