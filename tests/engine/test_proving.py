"""Edges prove themselves after every validation of a run, without a forward of their own."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_trainer, weights

from peerlearn.engine.proving import share_of_validations
from peerlearn.engine.settings import EvaluationSpec, TrainingSpec
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError

#: Bars that some edges pass in some epochs of a tiny run.
PROVEN = [
    "transfer.weight_schedule=constant",
    "transfer.proven={ends: teacher, least: 0.1, decay: 0.5}",
    "epochs=4",
    "objective.entropy=0.1",
]


def proofs(trainer: Trainer) -> dict[str, list[float]]:
    state = trainer.cohort.transfer.state_dict()
    return {name: tensor.double().flatten().tolist() for name, tensor in state.items()}


class _StopAfter:
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == self.epochs:
            raise KeyboardInterrupt


def test_invariant_4_a_run_with_proven_edges_resumes_to_the_same_run(tmp_path: Path) -> None:
    whole = tiny_trainer(*PROVEN, folder=tmp_path / "whole")
    expected = whole.run()
    opened = [record["open"] for record in expected.history]
    assert any(1.0 in teachers.values() for each in opened for teachers in each.values())
    cut = tiny_trainer(*PROVEN, folder=tmp_path / "cut")
    cut.observe = _StopAfter(2)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = tiny_trainer(*PROVEN, folder=tmp_path / "cut")
    result = again.run(resume=True)
    assert weights(again) == weights(whole)
    assert proofs(again) == proofs(whole)
    assert result.block["open_edges"] == expected.block["open_edges"]
    assert [record["open"] for record in result.history] == opened


def test_edges_open_only_after_a_validation_that_shows_them_right() -> None:
    runs = {}
    for name, options in {
        "proven": PROVEN,
        "never": [*PROVEN, "transfer.proven.least=0.99"],
        "alone": ["transfer=none", "epochs=4"],
    }.items():
        trainer = tiny_trainer(*options)
        runs[name] = trainer.run(), weights(trainer)
    result, learned = runs["never"]
    assert learned == runs["alone"][1], "a peer whom nobody teaches does not train as alone"
    assert result.block["open_edges"] == {"a": {"b": 0.0}, "b": {"a": 0.0}}
    assert learned != runs["proven"][1]
    first = runs["proven"][0].history[0]
    assert all(part["transfer"] == 0 for part in first["train"].values())
    assert "open_edges" not in runs["alone"][0].block


def test_a_validation_makes_no_forward_more() -> None:
    calls = []
    for options in (PROVEN, [PROVEN[0], *PROVEN[2:]]):
        trainer, count = tiny_trainer(*options), Counter[str]()
        for name, peer in trainer.cohort.peers.items():
            peer.register_forward_hook(lambda m, i, o, name=name, c=count: c.update([name]))
        trainer.run()
        calls.append(count)
    assert calls[0] == calls[1]


def test_test_labels_do_not_move_edges() -> None:
    states = []
    for turn in (0, 1):
        trainer = tiny_trainer(*PROVEN)
        trainer.task.data.test.y.add_(turn).remainder_(10)
        trainer.run()
        states.append((proofs(trainer), weights(trainer)))
    assert states[0] == states[1]


def test_rows_that_are_reported_on_prove_nothing() -> None:
    options = ["evaluation.select=last", "evaluation.report=val+test"]
    with pytest.raises(InputError, match=r"transfer\.proven: .*reported on; allowed: none"):
        tiny_trainer(*PROVEN, *options)


@pytest.mark.parametrize(
    ("recipe", "words"), [("discovery", "cluster"), ("styles-segment", "pixels")]
)
def test_tasks_without_a_class_a_row_refuse(recipe: str, words: str) -> None:
    options = ["data.train_size=16", "transfer.proven=both", "threads=1"]
    with pytest.raises(InputError, match=rf"transfer\.proven: .*{words}"):
        tiny_trainer(*options, recipe=recipe, base=[])


def test_a_training_without_validation_rows_is_refused() -> None:
    trainer = tiny_trainer(*PROVEN)
    training = TrainingSpec(evaluation=EvaluationSpec(select="last"))
    with pytest.raises(InputError, match=r"transfer\.proven: there are no validation rows"):
        Trainer(trainer.cohort, trainer.stages, training)


def test_shares_are_of_validations_and_of_the_last_stage() -> None:
    history: list[dict[str, Any]] = [
        {"open": {"x": {"y": 1.0}}},
        {"open": {"a": {"b": 1.0}, "b": {"a": 0.0}}},
        {"epoch": 2},
        {"open": {"a": {"b": 0.0}, "b": {"a": 0.0}}},
    ]
    assert share_of_validations(history) == {"open_edges": {"a": {"b": 0.5}, "b": {"a": 0.0}}}
    assert share_of_validations([{"epoch": 1}]) == {}


def test_predictions_are_those_of_evaluated_weights() -> None:
    """Averages of weights are what is evaluated, and so what has to prove itself."""
    trainer = tiny_trainer(*PROVEN, "ema=0.9")
    trainer.run()
    assert any(name.endswith("running_a") for name in trainer.cohort.transfer.state_dict())
    running = trainer.cohort.transfer.entries[0].proof.running_a
    assert running.shape == (trainer.task.info.rows["val"], 10)
    assert torch.all(running.sum(1) <= 1 + 1e-5)
