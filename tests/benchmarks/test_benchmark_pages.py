"""Tables of the benchmark pages come from the result files beside them, and from nowhere else."""

import json
from pathlib import Path

import pytest

from benchmarks.write_tables import QUESTIONS, filled

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PAGES = sorted(BENCHMARKS.glob("*/README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_tables_are_those_of_the_result_files(page: Path) -> None:
    assert filled(page) == page.read_text(encoding="utf-8"), (
        f"{page} is stale: run python benchmarks/write_tables.py"
    )


def test_every_committed_comparison_has_at_least_three_seeds_and_both_arms() -> None:
    """Two are enough where a table only chooses what is compared in others: `ingredients`."""
    everything = {
        path: json.loads(path.read_text(encoding="utf-8")) for path in BENCHMARKS.glob("*/*.json")
    }
    for path, results in everything.items():
        if "arms" not in results:  # a page on speed
            continue
        assert len(results["seeds"]) >= (2 if "ingredients" in path.stem else 3), path
        assert "independent" in results["arms"], path
        assert len(results["arms"]) >= 2, path


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
