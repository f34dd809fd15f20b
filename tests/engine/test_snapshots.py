"""Peers that publish their weights in a folder, and learn from the newest of others."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny import StopAfter, tiny_trainer, weights

from peerlearn.engine import snapshots
from peerlearn.engine.files import load_state, save_state
from peerlearn.engine.snapshots import FILE, digest, publish, read_snapshot
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError, RunError

OPEN = ["transfer.weight_schedule=constant", "epochs=3"]


def trainer_of(peer: str, shared: Path, *options: str, **more: Any) -> Trainer:
    """Of one peer of the tiny cohort."""
    kind = f"transport={{kind: snapshot, folder: {shared}, peer: {peer}, every: 2}}"
    return tiny_trainer(kind, *OPEN, *options, **more)


def of(trainer: Trainer, peer: str) -> dict[str, list[float]]:
    return {name: each for name, each in weights(trainer).items() if name.startswith(f"{peer}.")}


def test_a_peer_alone_trains_as_an_independent_one_and_teaches_the_next(tmp_path: Path) -> None:
    first, alone = trainer_of("a", tmp_path), tiny_trainer(*OPEN, "transfer=none")
    result = first.run()
    alone.run()
    assert of(first, "a") == of(alone, "a"), "edges of a peer that is not there taught something"
    assert [record["snapshots"] for record in result.history] == [{"b": None}] * 3
    assert set(result.selected) == {"a"}

    published = read_snapshot(tmp_path / "a" / FILE, "a", first.cohort.peers["a"].state_dict())
    assert published.step == first.progress.steps
    second = trainer_of("b", tmp_path)
    result = second.run()
    assert [record["snapshots"] for record in result.history] == [{"a": published.step}] * 3
    assert of(second, "b") != of(alone, "b"), "the first one taught nothing"
    for name, tensor in second.cohort.peers["a"].state_dict().items():
        assert torch.equal(tensor, published.tensors[name]), "it stands here as published"
    assert not list(tmp_path.rglob(".*")), "locks and temporary files"


@pytest.mark.parametrize("knowledge", ["features, feature_loss: similarity", "relations"])
def test_other_kinds_wait_for_a_peer_and_then_learn(knowledge: str, tmp_path: Path) -> None:
    edges = f"transfer={{knowledge: {knowledge}, layer: pooled}}"
    waiting, alone = (tiny_trainer(*OPEN, "transfer=none"), trainer_of("a", tmp_path, edges))
    waiting.run(), alone.run()
    assert of(waiting, "a") == of(alone, "a")
    learner = trainer_of("b", tmp_path, edges)
    learner.run()
    assert of(learner, "b") != of(waiting, "b")


def test_one_that_comes_late_teaches_from_then_on(tmp_path: Path) -> None:
    trainer = trainer_of("a", tmp_path)
    arrived = trainer.cohort.peers["b"]

    def arrive(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["done"] == 5:
            publish(tmp_path, "b", 7, arrived.state_dict())

    trainer.observe = arrive
    result = trainer.run()
    seen = [record["snapshots"]["b"] for record in result.history]
    assert seen == [None, 7, 7] and len(trainer.stages[0].loader) == 3
    shut, opened = (result.history[at]["train"]["a"]["transfer"] for at in (0, 2))
    assert shut == 0 < opened


def test_publishing_follows_its_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr(snapshots, "publish", lambda folder, peer, step, *what: steps.append(step))
    trainer_of("a", tmp_path).run()
    assert steps == [2, 4, 6, 8, 9]
    steps.clear()
    trainer_of("a", tmp_path, "transport.every=5").run()
    assert steps == [5, 9]


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = trainer_of("a", tmp_path / "one", folder=tmp_path / "whole")
    whole.run()
    cut = trainer_of("a", tmp_path / "two", folder=tmp_path / "cut")
    cut.observe = StopAfter(5)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = trainer_of("a", tmp_path / "two", folder=tmp_path / "cut")
    again.run(resume=True)
    assert weights(again) == weights(whole)
    files = [load_state(tmp_path / which / "a" / FILE) for which in ("one", "two")]
    assert files[0]["digest"] == files[1]["digest"] and files[0]["step"] == files[1]["step"] == 9


def damaged(path: Path, how: str, network: torch.nn.Module) -> None:
    """A file that is none to learn from."""
    state = load_state(path)
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[:-100])
        case "another bit":
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        case "another peer":
            save_state(path, state | {"peer": "a"})
        case "another version":
            save_state(path, state | {"snapshot": 99})
        case "another network":
            other = {name: each[None] for name, each in state["weights"].items()}
            save_state(path, state | {"weights": other, "digest": digest(other)})
        case "no weights":
            save_state(path, state | {"weights": {"x": 3}})
        case "numbers for names":
            weights = dict(enumerate(state["weights"].values()))
            save_state(path, state | {"weights": weights})
        case "a step below 0":
            save_state(path, state | {"step": -5})
        case "infinity":
            worst = {name: each * torch.inf for name, each in state["weights"].items()}
            worst = {name: worst[name].to(each.dtype) for name, each in state["weights"].items()}
            save_state(path, state | {"weights": worst, "digest": digest(worst)})
        case "no state":
            save_file(dict(network.state_dict()), path)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "not a whole safetensors file"),
        ("another bit", "damaged (its weights are not those that were written)"),
        ("another peer", "of peer 'a'; expected 'b'"),
        ("another version", "no snapshot of version 1"),
        ("another network", "does not fit peer 'b'"),
        ("no weights", "without a step or without weights"),
        ("numbers for names", "without a step or without weights"),
        ("a step below 0", "without a step or without weights"),
        ("infinity", "holds NaN or infinity, so the peer is broken"),
        ("no state", "not a state written by peerlearn"),
    ],
)
def test_what_is_not_whole_is_left_aside_and_told_once(how: str, said: str, tmp_path: Path) -> None:
    trainer, notes = trainer_of("a", tmp_path), list[dict[str, Any]]()
    network = trainer.cohort.peers["b"]
    before = {name: each.clone() for name, each in network.state_dict().items()}
    publish(tmp_path, "b", 3, network.state_dict())
    damaged(tmp_path / "b" / FILE, how, network)
    trainer.observe = notes.append
    result = trainer.run()
    note, end = (event["text"] for event in notes if event["event"] == "note")
    assert said in note
    assert end.startswith("never seen: b; results of these peers")
    assert result.history[-1]["snapshots"] == {"b": None}
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())


def test_what_a_killed_process_was_writing_is_swept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in (f".{FILE}.o_8om5hy", ".tmpAb12Cd", "notes.txt"):
        (tmp_path / "a" / name).write_text("half")
    trainer_of("a", tmp_path, "epochs=1").run()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {FILE, "notes.txt"}


def test_a_peer_is_trained_by_one_process_alone(tmp_path: Path) -> None:
    refused: list[BaseException] = []

    def twice() -> None:
        try:
            trainer_of("a", tmp_path).run()
        except InputError as error:
            refused.append(error)

    def start(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["done"] == 1 and not refused:
            thread = threading.Thread(target=twice)
            thread.start(), thread.join()

    trainer = trainer_of("a", tmp_path)
    trainer.observe = start
    trainer.run()
    assert len(refused) == 1 and str(tmp_path / "a") in str(refused[0])


def test_a_folder_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((RunError, InputError), match="file"):
        trainer_of("a", tmp_path / "file").run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["transport=snapshot"], r"transport\.folder: missing; kind 'snapshot' needs it"),
        (["transport={kind: snapshot, folder: x}"], r"transport\.peer: missing"),
        (["transport={folder: x}"], r"transport\.folder: found 'x' with kind 'mesh'"),
        (["transport=snapshots"], r"transport\.kind: .*snapshots.*mesh.*snapshot"),
        (
            ["transport={kind: snapshot, folder: x, peer: aa}"],
            r"transport\.peer: unknown peer 'aa'.*Did you mean 'a'",
        ),
        (
            ["transport={kind: snapshot, folder: x, peer: a}", "peers.a.frozen=true"],
            r"transport\.peer: 'a' is frozen",
        ),
        (
            ["transport={kind: snapshot, folder: x, peer: a}", "transfer.knowledge=doubted_labels"],
            r"transfer: knowledge 'doubted_labels' cannot wait for a peer",
        ),
    ],
)
def test_mistakes_are_named(options: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_trainer(*options)


def test_it_is_no_way_for_processes_that_were_started_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of("a", tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes that were started together; leave torchrun"):
        trainer.run()
