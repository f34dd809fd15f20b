"""Averages that teach in the engine: counted, resumed exactly, and refused where they cannot be."""

from pathlib import Path
from typing import Any

import pytest
from tiny import StopAfter, tiny_trainer, weights

MEAN_TEACHER = ["transfer={from: self, teacher_ema: 0.9}", "data.labels=50"]
MODES = {
    "simultaneous": [],
    "sequential": ["transfer.update=sequential"],
    "accumulate": ["accumulate=2"],
    "each other": ["transfer.from=all"],
    "own views": ["peers.b.view=1", "transfer.teacher_view=2"],
}


def state(trainer: Any) -> dict[str, list[float]]:
    averages = trainer.cohort.transfer.averages.state_dict()
    assert averages
    return {name: value.double().flatten().tolist() for name, value in averages.items()}


@pytest.mark.parametrize("mode", MODES)
def test_invariant_4_a_run_with_averages_resumes_to_the_same_run(tmp_path: Path, mode: str) -> None:
    options = [*MEAN_TEACHER, *MODES[mode]]
    whole = tiny_trainer(*options, folder=tmp_path / "whole")
    expected = whole.run()
    cut = tiny_trainer(*options, folder=tmp_path / "cut")
    cut.observe = StopAfter(2)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = tiny_trainer(*options, folder=tmp_path / "cut")
    result = again.run(resume=True)
    assert weights(again) == weights(whole)
    assert state(again) == state(whole)
    assert result.block["peers"] == expected.block["peers"]


def test_the_decay_and_the_edge_change_what_is_learned() -> None:
    runs = (MEAN_TEACHER, [*MEAN_TEACHER, "transfer.teacher_ema=0.5"], ["data.labels=50"])
    seen: list[dict[str, list[float]]] = []
    another = [*MEAN_TEACHER, "transfer.teacher_view=1"]
    for options in (*runs, another, ["data.labels=50", "transfer=none"]):
        trainer = tiny_trainer(*options)
        trainer.run()
        assert weights(trainer) not in seen
        seen.append(weights(trainer))


def test_a_step_of_two_peers_and_their_averages_has_four_forwards() -> None:
    block = tiny_trainer(*MEAN_TEACHER, "epochs=1").run().block
    assert block["cost"]["forwards_per_step"] == 4
    assert [(edge["from"], edge["to"]) for edge in block["edges"]] == [("a", "a"), ("b", "b")]


def test_a_step_counts_once_however_many_batches_it_has() -> None:
    trainer = tiny_trainer(*MEAN_TEACHER, "accumulate=3", "epochs=2")
    trainer.run()
    (average, _) = trainer.averages
    followed = next(iter(trainer.cohort.transfer.averages.values()))
    assert followed.network is average
    assert followed.averaged == trainer.progress.steps
