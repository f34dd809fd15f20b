"""The loop itself: stages, selection, bad losses, checkpoints, threads."""

import math
from pathlib import Path

import pytest
import torch
from tiny import tiny_trainer, weights
from torch import nn

from peerlearn.engine.files import load_state
from peerlearn.engine.selection import load_selected
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.task import RowEvaluator
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError, RunError
from peerlearn.randomness import seeded_rng
from peerlearn.transfer.graph import TransferGraph


class _Explodes(nn.Module):
    """Gives NaN after some training batches."""

    def __init__(self, inner: nn.Module, after: int) -> None:
        super().__init__()
        self.inner, self.left = inner, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= self.training
        logits = self.inner(x).logits
        return logits * math.nan if self.left < 0 else logits


def test_nan_loss_names_peer_step_and_last_good_checkpoint(tmp_path: Path) -> None:
    trainer = tiny_trainer("epochs=3", folder=tmp_path / "run")
    trainer.cohort.peers["b"] = _Explodes(trainer.cohort.peers["b"], after=4)
    with pytest.raises(RunError) as failed:
        trainer.run()
    message = str(failed.value)
    assert "peer 'b'" in message
    assert "step 4" in message
    assert str(trainer.folder.last) in message
    kept = load_state(trainer.folder.last)
    assert {key: kept["progress"][key] for key in ("stage", "epoch", "step")} == {
        "stage": 0,
        "epoch": 1,
        "step": 0,
    }
    assert all(p.isfinite().all() for p in kept["peers"]["b"].values() if p.is_floating_point())


def test_nan_loss_before_any_checkpoint_says_so() -> None:
    trainer = tiny_trainer()
    trainer.cohort.peers["a"] = _Explodes(trainer.cohort.peers["a"], after=0)
    with pytest.raises(RunError, match=r"peer 'a'.*step 0.*no checkpoint"):
        trainer.run()


def test_peers_hold_the_weights_of_their_best_validation_epoch() -> None:
    trainer = tiny_trainer(
        "epochs=6", "lr=0.3", "evaluation.metric=nll", "transfer.weight_schedule=constant"
    )
    result = trainer.run()
    for name in trainer.cohort.names:
        values = [record["val"][name]["nll"] for record in result.history]
        best = min(values)
        assert result.selected[name]["epoch"] == 1 + values.index(best)
        measured = trainer.task.evaluate(trainer.forward, "validation")
        assert measured["peers"][name]["nll"] == pytest.approx(best, abs=1e-6)


def test_mean_last_is_the_mean_of_the_last_epochs_on_the_reported_rows() -> None:
    singles = [
        tiny_trainer(
            "epochs=4",
            "lr_schedule=constant",
            f"evaluation.last_epochs={n}",
            "evaluation.select=mean_last",
        ).run()
        for n in (1, 2)
    ]
    last, both = (s.block["peers"]["a"]["accuracy"] for s in singles)
    earlier = tiny_trainer(
        "epochs=3",
        "lr_schedule=constant",
        "evaluation.select=last",
        "transfer.weight_schedule=constant",
    )
    full = tiny_trainer(
        "epochs=4",
        "lr_schedule=constant",
        "evaluation.select=last",
        "transfer.weight_schedule=constant",
    )
    assert singles[0].block["mean_peer"].keys() == singles[1].block["mean_peer"].keys()
    assert both != last
    a, b = earlier.run().block["peers"]["a"]["nll"], full.run().block["peers"]["a"]["nll"]
    mean = tiny_trainer(
        "epochs=4",
        "lr_schedule=constant",
        "evaluation.last_epochs=2",
        "evaluation.select=mean_last",
        "transfer.weight_schedule=constant",
    ).run()
    assert mean.block["peers"]["a"]["nll"] == pytest.approx((a + b) / 2)


def test_without_validation_rows_nothing_can_be_selected() -> None:
    trainer = tiny_trainer()
    with pytest.raises(InputError, match="validation rows"):
        Trainer(trainer.cohort, trainer.stages, trainer.training, RowEvaluator())


def _two_stages(trainer: Trainer) -> Trainer:
    """Alone first, then together, as systems with a pre-training do."""
    loader = trainer.stages[0].loader
    names = trainer.cohort.names
    trainer.stages = [
        TrainingStage("alone", 2, loader, TransferGraph("none", names)),
        TrainingStage("together", 2, loader, TransferGraph("predictions: kl", names)),
    ]
    return trainer


