"""Metrics of one's own by `python:`: in results, tables, selection and reports."""

import json
from pathlib import Path

import pytest
from tiny import tiny_trainer
from typer.testing import CliRunner

import peerlearn
from peerlearn.cli import app
from peerlearn.errors import InputError

WORST = "python:own_parts:worst_recall"
ODDS = {"function": "python:own_parts:odds", "name": "doubt", "better": "lower"}
QUICK = {"data": "digits", "epochs": 1, "data.train_size": 200, "precision": "fp32"} | {
    f"peers.{name}": {"model": "mlp", "arguments": {"hidden": [8]}} for name in ("a", "b")
}


def test_their_values_are_those_of_the_functions() -> None:
    block = tiny_trainer(f"evaluation.metrics=['{WORST}']").run().block
    confusion = block["confusion"]["of"]
    for who, found in (block["peers"] | {"ensemble": block["ensemble"]}).items():
        rows: dict[int, list[int]] = {}
        cells = confusion[who]
        for true, said, count in zip(
            cells["true"], cells["predicted"], cells["count"], strict=True
        ):
            rows.setdefault(true, [0, 0])[int(true == said)] += count
        assert found["worst_recall"] == pytest.approx(min(b / (a + b) for a, b in rows.values()))
    mean = block["mean_peer"]["worst_recall"]
    assert mean == pytest.approx(
        sum(each["worst_recall"] for each in block["peers"].values()) / len(block["peers"])
    )


def test_weights_can_be_selected_by_one_of_which_less_is_better() -> None:
    changes = QUICK | {
        "epochs": 3,
        "lr": 0.5,
        "evaluation.metrics": [ODDS],
        "evaluation.metric": "doubt",
    }
    results = peerlearn.recipe("dml", changes).run()
    for peer, chosen in results["selected"].items():
        assert results["arms"]["mutual"]["validation"][peer]["doubt"]["mean"] == chosen["value"]
    assert results["metrics"] == {"doubt": {"label": "doubt", "better": "lower", "unit": ""}}


def test_a_comparison_shows_them_and_runs_of_others_need_trust(tmp_path: Path) -> None:
    out = tmp_path / "both"
    own = [{"function": WORST, "unit": "%"}, ODDS]
    bound = peerlearn.recipe("dml", QUICK | {"evaluation.metrics": own})
    results = bound.compare(out, arms=["mutual", "independent"], seeds=[0])
    assert {"worst_recall", "doubt"} <= {each["metric"] for each in results["differences"]}
    assert list(results["metrics"]) == ["worst_recall", "doubt"]
    runner = CliRunner()
    report = tmp_path / "report.html"
    assert runner.invoke(app, ["report", str(out), "--out", str(report)]).exit_code == 0
    page = report.read_text()
    assert "worst recall, %" in page
    assert "doubt" in page
    run = out / "cells" / "mutual" / "seed-0"
    refused = runner.invoke(app, ["eval", str(run)])
    assert "names code, which is not run unless you trust this file" in str(refused.exception)
    again = tmp_path / "again.json"
    said = runner.invoke(app, ["eval", str(run), "--trust", "--out", str(again)])
    assert said.exit_code == 0, said.output
    assert "doubt" in said.output
    kept = json.loads((run / "results.json").read_text())
    now = json.loads(again.read_text())
    assert now["metrics"] == kept["metrics"]
    value = now["arms"]["mutual"]["ensemble"]["doubt"]["mean"]
    assert value == pytest.approx(kept["arms"]["mutual"]["ensemble"]["doubt"]["mean"], abs=1e-6)


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (["nll"], r"evaluation.metrics.0.function: found 'nll'; expected python:"),
        ([{"function": WORST, "name": "nll"}], "'nll' is the name of another metric"),
        ([WORST, WORST], "'worst_recall' is the name of another metric"),
        ([{"function": WORST, "name": "../a"}], "name: found '../a'; expected letters"),
        (["python:own_parts:worst_recal"], "Did you mean 'worst_recall'"),
        (["python:own_parts:two_numbers"], r"two_numbers raised RuntimeError.*gives one number"),
    ],
)
def test_what_is_wrong_with_them_is_said(metrics: list, said: str) -> None:
    with pytest.raises(InputError, match=said):
        peerlearn.recipe("dml", QUICK | {"evaluation.metrics": metrics}).run()


@pytest.mark.parametrize("name", ["styles-segment", "discovery"])
def test_they_are_for_classifiers(name: str) -> None:
    with pytest.raises(InputError, match=r"recipe '.*' measures something else"):
        peerlearn.recipe(name, {"evaluation.metrics": [WORST]})
