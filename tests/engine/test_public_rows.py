"""Peers that publish what they say of public rows, and keep weights and rows to themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import StopAfter, tiny_config, tiny_trainer, weights

import peerlearn
from peerlearn.engine.files import load_state, read_tensors, save_state
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.snapshots import FILE, PredictionSnapshots, digest, publish
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.serving import evaluate_run, open_run
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

OPEN = ["transfer.weight_schedule=constant", "epochs=3"]
ROWS = 40


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Rows like digits, without labels."""
    return written(tmp_path / "public.npz")


def written(path: Path, seed: int = 0, **more: Any) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (ROWS, 8, 8), dtype=np.uint8)
    np.savez(path, x_train=pixels, **more)
    return path


def words(peer: str, rows: Path, every: int = 2, **more: Any) -> str:
    """The option `transport` of one peer of the tiny cohort; its folder lies beside the rows."""
    said = {"kind": "snapshot", "folder": rows.parent / "shared", "peer": peer, "every": every}
    said |= {"publish": "predictions", "public": rows} | more
    return f"transport={{{', '.join(f'{key}: {value}' for key, value in said.items())}}}"


def trainer_of(peer: str, rows: Path, *options: str, **more: Any) -> Trainer:
    return tiny_trainer(*OPEN, words(peer, rows), *options, **more)


def of(trainer: Trainer, peer: str) -> dict[str, list[float]]:
    return {name: each for name, each in weights(trainer).items() if name.startswith(f"{peer}.")}


def file_of(peer: str, rows: Path) -> Path:
    return rows.parent / "shared" / peer / FILE


def say(peer: str, rows: Path, trainer: Trainer, step: int = 7, seed: int = 1) -> None:
    """Have a peer publish something that no network has said."""
    logits = torch.randn(ROWS, 10, generator=torch.Generator().manual_seed(seed))
    assert trainer.public is not None
    about = ("predictions", trainer.public.digest)
    publish(file_of(peer, rows).parents[1], peer, step, {"logits": logits}, *about)


def taught(rows: Path, *options: str) -> dict[str, list[float]]:
    """What peer a becomes beside a peer b that has published."""
    trainer = trainer_of("a", rows, *options)
    say("b", rows, trainer)
    trainer.run()
    return of(trainer, "a")


@pytest.mark.parametrize("peer", ["a", "b"])  # dropout; normalisation that follows its batches
def test_a_peer_alone_trains_as_an_independent_one(peer: str, public: Path) -> None:
    waiting, alone = trainer_of(peer, public), tiny_trainer(*OPEN, "transfer=none")
    result = waiting.run()
    alone.run()
    assert of(waiting, peer) == of(alone, peer), "public rows left a trace, or nobody taught"
    assert result.history[-1]["train"][peer]["transfer"] == 0
    assert result.history[-1]["snapshots"] == {"b" if peer == "a" else "a": None}
    assert result.block["peers"].keys() == {peer} and result.block["members"] == [peer]


def test_the_next_one_learns_from_what_it_said_of_public_rows(public: Path) -> None:
    first, second = trainer_of("a", public), trainer_of("b", public)
    first.run()
    result, alone = second.run(), tiny_trainer(*OPEN, "transfer=none")
    alone.run()
    assert [record["snapshots"] for record in result.history] == [{"a": 9}] * 3
    assert result.history[-1]["train"]["b"]["transfer"] > 0
    assert of(second, "b") != of(alone, "b")
    untrained = tiny_trainer(*OPEN)
    assert of(second, "a") == of(untrained, "a"), "no network of another peer is here"


