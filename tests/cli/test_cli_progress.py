"""What a run says while it trains and when it is done."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from peerlearn.cli import output
from peerlearn.cli.bars import Bar
from peerlearn.cli.output import class_table, measured_words, metrics_table, tell_results
from peerlearn.cli.progress import EpochProgress, GridProgress
from peerlearn.cli.screen import console
from peerlearn.engine.settings import EvaluationSpec
from peerlearn.errors import InputError
from peerlearn.systems.registry import RECIPES


def epoch(**val) -> dict:
    train = {"a": {"loss": 1.0, "accuracy": 0.25}}
    return {"event": "epoch", "epoch": 1, "of": 2, "train": train} | ({"val": val} if val else {})


def step(done, steps=4, of=2, loss=0.5, stage="mutual") -> dict:
    place = {"epoch": 1 + (done - 1) // steps, "step": 1 + (done - 1) % steps, "steps": steps}
    return {"event": "step", "stage": stage, "done": done, "of": of, "loss": loss} | place


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


def grid(*arms) -> GridProgress:
    return GridProgress(
        [
            SimpleNamespace(
                arm=arm, seed=0, config=SimpleNamespace(evaluation=SimpleNamespace(metric=metric))
            )
            for arm, metric in arms
        ]
    )


def test_every_cell_of_a_grid_has_a_metric_of_its_own():
    progress = grid(("one", "iou"), ("two", "accuracy"))
    said = []
    for arm in ("one", "two"):
        progress.observe(epoch(a=MEASURED) | {"arm": arm, "seed": 0})
        said.append(progress.text)
    assert said == ["one, seed 0  val iou a 0.610", "two, seed 0  val accuracy a 0.900"]


def screen(progress, width) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, height=24, force_terminal=True).print(progress)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()


def eagerly(progress, monkeypatch):
    monkeypatch.setattr(type(progress), "due", lambda self: True)
    return progress


WIDTHS = [40, 50, 60, 72, 80, 100, 132, 200]


@pytest.mark.parametrize("width", WIDTHS)
def test_counter_and_time_left_are_whole_on_any_screen(monkeypatch, width):
    progress = eagerly(EpochProgress(30), monkeypatch)
    for done in (1, 2, 3):
        progress.observe(step(done, steps=1_400, of=30, loss=0.41234))
    progress.observe(epoch(a=MEASURED, b=MEASURED) | {"of": 30})
    progress.observe(step(1_401, steps=1_400, of=30, loss=0.41234))
    bar, text = screen(progress, width)
    assert len(bar) < width
    assert len(text) <= width
    assert bar.startswith("epoch 2/30  ")
    assert re.search(r"\d:\d\d left$", bar.rstrip())
    drawn = re.search("[━╸╺]+", bar)
    assert drawn is None or len(drawn[0]) >= 8
    assert ("loss 0.412" in bar) == (width >= 50)
    assert ("step 1/1,400" in bar) == (width >= 60)
    assert text.startswith("val accuracy a 0.900  b 0.900"[: width - 1])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_grid_shows_its_cell_arm_seed_and_epoch(monkeypatch, width):
    progress = eagerly(grid(("mutual", "accuracy"), ("independent", "accuracy")), monkeypatch)
    where = {"arm": "independent", "seed": 3}
    progress.observe({"event": "cell done", "arm": "mutual", "seed": 0})
    progress.observe({"event": "cell", "epochs": 2} | where)
    progress.observe({"event": "begin", "facts": {}, "batches": {"mutual": 8}} | where)
    for done in (1, 2, 3):
        progress.observe(step(done) | where)
    cells, epochs, text = screen(progress, width)
    assert cells.startswith("cell 2/2  ")
    assert cells.rstrip().endswith("left")
    assert epochs.startswith("epoch 1/2  ")
    assert text == "independent, seed 3"
    assert progress.cells.done == 1 + 3 / 8


def test_the_bar_counts_the_batches_of_all_stages(monkeypatch):
    progress = eagerly(EpochProgress(2), monkeypatch)
    batches = {"first": 6, "clusters": 0, "second": 8}
    progress.observe({"event": "begin", "facts": {"data": ["digits"]}, "batches": batches})
    progress.observe(step(1, stage="second"))
    progress.observe(step(3, stage="second"))
    assert (progress.run.bar.done, progress.run.bar.total) == (9, 14)
    assert progress.run.bar.counter == "second epoch 1/2"


def test_time_left_counts_what_this_process_has_done(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    bar = Bar("epoch", total=100)
    bar.start(done=40, total=100)  # of a run that was gone on with
    assert bar.left == "-:-- left"
    clock.now, bar.done = 110.0, 50
    assert bar.left == "0:50 left"
    clock.now = 110.0 + 3 * 3600
    assert bar.left == "15:00:50 left"


def test_logs_get_a_line_of_a_long_epoch_now_and_then(capsys, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    progress = EpochProgress(2)
    for done in range(1, 101):
        clock.now += 1
        progress.observe(step(done, steps=200))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[-1] == "epoch 1/2  loss 0.5  step 90/200  5:10 left"


def test_the_head_of_a_run_stays_on_the_screen(capsys):
    facts = {"data": ["digits: 10 classes"], "edges": ["none: peers learn alone"]}
    EpochProgress(2).observe({"event": "begin", "facts": facts, "batches": {}, "arm": "alone"})
    assert capsys.readouterr().err.splitlines() == [
        "data     digits: 10 classes",
        "edges    none: peers learn alone",
        "arm      alone",
    ]


def block(metrics: dict[str, float]) -> dict:
    told = {name: {"mean": value, "std": 0.0, "values": [value]} for name, value in metrics.items()}
    return {"peers": {"a": told}, "mean_peer": told, "ensemble": told}


@pytest.mark.parametrize(
    ("recipe", "metrics", "said"),
    [
        ("dml", {"accuracy": 0.9, "nll": 0.5, "brier": 0.1}, "accuracy 0.9000  nll 0.5000"),
        (
            "styles-segment",
            MEASURED | {"hd95": 3.5},
            "iou 0.6100  dice 0.7000  accuracy 0.9000  nll 0.5000  hd95 3.5000",
        ),
    ],
)
def test_a_summary_tells_the_metrics_of_the_task(capsys, recipe, metrics, said):
    results = {"arms": {"mutual": block(metrics)}, "data": "digits", "seeds": [0]}
    results["selected"] = {"a": {"epoch": 7, "of": 9}}
    tell_results(results, RECIPES[recipe], EvaluationSpec())
    lines = capsys.readouterr().out.splitlines()
    assert f"  a          {said}  epoch 7 of 9" in lines
    assert f"  ensemble   {said}" in lines


@pytest.mark.parametrize(
    ("recipe", "spec", "words"),
    [
        ("dml", {}, "on TEST rows; weights of each peer's epoch of best accuracy on validation"),
        ("dml", {"select": "last"}, "on TEST rows; weights of the last epoch"),
        (
            "dml",
            {"select": "mean_last", "last_epochs": 3, "report": "val+test"},
            "on validation and TEST rows; mean over the last 3 epochs",
        ),
        ("discovery", {"select": "last"}, "on unlabelled rows; weights of the last epoch"),
    ],
)
def test_a_summary_tells_the_rows_and_the_weights(recipe, spec, words):
    assert measured_words(RECIPES[recipe], EvaluationSpec(**spec)) == words


def test_the_table_of_a_measurement_leaves_single_classes_to_the_file(capsys):
    console().print(metrics_table(block(MEASURED)))
    assert capsys.readouterr().out.splitlines()[0].split() == ["accuracy", "nll", "iou", "dice"]


def test_every_class_is_told_as_the_ensemble_finds_it(capsys):
    cells = {"true": [0, 0, 1], "predicted": [0, 1, 1], "count": [3, 1, 4]}
    measured = {"confusion": {"classes": ["cat", "dog"], "of": {"ensemble": cells}}}
    console().print(class_table(measured, RECIPES["dml"]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["class", "rows", "precision", "recall", "f1", "taken", "for"],
        ["cat", "4", "1.0000", "0.7500", "0.8571", "dog", "(1)"],
        ["dog", "4", "0.8000", "1.0000", "0.8889", "–"],
    ]
    console().print(class_table(block(MEASURED), RECIPES["styles-segment"]))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["class", "iou"],
        ["road", "0.4000"],
    ]
    with pytest.raises(InputError, match="--per-class: recipe 'discovery' measures nothing"):
        class_table(block({"accuracy": 0.5}), RECIPES["discovery"])


def test_a_metric_has_a_row_where_all_of_them_are_too_many_for_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"metric_{number}" for number in range(9)]
    told = {name: {"mean": 0.1234} for name in names}
    block = {"peers": {"a": told, "b": told}, "mean_peer": told, "ensemble": told}
    for width, rows in ((80, 10), (200, 5)):
        small = Console(width=width, file=io.StringIO())
        monkeypatch.setattr(output, "console", lambda small=small: small)
        small.print(output.metrics_table(block))
        lines = small.file.getvalue().splitlines()
        assert len(lines) == rows and "…" not in small.file.getvalue()
        assert small.file.getvalue().count("0.1234") == 36


def test_cells_that_are_trained_at_once_have_a_bar_each():
    config = SimpleNamespace(evaluation=SimpleNamespace(metric="accuracy"))
    cells = [SimpleNamespace(arm=arm, seed=0, config=config) for arm in ("one", "two")]
    progress = GridProgress(cells)
    for arm in ("one", "two"):
        progress.observe({"event": "cell", "arm": arm, "seed": 0, "epochs": 4})
    assert [bar.of for bar in progress.bars[1:]] == ["one, seed 0", "two, seed 0"]
    assert progress.cells.shown == "2/2"
    progress.observe({"event": "cell done", "arm": "one", "seed": 0})
    assert [bar.of for bar in progress.bars[1:]] == [""], "alone, it is told below"
    assert progress.cells.done == 1
