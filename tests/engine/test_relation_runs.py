"""Memories of relation edges in the engine: they move with training steps, and resume exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import StopAfter, tiny_trainer, weights

from peerlearn.errors import InputError

RELATIONS = [
    "transfer.knowledge=relations",
    "transfer.layer=pooled",
    "transfer.weight_schedule=constant",
]
MODES = {
    "simultaneous": [],
    "sequential": ["transfer.update=sequential"],
    "accumulate": ["accumulate=2"],
    "more rows than slots": ["transfer.memory=20"],
    "half of the rows": ["transfer.rows=unlabelled", "data.labels=50"],
}


def memories(trainer: Any) -> dict[str, list[float]]:
    state = trainer.cohort.transfer.state_dict()
    assert any("memories" in name for name in state)
    return {name: tensor.double().flatten().tolist() for name, tensor in state.items()}


@pytest.mark.parametrize("mode", MODES)
def test_invariant_4_a_run_with_memories_resumes_to_the_same_run(tmp_path: Path, mode: str) -> None:
    options = ["transfer.memory=70", *RELATIONS, *MODES[mode], "epochs=3"]
    whole = tiny_trainer(*options, folder=tmp_path / "whole")
    expected = whole.run()
    for stop in (2, 6):
        cut = tiny_trainer(*options, folder=tmp_path / f"cut {stop}")
        cut.observe = StopAfter(stop)
        with pytest.raises(KeyboardInterrupt):
            cut.run()
        again = tiny_trainer(*options, folder=tmp_path / f"cut {stop}")
        result = again.run(resume=True)
        assert weights(again) == weights(whole)
        assert memories(again) == memories(whole)
        assert result.block["peers"] == expected.block["peers"]


@pytest.mark.parametrize("mode", MODES)
def test_every_training_batch_is_remembered_once_and_no_other(mode: str) -> None:
    trainer = tiny_trainer(*RELATIONS, "transfer.memory=10000", *MODES[mode], "epochs=2")
    trainer.run()
    (stage,) = trainer.stages
    y = torch.cat([batch.y for epoch in range(2) for batch in stage.loader.epoch(epoch)])
    expected = int((y == -1).sum()) if mode == "half of the rows" else len(y)
    held = memories(trainer)
    positions = {value[0] for name, value in held.items() if name.endswith("position")}
    assert expected > 0
    assert positions == {expected % trainer.cohort.transfer.spec.memory}


def test_relations_teach() -> None:
    """Against the same run without edges, and with a longer memory."""
    runs = [[], ["transfer.memory=64"], ["transfer=none"]]
    seen = []
    for options in runs:
        trainer = tiny_trainer(*RELATIONS[: 3 * ("transfer=none" not in options)], *options)
        trainer.run()
        seen.append(weights(trainer))
    assert seen[0] != seen[1] != seen[2] != seen[0]


def test_batches_of_a_recipe_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(InputError, match=r"transfer\.views: 2 needs batches of pairs"):
        tiny_trainer(*RELATIONS, "transfer.views=2").run()