def test_stages_follow_each_other_with_their_own_edges() -> None:
    trainer = _two_stages(tiny_trainer("epochs=4"))
    result = trainer.run()
    taught = [record["train"]["a"]["transfer"] > 0 for record in result.history]
    assert [record["stage"] for record in result.history] == ["alone"] * 2 + ["together"] * 2
    assert taught == [False, False, True, True]
    assert {s["epoch"] for s in result.selected.values()} <= {1, 2}, "selected in the last stage"


@pytest.mark.parametrize("epochs_done", [1, 2, 3])
def test_a_run_of_stages_resumes_exactly(tmp_path: Path, epochs_done: int) -> None:
    whole = _two_stages(tiny_trainer("epochs=4"))
    whole.run()

    def stop(event: dict) -> None:
        if event["event"] == "epoch" and len(cut.progress.history) == epochs_done:
            raise KeyboardInterrupt

    cut = _two_stages(tiny_trainer("epochs=4", folder=tmp_path))
    cut.observe = stop
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = _two_stages(tiny_trainer("epochs=4", folder=tmp_path))
    again.run(resume=True)
    assert weights(again) == weights(whole)


def test_long_epochs_are_saved_inside(tmp_path: Path) -> None:
    trainer = tiny_trainer("epochs=1", "checkpoint_minutes=1e-9", folder=tmp_path)
    positions = []
    save = trainer.folder.save_last
    trainer.folder.save_last = lambda state: (
        positions.append(state["progress"]["step"]),
        save(state),
    )
    trainer.run()
    assert positions == [1, 2, 3, 0]


def test_threads_are_set_for_the_run_and_put_back() -> None:
    seen = []
    trainer = tiny_trainer("threads=2", "epochs=1")
    trainer.observe = lambda event: seen.append(torch.get_num_threads())
    before = torch.get_num_threads()
    trainer.run()
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_evaluation_batch_size_changes_no_metric() -> None:
    small, large = (
        tiny_trainer(f"evaluation.batch_size={size}").run().block["peers"]["a"]["nll"]
        for size in (7, 512)
    )
    assert small == pytest.approx(large, rel=1e-5)


def test_selected_weights_load_into_fresh_peers(tmp_path: Path) -> None:
    trainer = tiny_trainer(folder=tmp_path)
    trainer.run()
    fresh = tiny_trainer("seed=9")
    load_selected(tmp_path, fresh.cohort)
    assert weights(fresh) == weights(trainer)
    other = tiny_trainer("peers.a.arguments.hidden=[8]")
    with pytest.raises(InputError, match=r"a\.safetensors.*does not fit peer 'a'"):
        load_selected(tmp_path, other.cohort)


def test_weights_that_broke_in_the_last_step_are_not_saved(tmp_path: Path) -> None:
    trainer = tiny_trainer("epochs=2", folder=tmp_path)
    last = 2 * len(trainer.stages[0].loader)

    def poison(event: dict) -> None:
        if event["event"] == "step" and event["done"] == last:
            with torch.no_grad():
                next(trainer.cohort.peers["b"].parameters()).fill_(math.inf)

    trainer.observe = poison
    with pytest.raises(RunError, match=r"peer 'b': weights stopped being finite.*last good"):
        trainer.run()
    kept = load_state(trainer.folder.last)
    assert kept["progress"]["epoch"] == 1
    assert all(t.isfinite().all() for t in kept["peers"]["b"].values())


def test_peers_on_one_trunk_cannot_each_keep_their_own_best_epoch() -> None:
    trainer = tiny_trainer()
    trainer.cohort.trunk = nn.Identity()
    with pytest.raises(InputError, match="one trunk"):
        Trainer(trainer.cohort, trainer.stages, trainer.training, trainer.task)


def test_a_trunk_trains_with_its_peers_and_resumes(tmp_path: Path) -> None:
    def on_a_trunk(folder: Path | None = None) -> Trainer:
        trainer = tiny_trainer("evaluation.select=last", "epochs=3", folder=folder)
        with seeded_rng(0, "trunk"):
            trainer.cohort.trunk = nn.Conv2d(1, 1, 3, padding=1)
        return trainer

    whole = on_a_trunk()
    before = whole.cohort.trunk.weight.clone()
    whole.run()
    assert not torch.equal(whole.cohort.trunk.weight, before)

    def stop(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise KeyboardInterrupt

    cut = on_a_trunk(tmp_path)
    cut.observe = stop
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = on_a_trunk(tmp_path)
    again.run(resume=True)
    assert torch.equal(again.cohort.trunk.weight, whole.cohort.trunk.weight)
    assert weights(again) == weights(whole)


def test_sequential_updates_do_not_accumulate() -> None:
    with pytest.raises(InputError, match="accumulate: found 2"):
        tiny_trainer("transfer.update=sequential", "accumulate=2")
