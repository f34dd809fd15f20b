"""The strips that show when edges were open, and the sentence on those that never were."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_samples import compare_folder, edit_results

from peerlearn.compare.report import write_report
from peerlearn.report.open_edges import _of_seed, never_open
from peerlearn.results import summary


def shares(**given: dict[str, float]) -> dict[str, dict[str, Any]]:
    return {
        learner: {teacher: summary([share]) for teacher, share in teachers.items()}
        for learner, teachers in given.items()
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ""),
        ({"a": {"b": 0.5}, "b": {"a": 1.0}}, ""),
        ({"a": {"b": 0.0}, "b": {"a": 0.1}}, "1 edge of 2 stayed shut: b → a."),
        (
            {"a": {"b": 0.0, "c": 0.0}, "b": {"a": 0.1, "c": 0}},
            "3 edges of 4 stayed shut: b → a, c → a and c → b.",
        ),
        ({"a": {"b": 0.0}, "b": {"a": 0.0}}, "No edge opened of 2: all peers trained alone."),
    ],
)
def test_edges_that_stayed_shut_are_named(given: dict[str, Any], said: str) -> None:
    assert never_open(shares(**given)) == said


def test_between_validations_an_edge_stays_as_it_is() -> None:
    epochs = [{}, {"open": {"a": {"b": 1.0}}}, {}, {"open": {"a": {"b": 0.0}}}, {}]
    assert _of_seed(epochs, ("b", "a")) == [0, 1, 1, 0, 0]
    assert _of_seed(epochs, ("c", "a")) == [0, 0, 0, 0, 0]


def test_the_page_draws_a_strip_for_every_edge(tmp_path: Path) -> None:
    folder = compare_folder(tmp_path / "study", seeds=(0, 1), epochs=6)

    def edit(results: dict[str, Any]) -> None:
        results["arms"]["mutual"]["open_edges"] = shares(a={"b": 0.5}, b={"a": 0.0})

    edit_results(folder, edit)
    before = write_report([folder], tmp_path / "before.html").read_text(encoding="utf-8")
    for seed in (0, 1):
        path = folder / "cells" / "mutual" / f"seed-{seed}" / "metrics.jsonl"
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events[1:]:
            event["open"] = {"a": {"b": float(event["epoch"] > 3)}, "b": {"a": 0.0}}
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
    page = write_report([folder], tmp_path / "after.html").read_text(encoding="utf-8")
    assert "When edges were open" in page and "When edges were open" not in before
    assert "1 edge of 2 stayed shut: a → b." in page
    assert "b → a" in page
