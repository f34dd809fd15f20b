"""What a stage may say of itself: how it begins, and whether the trunk learns in it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_trainer
from tiny_stages import EPOCHS, STEPS, Killed, kill_after, on_a_trunk, state, timeless, two_stages

from peerlearn.cohort import Cohort
from peerlearn.engine.evaluate import assessed, predict
from peerlearn.engine.precision import Precision
from peerlearn.engine.selection import load_selected
from peerlearn.engine.settings import StepSettings
from peerlearn.engine.stage import Procedure
from peerlearn.engine.trainer import Trainer

FIRST = EPOCHS * STEPS  # steps of the first stage


class Shrinks:
    """Halves every weight of a peer: to do it twice, or never, is seen in all that follows."""

    def __init__(self) -> None:
        self.calls = 0

    @torch.no_grad()
    def __call__(self, cohort: Cohort, precision: Precision) -> None:
        self.calls += 1
        for parameter in cohort.peers["a"].parameters():
            parameter.mul_(0.5)


# How a stage steps -------------------------------------------------------------------------------


def rates(trainer: Trainer) -> list[float]:
    """The learning rate that every epoch ended with."""
    trainer.run()
    return [record["lr"] for record in trainer.progress.history]


def test_a_stage_says_how_it_is_stepped_before_peers_and_training_do() -> None:
    constant = StepSettings.model_validate({"lr": 0.5, "lr_schedule": "constant"})
    plain = two_stages("lr=0.1", "lr_schedule=constant", "peers.a.lr=0.2", "peers.b.lr=0.2")
    own = rates(two_stages("lr=0.1", "peers.a.lr=0.2", "peers.b.lr=0.2", steps=constant))
    assert rates(plain) == [0.2] * 2 * EPOCHS
    assert own[EPOCHS:] == [0.5] * EPOCHS
    assert own[:EPOCHS] != [0.5] * EPOCHS, "the stage before is none of its business"
    adam = two_stages(steps=StepSettings.model_validate({"optimiser": "adam"}))
    with adam.stepping(1):
        assert isinstance(adam.current.updates["a"].optimiser, torch.optim.Adam)


# How a stage begins ------------------------------------------------------------------------------


def test_begin_happens_once_between_the_stages_and_to_what_the_first_one_left() -> None:
    trainer = two_stages()
    seen: list[Any] = []

    def begin(cohort: Cohort, precision: Precision) -> None:
        seen.append((len(trainer.progress.history), state(trainer)))
        assert cohort.transfer is own, "the edges are still those of the stage before"

    own = trainer.cohort.transfer
    trainer.stages = two_stages(begin=begin).stages
    trainer.run()
    alone = two_stages()
    alone.stages = alone.stages[:1]
    alone.run()
    assert seen == [(EPOCHS, state(alone))]


def test_begin_changes_what_is_trained_from() -> None:
    plain, shrunk = two_stages(), two_stages(begin=Shrinks())
    plain.run(), shrunk.run()
    assert state(plain) != state(shrunk)


@pytest.mark.parametrize(
    ("steps", "save", "again"),
    [
        pytest.param(STEPS, False, 1, id="before-it"),
        pytest.param(FIRST, False, 1, id="at-the-boundary"),
        pytest.param(FIRST + 1, False, 1, id="after-it-but-nothing-saved-since"),
        pytest.param(FIRST + 1, True, 0, id="in-the-first-epoch-saved"),
        pytest.param(FIRST + STEPS + 1, True, 0, id="in-the-second-epoch"),
    ],
)
def test_invariant_4_a_stage_that_begins_resumes_exactly(
    tmp_path: Path, steps: int, save: bool, again: int
) -> None:
    whole = two_stages(begin=Shrinks(), folder=tmp_path / "whole")
    expected = whole.run()
    cut = two_stages(begin=Shrinks(), folder=tmp_path / "cut")
    cut.observe = kill_after(steps, save)
    with pytest.raises(KeyboardInterrupt if save else Killed):
        cut.run()
    begin = Shrinks()
    resumed = two_stages(begin=begin, folder=tmp_path / "cut")
    result = resumed.run(resume=True)
    assert begin.calls == again
    assert state(resumed) == state(whole)
    assert timeless(result.history) == timeless(expected.history)
    assert result.block["peers"] == expected.block["peers"]


def test_a_finished_run_that_is_resumed_does_not_begin_again(tmp_path: Path) -> None:
    first = two_stages(begin=Shrinks(), folder=tmp_path)
    first.run()
    begin = Shrinks()
    again = two_stages(begin=begin, folder=tmp_path)
    again.run(resume=True)
    assert begin.calls == 0
    assert state(again) == state(first)


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_procedure_is_done_once_wherever_it_stands(tmp_path: Path, where: str) -> None:
    trainer = two_stages(folder=tmp_path / "run")
    began = Shrinks()
    nothing = Procedure("nothing", began)
    place = {"first": 0, "middle": 1, "last": 2}[where]
    trainer.stages = [*trainer.stages[:place], nothing, *trainer.stages[place:]]
    result = trainer.run()
    assert began.calls == 1
    assert [record["stage"] for record in result.history] == ["alone"] * 2 + ["together"] * 2
    plain = two_stages()
    plain.run()
    if where == "last":
        name, halved = next(iter(trainer.cohort.peers["a"].named_parameters()))
        torch.testing.assert_close(halved, plain.cohort.peers["a"].get_parameter(name) / 2)
        kept = load_file(tmp_path / "run" / "checkpoints" / "best" / "a.safetensors")
        assert torch.equal(kept[name], halved), "what is kept is not what began"
    else:
        assert state(trainer) != state(plain)


def test_a_last_procedure_resumes_to_the_same(tmp_path: Path) -> None:
    def made(folder: Path) -> Trainer:
        trainer = two_stages(folder=folder)
        trainer.stages = [
            trainer.stages[0],
            Procedure("nothing", Shrinks()),
        ]
        return trainer

    whole = made(tmp_path / "whole")
    whole.run()
    cut = made(tmp_path / "cut")
    cut.observe = kill_after(FIRST)
    with pytest.raises(Killed):
        cut.run()
    resumed = made(tmp_path / "cut")
    resumed.run(resume=True)
    assert state(resumed) == state(whole)


# The trunk ---------------------------------------------------------------------------------------


def trunk_state(trainer: Trainer) -> list[list[float]]:
    return [t.double().flatten().tolist() for t in trainer.cohort.trunk.state_dict().values()]


def metrics_of(trainer: Trainer, rows: Any) -> dict[str, dict[str, float]]:
    """Metrics of the peers as they are, on their trunk as it is."""
    cohort = trainer.cohort
    batches = predict(dict(cohort.peers), rows, trainer.precision, cohort.trunk)
    return assessed(batches, trainer.task.assessment("report"))["peers"]


def test_a_trunk_that_does_not_learn_is_left_alone() -> None:
    """Weights and statistics as they were, no gradient, and run as it is evaluated."""
    trainer = on_a_trunk(two_stages())
    trainer.stages = [two_stages(trunk=False).stages[1]]
    before, peers, modes = trunk_state(trainer), state(trainer), []
    trainer.cohort.trunk.register_forward_hook(
        lambda m, i, output: modes.append((m[1].training, output.requires_grad))
    )
    trainer.cohort.trunk.train()
    trainer.run()
    assert trunk_state(trainer) == before
    assert all(p.grad is None for p in trainer.cohort.trunk.parameters())
    assert set(modes) == {(False, False)}
    with trainer.stepping():
        assert "trunk" not in trainer.current.updates
    assert trainer.cohort.trunk.training, "its mode was not put back"
    assert state(trainer) != peers, "the peers learned nothing"


def test_a_trunk_that_learns_is_not() -> None:
    trainer = on_a_trunk(two_stages())
    before = trunk_state(trainer)
    trainer.run()
    assert all(now != was for now, was in zip(trunk_state(trainer), before, strict=True))


@pytest.mark.parametrize("ema", [[], ["ema=0.8"]], ids=["plain", "averaged"])
def test_a_trunk_keeps_what_the_last_stage_that_trains_it_made(ema: list[str]) -> None:
    """Averaged weights are what later stages stand on, where weights are averaged."""
    trainer = on_a_trunk(two_stages(*ema, trunk=False))
    seen = []
    trainer.observe = lambda event: (
        event["event"] == "epoch"
        and seen.append(
            [
                t.double().flatten().tolist()
                for t in trainer._evaluated_trunk().state_dict().values()
            ]
        )
    )
    trainer.run()
    assert seen[0] != seen[1] == seen[2] == seen[3] == trunk_state(trainer)


def test_averaged_weights_of_trunk_and_peers_are_measured_and_kept(tmp_path: Path) -> None:
    trainer = on_a_trunk(two_stages("ema=0.8", folder=tmp_path))
    raw = []
    trainer.observe = lambda event: event["event"] == "step" and raw.append(trunk_state(trainer))
    result = trainer.run()
    assert trunk_state(trainer) != raw[-1]
    fresh = on_a_trunk(two_stages("seed=3"))
    load_selected(tmp_path, fresh.cohort)
    assert trunk_state(fresh) == trunk_state(trainer)
    measured = metrics_of(fresh, trainer.task.rows["val"])
    assert measured == {name: result.history[-1]["val"][name] for name in measured}
    plain = on_a_trunk(two_stages())
    plain.run()
    assert trunk_state(plain) != trunk_state(trainer)


@pytest.mark.parametrize("steps", [1, STEPS, FIRST, FIRST + 1])
@pytest.mark.parametrize("learns", [True, False], ids=["trunk-learns-on", "trunk-rests-then"])
def test_invariant_4_an_averaged_trunk_resumes_exactly(
    tmp_path: Path, steps: int, learns: bool
) -> None:
    def made(folder: Path) -> Trainer:
        return on_a_trunk(two_stages("ema=0.8", folder=folder, trunk=learns))

    whole = made(tmp_path / "whole")
    whole.run()
    cut = made(tmp_path / "cut")
    save = steps % STEPS != 0
    cut.observe = kill_after(steps, save)
    with pytest.raises(KeyboardInterrupt if save else Killed):
        cut.run()
    resumed = made(tmp_path / "cut")
    resumed.run(resume=True)
    assert state(resumed) == state(whole)


def test_a_run_folder_holds_the_selected_trunk(tmp_path: Path) -> None:
    trainer = on_a_trunk(tiny_trainer("evaluation.select=last", folder=tmp_path))
    result = trainer.run()
    kept = load_file(tmp_path / "checkpoints" / "best" / "trunk.safetensors")
    for name, tensor in trainer.cohort.trunk.state_dict().items():
        assert torch.equal(kept[name], tensor)
    fresh = on_a_trunk(tiny_trainer("evaluation.select=last", "seed=3"))
    before = trunk_state(fresh)
    load_selected(tmp_path, fresh.cohort)
    assert trunk_state(fresh) == trunk_state(trainer) != before
    assert metrics_of(fresh, trainer.task.rows["test"]) == result.block["peers"]


def test_averaged_weights_outlive_a_kill_between_the_last_checkpoint_and_the_results(
    tmp_path: Path,
) -> None:
    options = ("ema=0.8", "evaluation.select=last", f"epochs={EPOCHS}")
    whole = tiny_trainer(*options, folder=tmp_path / "whole")
    whole.run()
    cut = tiny_trainer(*options, folder=tmp_path / "cut")
    cut.observe = kill_after(EPOCHS * STEPS)
    with pytest.raises(Killed):
        cut.run()
    resumed = tiny_trainer(*options, folder=tmp_path / "cut")
    resumed.run(resume=True)
    assert state(resumed) == state(whole)
    plain = tiny_trainer(*options[1:])
    plain.run()
    assert state(plain) != state(whole), "nothing was averaged"
