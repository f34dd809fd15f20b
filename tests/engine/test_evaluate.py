"""Outputs that are no numbers end a training; metrics may be undefined."""

import math

import pytest
import torch

from peerlearn.engine.evaluate import Logits, sound
from peerlearn.errors import RunError
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue


def measured(z: list[float], **metrics: float) -> dict:
    """Of a peer `b` with these outputs for one row, beside a sound `a`."""

    def forward(rows):
        tensors = {"a": torch.zeros(1, 3), "b": torch.tensor([z])}
        yield Logits(tensors, {}), None

    def evaluate(watched):
        list(watched(None))
        return {"peers": {"a": {"nll": 1.0}, "b": metrics}}

    return sound(evaluate, forward, Catalogue(CLASSIFICATION))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_output_that_is_no_number_names_peer_and_metrics(bad: float) -> None:
    with pytest.raises(RunError, match=r"^peer 'b': its outputs became NaN: nll nan, ece nan$"):
        measured([0.0, bad, 1.0], accuracy=0.0, nll=math.nan, ece=math.nan)


def test_an_infinite_metric_that_selects_is_named() -> None:
    with pytest.raises(RunError, match=r"^peer 'b': nll became inf$"):
        measured([0.0, 3e38, 1.0], nll=math.inf)


def test_masked_classes_and_undefined_metrics_are_allowed() -> None:
    block = measured([0.0, -math.inf, 1.0], nll=0.5, f1=math.nan)
    assert block["peers"]["b"]["nll"] == 0.5


def test_a_metric_that_refuses_what_is_not_finite_is_no_traceback() -> None:
    def evaluate(watched):
        list(watched(None))
        raise ValueError("Input contains NaN")

    def forward(rows):
        yield Logits({"a": torch.tensor([[math.nan]])}, {}), None

    with pytest.raises(RunError, match="peer 'a': its outputs became NaN: Input contains NaN"):
        sound(evaluate, forward, Catalogue(CLASSIFICATION))
