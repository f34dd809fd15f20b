"""Tables of the benchmark pages come from the result files beside them, and from nowhere else."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bayesian import exactness
from benchmarks.bayesian.speed import markdown as bayesian_markdown
from benchmarks.discovery.ranking import markdown as ranking_markdown
from benchmarks.few_labels import few_labels_markdown
from benchmarks.graph.tables import markdown as graph_markdown
from benchmarks.intervals.simulate import markdown as intervals_markdown
from benchmarks.speed.bench import markdown as bench_markdown
from benchmarks.speed.growth import markdown as growth_markdown
from benchmarks.speed.page import BEGIN, END, Results
from benchmarks.speed.share import markdown as share_markdown
from benchmarks.speed.speed import markdown as speed_markdown
from benchmarks.speed.tables import interval_cell
from benchmarks.speed.timing import FEWEST_ROUNDS, Ratio, of_rounds
from benchmarks.styles.speed import markdown as styles_markdown
from benchmarks.write_tables import QUESTIONS, filled, pages

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PAGES = pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_tables_are_those_of_the_result_files(page: Path) -> None:
    assert filled(page) == page.read_text(encoding="utf-8"), (
        f"{page} is stale: run python benchmarks/write_tables.py"
    )


def test_every_committed_comparison_has_enough_seeds_and_what_it_is_held_against() -> None:
    """Three seeds and arm `independent`; attacks × defences have two and `none`, the victim.

    Two are enough too where a table only chooses what is compared in others: `ingredients`. What
    diversity in function adds is held against `mutual`.
    """
    everything = {
        path: json.loads(path.read_text(encoding="utf-8")) for path in BENCHMARKS.rglob("*/*.json")
    }
    for path, results in everything.items():
        if not isinstance(results, dict) or not {"arms", "recipe"} <= results.keys():
            continue  # which `compare` did not write
        attacks = results["recipe"] == "backdoor"
        assert len(results["seeds"]) >= (2 if attacks or "ingredients" in path.stem else 3), path
        base = "mutual" if path.stem.endswith("-function") else "independent"
        assert ("none" if attacks else base) in results["arms"], path
        assert attacks or len(results["arms"]) >= 2, path


def test_few_labels_are_set_side_by_side() -> None:
    def arm(accuracy: float, spread: float) -> dict[str, Any]:
        values = [accuracy, accuracy + spread, accuracy + 1.5 * spread]
        who = {"accuracy": {"values": values}, "nll": {"values": [1 - v for v in values]}}
        who["ece"] = who["accuracy"]
        together = {"accuracy": {"values": [v + 0.01 for v in values]}}
        return {"peers": {"a": who, "b": who}, "mean_peer": who, "ensemble": together}

    arms = {"mutual": arm(0.9, 0.02), "independent": arm(0.8, 0.01)}
    compared = {"digits-mlp": {"arms": arms, "seeds": [0, 1, 2]}}
    head, _, row, *note = few_labels_markdown(compared).strip().splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert head.count("|") == row.count("|")
    assert cells[0] == "digits-mlp, K = 2, n = 3"
    assert cells[1].startswith("**+10.83** [") and cells[2].startswith("-0.108 [")
    assert cells[5] == "", "nobody compared a mean teacher"
    assert cells[6].startswith("**+9.83** ["), "one network beside the ensemble"
    assert "Holm" in note[-1]


@pytest.mark.parametrize("page", QUESTIONS)
def test_every_arm_that_is_asked_about_was_compared(page: str) -> None:
    compared: dict[str, set[str]] = {}
    for path in (BENCHMARKS / page).glob("*.json"):
        results = json.loads(path.read_text(encoding="utf-8"))
        if "arms" in results:
            compared.setdefault(results["recipe"], set()).update(results["arms"])
    asked = {arm for question in QUESTIONS[page].asked for arm in question[:2]}
    assert asked and compared
    for recipe, arms in compared.items():
        assert asked <= arms, f"{recipe}: nobody compared {asked - arms}"


@pytest.mark.parametrize(
    ("page", "results", "markdown"),
    [
        ("speed/README.md", "speed/results.json", speed_markdown),
        ("speed/SHARE.md", "speed/share.json", share_markdown),
        ("speed/BENCH.md", "speed/bench.json", bench_markdown),
        ("speed/GROWTH.md", "speed/growth.json", growth_markdown),
        ("graph/SPEED.md", "graph/speed.json", partial(graph_markdown, picture="growth.svg")),
        ("intervals/README.md", "intervals/simulation.json", intervals_markdown),
        ("styles/README.md", "styles/speed.json", styles_markdown),
        ("discovery/README.md", "discovery/ranking.json", ranking_markdown),
        ("bayesian/README.md", "bayesian/speed.json", bayesian_markdown),
    ],
)
def test_pages_say_what_was_measured(
    page: str, results: str, markdown: Callable[[Results], str]
) -> None:
    measured = json.loads((BENCHMARKS / results).read_text(encoding="utf-8"))
    text = (BENCHMARKS / page).read_text(encoding="utf-8")
    assert f"{BEGIN}\n\n{markdown(measured)}\n{END}" in text


def test_the_range_of_few_rounds_is_not_called_a_95_percent_interval() -> None:
    few, enough = (Ratio.of([1.0 + n for n in range(r)]) for r in (4, FEWEST_ROUNDS))
    assert interval_cell(vars(few), 1) == "range of 4 rounds: 1.0 – 4.0"
    assert interval_cell(vars(enough), 1) == "1.0 – 6.0"
    assert "87.5 %" in of_rounds(4) and "93.8 %" in of_rounds(5)
    assert of_rounds(FEWEST_ROUNDS) == "95 % intervals"
    assert 1 - 2 * 0.5**FEWEST_ROUNDS >= 0.95 > 1 - 2 * 0.5 ** (FEWEST_ROUNDS - 1)


def test_the_page_says_how_exact_bayesian_layers_are() -> None:
    measured = json.loads((BENCHMARKS / "bayesian/exactness.json").read_text(encoding="utf-8"))
    text = (BENCHMARKS / "bayesian/README.md").read_text(encoding="utf-8")
    begin, end = exactness.MARKS
    assert f"{begin}\n\n{exactness.markdown(measured)}\n{end}" in text
    assert all(line.get("met", True) for line in measured["lines"])
