"""How often a training is validated, and what a validation leaves out."""

import math

import pytest
import torch
from tiny import tiny_trainer
from torch import nn

from peerlearn.engine.monitor import _correct
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.stage_run import _all_finite
from peerlearn.engine.task import RowEvaluator
from peerlearn.engine.validating import FORWARD, SHARE, epochs_between
from peerlearn.metrics.assessment import assess_classification
from peerlearn.systems.registry import find_recipe


def test_auto_validates_as_often_as_the_counts_of_rows_allow() -> None:
    trainer = tiny_trainer("epochs=8", "evaluation.every=auto", "evaluation.select=last")
    rows, batches = trainer.task.validated_rows(), trainer.stages[0].loader
    trained = len(batches) * trainer.task.batch_sizes().training
    every = math.ceil(FORWARD * rows / (SHARE * trained))
    assert rows == trainer.task.info.rows["val"] and every > 1
    validated = ["val" in record for record in trainer.run().history]
    assert validated == [epoch % every == 0 or epoch == 8 for epoch in range(1, 9)]


def test_auto_is_every_epoch_where_validation_rows_are_few() -> None:
    trainer = tiny_trainer("evaluation.every=auto")
    trainer.task.validated_rows = lambda: 1
    assert epochs_between("auto", trainer.stages[0], trainer.task) == 1


def test_auto_is_every_epoch_where_nobody_counts() -> None:
    stage = tiny_trainer().stages[0]
    assert epochs_between("auto", stage, RowEvaluator()) == 1
    assert epochs_between("auto", stage, None) == 1


def test_auto_of_a_graph_counts_all_its_nodes() -> None:
    system, given = find_recipe("gml-node")
    trainer = system.build(system.resolve(given, {"evaluation.every": "auto"}))
    stage = trainer.stages[0]
    assert isinstance(stage, TrainingStage)
    assert epochs_between("auto", stage, trainer.task) == math.ceil(FORWARD / SHARE)


def test_a_number_is_taken_as_it_is() -> None:
    trainer = tiny_trainer()
    assert epochs_between(3, trainer.stages[0], trainer.task) == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_weight_that_is_no_number_is_found(bad: float) -> None:
    weights = [nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(5).double())]
    assert _all_finite(weights)
    with torch.no_grad():
        weights[1][2] = bad
    assert not _all_finite(weights)


def test_large_weights_are_numbers_although_their_sum_is_none() -> None:
    weights = [nn.Parameter(torch.full((4,), 2e38)), nn.Parameter(torch.ones(2).half())]
    assert weights[0].sum().isinf()
    assert _all_finite(weights)


def test_a_brief_assessment_is_a_part_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = {name: torch.randn(20, 7, generator=generator) for name in "ab"}
    y = torch.arange(20) % 7
    whole, brief = (assess_classification(logits, y, brief=brief) for brief in (False, True))
    assert set(whole) - set(brief) == {"reliability", "selective", "confusion"}
    assert brief == {name: whole[name] for name in brief}


@pytest.mark.parametrize("ties", [False, True])
def test_training_accuracy_of_pixels_is_that_of_the_first_likeliest_class(ties: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 4, generator=generator)
    if ties:
        logits[:, 1] = logits[:, 0]
    targets = torch.randint(-1, 3, (2, 5, 4), generator=generator)
    expected = (logits.argmax(1) == targets).sum()
    assert _correct(logits, targets, targets >= 0) == expected > 0
