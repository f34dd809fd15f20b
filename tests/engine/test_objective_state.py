"""Objectives with a life of their own: state, parameters, a sense of time, and what they score."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import tiny_trainer, weights
from tiny_stages import EPOCHS, STEPS, Killed, kill_after, state, timeless, two_stages
from torch import Tensor, nn

from peerlearn.engine.trainer import Trainer
from peerlearn.modes import evaluating
from peerlearn.objectives.base import Function, Objective, PeerView
from peerlearn.transfer.outputs import PeerOutput

FIRST = EPOCHS * STEPS  # steps of the first stage


class Grows(nn.Module):
    """Cross-entropy whose weight depends on what it has seen and on what it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.tensor(0.1))
        self.register_buffer("seen", torch.tensor(0))
        self.modes: list[bool] = []

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        self.modes.append(self.training)
        if self.training:
            self.seen += len(targets)
        weight = self.log_weight.exp() * (1 + self.seen / 500)
        return weight * F.cross_entropy(logits, targets) - self.log_weight


def growing(names: list[str]) -> dict[str, Function]:
    return {name: Grows() for name in names}


def of_the_cohort(folder: Path | None = None) -> Trainer:
    """The objectives are the cohort's, in both stages."""
    trainer = two_stages(folder=folder)
    trainer.cohort.objectives = growing(trainer.cohort.names)
    return trainer


def of_a_stage(folder: Path | None = None) -> Trainer:
    """The objectives are those of the second stage; the first has plain ones."""
    return two_stages(folder=folder, objectives=growing(["a", "b"]))


MADE: dict[str, Callable[..., Trainer]] = {"of the cohort": of_the_cohort, "of a stage": of_a_stage}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.parametrize(
    ("steps", "save"), [(1, True), (FIRST, False), (FIRST + 1, True), (FIRST + STEPS + 2, True)]
)
def test_invariant_4_a_run_whose_objectives_have_state_resumes_exactly(
    tmp_path: Path, made: Callable[..., Trainer], steps: int, save: bool
) -> None:
    whole = made(tmp_path / "whole")
    expected = whole.run()
    cut = made(tmp_path / "cut")
    cut.observe = kill_after(steps, save)
    with pytest.raises(KeyboardInterrupt if save else Killed):
        cut.run()
    resumed = made(tmp_path / "cut")
    result = resumed.run(resume=True)
    assert any(name.startswith(("objective.a.", "together.a.")) for name in state(whole))
    assert state(resumed) == state(whole)
    assert timeless(result.history) == timeless(expected.history)


def test_what_an_objective_learns_trains_with_its_peer() -> None:
    trainer = two_stages(learners=["a"])
    first, _ = trainer.stages
    trainer.cohort.objectives = objectives = growing(["a", "b"])
    trainer.stages = [trainer.stages[1]]
    trainer.run()
    a, b = (objectives[name].log_weight.item() for name in ("a", "b"))
    assert a != pytest.approx(0.1)
    assert b == pytest.approx(0.1), "of a peer that does not train"
    inside = {id(p) for p in trainer.cohort.learned_for("a")}
    assert id(objectives["a"].log_weight) in inside
    assert first.learners is None


def test_each_peer_trains_its_own_objective_only() -> None:
    """Frozen to nothing but a's part, b's objective is what it is without a."""
    both, other = of_the_cohort(), of_the_cohort()
    other.cohort.objectives = {"a": cross_entropy, "b": Grows()}
    for trainer in (both, other):
        trainer.stages = trainer.stages[:1]  # nobody teaches
        trainer.run()
    same = {name: value for name, value in state(other).items() if ".b." in name or name[0] == "b"}
    assert same and same == {name: state(both)[name] for name in same}


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets)


def test_an_objective_is_in_the_mode_of_its_cohort() -> None:
    trainer = of_the_cohort()
    objective = trainer.cohort.objective_modules["a"]
    trainer.cohort.eval()
    trainer.run()
    assert objective.modes == [True] * 2 * FIRST, "asked in evaluation, or in the wrong mode"
    assert objective.training is False, "its mode was not put back"
    with evaluating(trainer.cohort):
        assert not objective.training
    trainer.cohort.train()
    assert objective.training


def test_state_of_an_objective_counts_training_batches_only() -> None:
    trainer = of_the_cohort()
    trainer.run()
    assert {int(o.seen) for o in trainer.cohort.objective_modules.values()} == {2 * FIRST * 32}


def test_a_peer_that_learns_nothing_leaves_the_others_as_they_are() -> None:
    trainer, alone = (tiny_trainer("transfer=none", "epochs=1") for _ in range(2))
    before = weights(trainer)
    trainer.cohort.objectives = {"a": lambda logits, y: torch.tensor(2.0), "b": cross_entropy}
    alone.cohort.objectives = dict.fromkeys("ab", cross_entropy)
    trainer.run(), alone.run()
    after = weights(trainer)
    assert all(after[name] == values for name, values in before.items() if name[:2] == "a.")
    assert all(after[name] == values for name, values in weights(alone).items() if name[:2] == "b.")


class Timed(Objective):
    def __init__(self) -> None:
        self.times: list[float | None] = []

    def loss(self, view: PeerView) -> Tensor:
        self.times.append(view.progress)
        return F.cross_entropy(view.output.logits, view.targets)


@pytest.mark.parametrize("update", ["simultaneous", "sequential"])
def test_a_timed_objective_is_told_the_finished_fraction_of_the_stage(update: str) -> None:
    trainer = tiny_trainer(f"transfer.update={update}", "epochs=2")
    clock = Timed()
    trainer.cohort.objectives = {"a": clock, "b": cross_entropy}
    trainer.run()
    assert clock.times == pytest.approx([step / (2 * STEPS) for step in range(2 * STEPS)])


def test_time_begins_anew_with_every_stage() -> None:
    clock = Timed()
    trainer = two_stages()
    trainer.cohort.objectives = dict.fromkeys(["a", "b"], clock)
    trainer.run()
    per_stage = [step / FIRST for step in range(FIRST) for _ in "ab"]
    assert clock.times == pytest.approx(per_stage * 2)


class ScoresClass(Objective):
    """Says that its targets are about logits which always tell one class."""

    def __init__(self, number: int) -> None:
        self.number = number

    def loss(self, view: PeerView) -> Tensor:
        return F.cross_entropy(view.output.logits, view.targets)

    def scored(self, output: PeerOutput) -> Tensor:
        told = torch.full((len(output.logits),), self.number)
        return F.one_hot(told, output.logits.shape[1]).float()


def test_training_accuracy_is_of_the_logits_that_an_objective_scores() -> None:
    plain, scored = tiny_trainer("epochs=1"), tiny_trainer("epochs=1")
    scored.cohort.objectives = {"a": ScoresClass(3), "b": cross_entropy}
    before, after = plain.run().history[0]["train"], scored.run().history[0]["train"]
    y = torch.cat([batch.y for batch in scored.stages[0].loader.epoch(0)])
    assert after["a"]["accuracy"] == pytest.approx((y == 3).double().mean().item())
    assert after["b"]["accuracy"] == before["b"]["accuracy"]
    assert after["a"]["accuracy"] != before["a"]["accuracy"]
    assert after["a"]["loss"] == before["a"]["loss"], "what is scored is not what is learned"
