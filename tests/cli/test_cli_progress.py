"""What a run says while it trains and when it is done."""

from types import SimpleNamespace

import pytest

from peerlearn.cli.output import console, metrics_table
from peerlearn.cli.progress import EpochProgress, GridProgress
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.tasks.segmentation.metrics import METRICS as SEGMENTATION


def epoch(**val) -> dict:
    train = {"a": {"loss": 1.0, "accuracy": 0.25}}
    return {"event": "epoch", "epoch": 1, "of": 2, "train": train} | ({"val": val} if val else {})


MEASURED = {"accuracy": 0.9, "nll": 0.5, "iou": 0.61, "dice": 0.7, "iou:road": 0.4}


@pytest.mark.parametrize(
    ("metric", "event", "said"),
    [
        ("accuracy", epoch(a={"accuracy": 0.9}), "epoch 1/2  val accuracy a 0.900\n"),
        ("iou", epoch(a=MEASURED, b=MEASURED), "epoch 1/2  val iou a 0.610  b 0.610\n"),
        ("iou", epoch(), "epoch 1/2  train accuracy a 0.250\n"),
    ],
)
def test_an_epoch_tells_what_selects(capsys, metric, event, said):
    EpochProgress(2, metric).observe(event)
    assert capsys.readouterr().err == said


def test_every_cell_of_a_grid_has_a_metric_of_its_own(capsys):
    cells = [
        SimpleNamespace(
            arm=arm, seed=0, config=SimpleNamespace(evaluation=SimpleNamespace(metric=metric))
        )
        for arm, metric in (("one", "iou"), ("two", "accuracy"))
    ]
    progress = GridProgress(cells)
    said = []
    progress.progress.update = lambda task, **fields: said.append(fields.get("text"))
    for arm in ("one", "two"):
        progress.observe(epoch(a=MEASURED) | {"arm": arm, "seed": 0})
    assert said == ["one, seed 0  val iou a 0.610", "two, seed 0  val accuracy a 0.900"]


def block(metrics: dict[str, float]) -> dict:
    told = {name: {"mean": value, "std": 0.0, "values": [value]} for name, value in metrics.items()}
    return {"peers": {"a": told}, "mean_peer": told, "ensemble": told}


def test_a_summary_tells_the_metrics_of_the_task(capsys):
    for task, metrics, said in (
        (
            CLASSIFICATION,
            {"accuracy": 0.9, "nll": 0.5, "brier": 0.1},
            "  a          accuracy 0.9000  nll 0.5000",
        ),
        (
            SEGMENTATION,
            MEASURED | {"hd95": 3.5},
            "  a          iou 0.6100  dice 0.7000  accuracy 0.9000  nll 0.5000  hd95 3.5000",
        ),
    ):
        EpochProgress(2).summarise(
            {"arms": {"mutual": block(metrics)}, "data": "digits", "seeds": [0]},
            Catalogue(task),
        )
        assert said in capsys.readouterr().out.splitlines()


def test_the_table_of_a_measurement_leaves_single_classes_to_the_file(capsys):
    console().print(metrics_table(block(MEASURED)))
    assert capsys.readouterr().out.splitlines()[0].split() == ["accuracy", "nll", "iou", "dice"]
