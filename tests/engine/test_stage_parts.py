"""Stages that train some parts of peers, and what runs share of them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import Batch
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.settings import EvaluationSpec, TrainingSpec
from peerlearn.engine.shared_stages import SharedStages
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.task import RowEvaluator
from peerlearn.engine.trainable import (
    is_within,
    joined,
    learning_only,
    train_submodules,
    weights_of,
)
from peerlearn.engine.trainer import Trainer
from peerlearn.objectives.base import Classification, Objective, PeerView
from peerlearn.transfer.outputs import PeerOutput

TRAINING = TrainingSpec(
    epochs=2, lr=0.1, threads=1, device="cpu", evaluation=EvaluationSpec(select="last")
)


class TwoHeads(nn.Module):
    """A body with normalisation, and two heads that share it; both are read by the loss."""

    def __init__(self, width: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
        self.heads = nn.ModuleDict({"first": nn.Linear(5, 2)})
        torch.manual_seed(seed + width)
        self.heads["second"] = nn.Sequential(nn.Linear(5, width), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> PeerOutput:
        body = self.body(x)
        return PeerOutput(torch.cat([self.heads["first"](body), self.heads["second"](body)], 1))


@dataclass(frozen=True)
class Same:
    """The same two batches in every epoch."""

    def __len__(self) -> int:
        return 2

    def epoch(self, epoch: int, start: int = 0):
        for step in range(start, 2):
            generator = torch.Generator().manual_seed(step)
            x = torch.randn(8, 4, generator=generator)
            yield Batch((x,), (x[:, 0] > 0).long(), torch.arange(8))


@dataclass(frozen=True)
class FirstHead(Objective):
    """Cross-entropy of the first head alone."""

    def loss(self, view: PeerView) -> Tensor:
        return F.cross_entropy(self.scored(view.output), view.targets)

    def scored(self, output: PeerOutput) -> Tensor:
        return output.logits[:, :2]


def stage(name: str, parts: tuple[str, ...] | None, shared: bool = False) -> TrainingStage:
    """One with parts learns the first head, one without learns from all outputs."""
    objectives = {"a": Classification() if parts is None else FirstHead()}
    return TrainingStage(name, 2, Same(), objectives=objectives, trainable=parts, shared=shared)


def trained(
    *stages: TrainingStage, width: int = 3, shared: Path | None = None, out: Path | None = None
) -> Trainer:
    cohort = Cohort({"a": TwoHeads(width)}, "none")
    trainer = Trainer(
        cohort, stages, TRAINING,
        folder=RunFolder(out) if out else None,
        shared=SharedStages(shared) if shared else None,
    )  # fmt: skip
    if out:
        trainer.folder.open({}, resume=False)
    trainer.run()
    return trainer


def changed(trainer: Trainer, width: int = 3) -> set[str]:
    before, after = TwoHeads(width).state_dict(), trainer.cohort.peers["a"].state_dict()
    return {name for name in before if not before[name].equal(after[name])}


def test_parts_are_told_by_whole_names() -> None:
    assert is_within("heads.first.weight", ["heads.first"])
    assert is_within("heads.first", ["heads.first"])
    assert not is_within("heads.firstborn.weight", ["heads.first"])
    assert not is_within("heads", ["heads.first"])
    assert is_within("anything", None)
    assert joined([("a",), ("b", "a")]) == {"a", "b"}
    assert joined([("a",), None]) is None


def test_only_parts_ask_for_gradients_and_the_others_get_theirs_back() -> None:
    network = TwoHeads()
    network.body[0].bias.requires_grad_(False)
    with learning_only([network], ("heads.first",)):
        asking = {name for name, p in network.named_parameters() if p.requires_grad}
    assert asking == {"heads.first.weight", "heads.first.bias"}
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert frozen == ["body.0.bias"], "what did not train before does not train afterwards"


def test_what_rests_runs_as_it_is_evaluated() -> None:
    network = TwoHeads().eval()
    train_submodules(network, ("body", "heads.first"))
    modes = {name: module.training for name, module in network.named_modules()}
    assert modes["body.1"] and modes["heads.first"] and modes["heads"] and modes[""]
    assert not modes["heads.second"] and not modes["heads.second.1"]
    train_submodules(network, None)
    assert all(module.training for module in network.modules())
    with pytest.raises(AttributeError, match="third"):
        train_submodules(network, ("heads.third",))


def test_a_stage_changes_its_parts_alone_though_the_loss_reads_more() -> None:
    parts = ("body", "heads.first")
    found = changed(trained(TrainingStage("one", 2, Same(), trainable=parts)))
    assert found == set(weights_of(TwoHeads(), ("body", "heads.first")))
    assert any("second" in name for name in changed(trained(stage("one", None))))


def test_runs_whose_other_parts_differ_share_a_stage_bit_for_bit(tmp_path: Path) -> None:
    parts = ("body", "heads.first")
    stages = stage("one", parts, True), stage("two", None)
    trained(*stages, width=3, shared=tmp_path / "shared")
    taken = trained(*stages, width=7, shared=tmp_path / "shared", out=tmp_path / "taken")
    alone = trained(*stages, width=7, out=tmp_path / "alone")
    for one, other in zip(
        taken.cohort.state_dict().values(), alone.cohort.state_dict().values(), strict=True
    ):
        assert one.equal(other)

    def timeless(trainer: Trainer) -> list[dict]:
        return [record | {"seconds": 0} for record in trainer.progress.history]

    assert [r["stage"] for r in taken.progress.history] == ["one"] * 2 + ["two"] * 2
    assert timeless(taken) == timeless(alone)


def test_a_stage_that_runs_share_is_not_validated(tmp_path: Path) -> None:
    def rows():
        yield torch.randn(8, 4), torch.zeros(8, dtype=torch.long)

    cohort = Cohort({"a": TwoHeads()}, "none")
    stages = stage("one", None, True), stage("two", None)
    trainer = Trainer(cohort, stages, TRAINING, RowEvaluator(validation=rows))
    trainer.run()
    assert [("val" in record) for record in trainer.progress.history] == [False, False, True, True]


def test_a_training_without_stages_of_its_own_ends_well(tmp_path: Path) -> None:
    one = stage("one", None, True)
    before = trained(one, shared=tmp_path / "shared")
    after = trained(one, shared=tmp_path / "shared")
    assert after.progress.steps == before.progress.steps
    for a, b in zip(
        before.cohort.state_dict().values(), after.cohort.state_dict().values(), strict=True
    ):
        assert a.equal(b)
    assert not changed(trained())