def test_no_weight_and_no_row_is_in_the_folder(public: Path) -> None:
    trainer = trainer_of("a", public)
    trainer.run()
    (path,) = (each for each in (public.parent / "shared").rglob("*") if each.is_file())
    tensors, _ = read_tensors(path)
    assert {name: (it.shape, it.dtype) for name, it in tensors.items()} == {
        "/predictions/logits": ((ROWS, 10), torch.float32)
    }
    content, data = path.read_bytes(), trainer.task.data  # type: ignore[union-attr]
    rows = [row for split in (data.train, data.val, data.test) for row in split.x]
    for secret in (*rows, *(row.float() / 255 for row in rows)):
        assert secret.numpy().tobytes() not in content
    for weight in trainer.cohort.peers["a"].state_dict().values():
        assert weight.numel() == 1 or weight.numpy().tobytes() not in content


def test_one_that_comes_late_teaches_from_then_on(public: Path) -> None:
    trainer = trainer_of("a", public)

    def arrive(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["done"] == 5:
            say("b", public, trainer)

    trainer.observe = arrive
    history = trainer.run().history
    assert [record["snapshots"]["b"] for record in history] == [None, 7, 7]
    assert history[0]["train"]["a"]["transfer"] == 0 < history[2]["train"]["a"]["transfer"]


def test_labels_of_public_rows_are_not_read(public: Path) -> None:
    trainer_of("b", public).run()
    labelled = written(public.parent / "labelled.npz", y_train=np.arange(ROWS) % 3)
    history = trainer_of("a", labelled).run().history
    assert history[0]["snapshots"] == {"b": 9}, "equal rows with labels are the same rows"


def left_aside(trainer: Trainer) -> str:
    """What is told, once, by a peer that takes nothing from the other."""
    notes: list[str] = []
    trainer.observe = lambda event: notes.append(event["text"]) if "text" in event else None
    assert trainer.run().history[-1]["snapshots"] == {"b": None}
    (note,) = notes
    return note


def test_peers_with_other_public_rows_refuse_each_other(public: Path) -> None:
    trainer_of("b", written(public.parent / "others.npz", seed=1)).run()
    note = left_aside(trainer_of("a", public))
    assert "about other public rows" in note and "same transport.public" in note


def test_weights_and_predictions_refuse_each_other(public: Path) -> None:
    plain = f"transport={{kind: snapshot, folder: {public.parent / 'shared'}, peer: b, every: 2}}"
    tiny_trainer(*OPEN, plain).run()
    assert "without predictions; give every process the same transport.publish" in left_aside(
        trainer_of("a", public)
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "not a whole safetensors file"),
        ("another bit", "damaged (its predictions are not those that were written)"),
        ("other classes", "logits is float32 of shape (40, 9); expected float32 of shape (40, 10)"),
        ("nan", "logits holds NaN"),
    ],
)
def test_what_is_not_whole_is_left_aside(how: str, said: str, public: Path) -> None:
    trainer, path = trainer_of("a", public), file_of("b", public)
    say("b", public, trainer)
    content, state = bytearray(path.read_bytes()), load_state(path)
    logits = state["predictions"]["logits"]
    if how == "cut":
        path.write_bytes(content[:-100])
    elif how == "another bit":
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        made = {"logits": logits[:, :9] if how == "other classes" else logits * torch.nan}
        save_state(path, state | {"predictions": made, "digest": digest(made)})
    assert said in left_aside(trainer)


def test_a_run_goes_on_where_it_was_stopped(public: Path) -> None:
    whole, cut, again = (
        trainer_of("a", public, folder=public.parent / name) for name in ("whole", "cut", "cut")
    )
    say("b", public, whole)  # which stays as it is, and so teaches all of them alike
    whole.run()
    cut.observe = StopAfter(5)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again.run(resume=True)
    assert weights(again) == weights(whole)
    assert again.progress.history[-1]["train"] == whole.progress.history[-1]["train"]


