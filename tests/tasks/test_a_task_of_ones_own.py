"""A task is one file and one line of the registry: it trains, compares, reports and predicts."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from counting import COUNTING

from peerlearn.compare.cells import plan_cells
from peerlearn.compare.grid import run_grid
from peerlearn.compare.report import write_report
from peerlearn.serving import Predictor, evaluate_run, open_run
from peerlearn.systems.registry import RECIPES
from peerlearn.systems.running import run_recipe


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The one line."""
    RECIPES["counting"] = COUNTING
    yield
    del RECIPES["counting"]


@pytest.fixture(scope="module")
def folder(registered: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of both arms with two seeds."""
    out, given = tmp_path_factory.mktemp("counting") / "out", COUNTING.defaults()
    run_grid(COUNTING, given, plan_cells(COUNTING, given, {}, None, [0, 1]), out)
    return out


def test_it_trains_and_selects_by_its_own_metric(tmp_path: Path) -> None:
    results = run_recipe(COUNTING, COUNTING.resolve(COUNTING.defaults(), {}), tmp_path / "run")
    (block,) = results["arms"].values()
    assert block["ensemble"]["mae"]["mean"] < 1.5, "the lights are half on, give or take two"
    values = {name: selected["value"] for name, selected in results["selected"].items()}
    assert open_run(tmp_path / "run").best_peer == min(values, key=lambda name: values[name])


def test_it_compares_and_reports(folder: Path) -> None:
    mutual = open_run(folder / "cells/mutual/seed-0")
    alone = open_run(folder / "cells/independent/seed-0")
    assert (
        mutual.results["arms"]["mutual"]["edges"]
        and not alone.results["arms"]["independent"]["edges"]
    )
    page = write_report([folder], folder / "report.html").read_text(encoding="utf-8")
    assert "Counting lights" in page and "mean error" in page


def test_it_is_evaluated_again_and_predicts(folder: Path, tmp_path: Path) -> None:
    run = open_run(folder / "cells/mutual/seed-1")
    assert evaluate_run(run)["arms"]["mutual"]["peers"] == run.results["arms"]["mutual"]["peers"]
    assert evaluate_run(run, "others")["arms"]["mutual"]["ensemble"]["mae"]["mean"] < 1.5
    np.save(tmp_path / "new.npy", np.eye(16)[:3])
    predictor = Predictor(run, "ensemble")
    predictor.reader.write(predictor.predict([tmp_path / "new.npy"]), tmp_path / "said.csv")
    rows = list(csv.DictReader((tmp_path / "said.csv").open()))
    assert [0 < float(row["lights on"]) < 3 for row in rows] == [True] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ls"], "How many lights are on"),
        (["ls", "data"], "16 lights"),
        (["validate", "counting"], "16 lights"),
    ],
)
def test_the_command_line_knows_it(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from peerlearn.cli import main

    monkeypatch.setattr("sys.argv", ["peerlearn", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert said in capsys.readouterr().out
