"""Single steps of a trainer in somebody's own loop."""

import pytest
import torch
from tiny import tiny_trainer, weights
from tiny_stages import two_stages

from peerlearn.engine.settings import StepSettings
from peerlearn.engine.trainer import Trainer

LAST = "evaluation.select=last"


def stepped(trainer: Trainer, stage: int = 0, together: int = 1) -> Trainer:
    """The trainer after all steps of a stage, made one by one."""
    at = trainer.stages[stage]
    with trainer.stepping(stage) as step:
        for epoch in range(at.epochs):
            batches = list(at.loader.epoch(epoch))
            for first in range(0, len(batches), together):
                results = step(*batches[first : first + together])
                assert [set(result.losses) for result in results] == [{"a", "b"}] * len(results)
    return trainer


@pytest.mark.parametrize(
    ("overrides", "together"),
    [
        ([], 1),
        (["accumulate=2"], 2),
        (["transfer.update=sequential"], 1),
        (["lr_schedule=constant", "transfer.edges=[]"], 1),
    ],
)
def test_steps_by_hand_are_those_of_a_run(overrides: list[str], together: int) -> None:
    by_hand = stepped(tiny_trainer(LAST, *overrides), together=together)
    run = tiny_trainer(LAST, *overrides)
    run.run()
    assert weights(by_hand) == weights(run)


def test_a_later_stage_is_stepped_by_its_own_edges_and_rates() -> None:
    constant = StepSettings.model_validate({"lr": 0.5, "lr_schedule": "constant"})
    trainer = two_stages(steps=constant)
    cohort, stages = trainer.cohort, trainer.stages
    edges, objectives = cohort.transfer, cohort.objectives
    with trainer.stepping(1) as step:
        assert cohort.transfer is stages[1].transfer
        step(next(iter(stages[1].loader.epoch(0))))
        assert trainer.current.updates["a"].rate == 0.5
    assert cohort.transfer is edges
    assert cohort.objectives == objectives


def test_modes_generators_and_threads_are_left_as_they_were() -> None:
    trainer = tiny_trainer(LAST, "threads=2")
    trainer.cohort.eval()
    trainer.cohort.peers["b"].train()
    modes = [module.training for module in trainer.cohort.modules()]
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with trainer.stepping() as step:
        assert trainer.cohort.peers["a"].training
        assert torch.get_num_threads() == 2
        step(next(iter(trainer.stages[0].loader.epoch(0))))
        torch.rand(1)
    assert [module.training for module in trainer.cohort.modules()] == modes
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_beyond_the_stage_keep_its_last_rate() -> None:
    trainer = tiny_trainer(LAST, "epochs=1", "lr_schedule=linear")
    batch = next(iter(trainer.stages[0].loader.epoch(0)))
    with trainer.stepping() as step:
        for _ in range(len(trainer.stages[0].loader) + 2):
            (result,) = step(batch)
        assert trainer.current.updates["a"].rate == pytest.approx(0.0, abs=1e-9)
    assert all(loss.total.isfinite() for loss in result.losses.values())