def test_batches_of_public_rows_are_a_function_of_seed_epoch_and_step(public: Path) -> None:
    def meetings(seed: int) -> PredictionSnapshots:
        trainer = trainer_of("a", public, "batch_size=20", f"seed={seed}")
        say("b", public, trainer)
        assert trainer.public is not None
        made = trainer.training, trainer.precision, seed
        spec, names = trainer.training.transport, trainer.cohort.names
        transport = PredictionSnapshots(names, spec, print, trainer.public, *made)
        transport.begin(trainer.cohort)
        return transport

    one, other = meetings(0), meetings(1)
    seen = [one.meeting(number).batch.index for number in range(4)]
    assert torch.equal(one.meeting(2).batch.index, seen[2]), "whatever was asked before"
    assert not torch.equal(other.meeting(0).batch.index, seen[0])
    for epoch in (seen[:2], seen[2:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(ROWS)), "every row once"
    assert not torch.equal(seen[0], seen[2])
    all_of_them = load_state(file_of("b", public))["predictions"]["logits"]
    said = one.meeting(3).outputs
    assert said.keys() == {"b"} and torch.equal(said["b"].logits, all_of_them[seen[3]])


def test_every_option_changes_the_result(public: Path) -> None:
    usual = taught(public)
    assert taught(public) == usual
    assert taught(public, "transport.public_batch=8") != usual
    assert taught(public, "transport.public_batch=32") == usual, "null is as batch_size"
    assert taught(written(public.parent / "others.npz", seed=1)) != usual
    shared = f"transport={{kind: snapshot, folder: {public.parent / 'shared'}, peer: a}}"
    by_weights = tiny_trainer(*OPEN, shared)
    by_weights.run()
    assert of(by_weights, "a") != usual


@pytest.mark.parametrize(
    "options",
    [
        ["transfer.update=sequential"],
        ["peers.a.view=1", "augment.crop=2"],
        ["accumulate=2"],
        ["transfer.rows=unlabelled"],
        ["transfer.divergence=mse"],
        ["transfer.temperature=learned"],
    ],
    ids=lambda options: options[0],
)
def test_other_ways_of_training_and_teaching_learn_from_it_too(
    options: list[str], public: Path
) -> None:
    trainer = trainer_of("a", public, *options)
    say("b", public, trainer)
    assert trainer.run().history[-1]["train"]["a"]["transfer"] > 0


def test_public_rows_are_told_and_must_stay_what_they_are(public: Path) -> None:
    trainer = trainer_of("a", public)
    assert trainer.task is not None
    assert f"public: {public} (40 train rows)" in trainer.task.facts()["read"][0]
    recipe, out = find_recipe("dml")[0], public.parent / "run"
    config = tiny_config("epochs=1", words("a", public))
    run_recipe(recipe, config, out)
    run = peerlearn.load(out)
    assert list(run.peers) == ["a"] and run.run.members == ["a"]
    assert not RunFolder(out).best("b").exists()
    more = tiny_config("epochs=2", words("a", public))
    written(public, seed=1)
    with pytest.raises(InputError, match=r"x of transport\.public: .* differs"):
        run_recipe(recipe, more, out, resume=True)


def test_what_is_measured_is_about_the_peer_that_is_here(public: Path) -> None:
    measures = ("flatness=true", "calibrate=temperature", "noise=[0.5]", "corruption=[noise]")
    trainer = trainer_of("a", public, *(f"evaluation.{each}" for each in measures))
    block = trainer.run().block
    assert block["flatness"]["peers"].keys() == {"a"}
    assert block["calibration"].keys() == block["noise"]["peers"].keys() == {"a", "ensemble"}
    assert block["peers"]["a"]["accuracy"] == block["ensemble"]["accuracy"]


def test_several_labels_a_row_travel_too(public: Path) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.random((60, 5), np.float32), draw.integers(0, 2, (60, 3)).astype(np.float32)
    np.savez(public, x=draw.random((ROWS, 5), np.float32))
    for peer, seen in (("a", None), ("b", 4)):
        nets = {name: torch.nn.Linear(5, 3) for name in ("a", "b")}
        cohort = peerlearn.Cohort(nets, form="sigmoid")
        said = {"kind": "snapshot", "folder": str(public.parent / "shared"), "peer": peer}
        said |= {"publish": "predictions", "public": str(public)}
        result = peerlearn.fit(cohort, (x, y), epochs=4, batch_size=64, transport=said)
        (other,) = {"a", "b"} - {peer}
        assert result.history[-1]["snapshots"] == {other: seen}


def test_a_relative_path_is_found_from_another_folder(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = find_recipe("dml")[0], tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    shared = tmp_path / "shared"
    config = tiny_config("epochs=1", words("a", Path("public.npz"), folder=shared))
    finished = run_recipe(recipe, config, out)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    measured = evaluate_run(open_run(out))["arms"]["mutual"]["peers"]
    assert measured["a"]["accuracy"] == finished["arms"]["mutual"]["peers"]["a"]["accuracy"]
    assert measured.keys() == {"a"}


@pytest.mark.parametrize(
    ("more", "options", "message"),
    [
        ({"public": ""}, [], r"transport\.public: missing; publish 'predictions' needs it"),
        ({"publish": "weights"}, [], r"transport\.public: found '.*' with publish 'weights'"),
        (
            {"publish": "weights", "public": "null", "public_batch": 8},
            [],
            r"transport\.public_batch: found 8 with publish 'weights'; use predictions",
        ),
        ({"public_batch": 1}, [], r"transport\.public_batch"),
        ({"publish": "logits"}, [], r"transport\.publish: .*logits.*weights.*predictions"),
        ({"public": "goof.npz"}, [], r"transport\.public: goof\.npz: no such file"),
        ({"public": "digit"}, [], r"transport\.public: unknown data set .*Did you mean 'digits'"),
        ({}, ["transfer={knowledge: relations, layer: pooled}"], "knowledge 'relations' is not"),
        ({}, ["transfer.rows=labelled"], r"transfer\.rows: needs labels, or the networks of"),
        ({}, ["transfer.classes=non_target"], r"transfer\.classes: needs labels"),
        ({}, ["transfer.gate=correct"], r"transfer\.gate: needs labels"),
        ({}, ["transfer.weighting=class"], r"transfer\.weighting: needs labels"),
        ({}, ["transfer.teacher_ema=0.9"], r"transfer\.teacher_ema: needs labels"),
        ({}, ["transfer.proven=both"], r"transfer\.proven: needs labels"),
        ({}, ["transfer.detach=false"], r"transfer\.detach: needs labels"),
        ({}, ["evaluation.members=[a, b]"], r"evaluation\.members: .* no peer is here but 'a'"),
    ],
)
def test_mistakes_are_named(
    more: dict[str, Any], options: list[str], message: str, public: Path
) -> None:
    with pytest.raises(InputError, match=message):
        tiny_trainer(*OPEN, words("a", public, **more), *options)


def test_it_is_for_snapshots_and_for_rows(public: Path) -> None:
    with pytest.raises(InputError, match=r"publish: found 'predictions' with kind 'mesh'"):
        tiny_trainer("transport={publish: predictions, public: digits}")
    recipe, given = find_recipe("styles-segment")
    transport = {"kind": "snapshot", "folder": "x", "peer": "s1", "publish": "predictions"}
    with pytest.raises(InputError, match=r"transport\.public: .* recipe 'styles-segment' reads"):
        recipe.resolve(given, {"transport": transport | {"public": "digits"}})
    one = public.parent / "one.npz"
    np.savez(one, x=np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(InputError, match=r"transport\.public: .* has 1 row; at least 2"):
        trainer_of("a", one)
    trainer = trainer_of("a", public, "evaluation.select=last")
    with pytest.raises(InputError, match=r"transport\.public: found .* leave transport\.publish"):
        Trainer(trainer.cohort, trainer.stages, trainer.training)
