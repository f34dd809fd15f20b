"""The section on posteriors: drawn where peers have some, and what its captions say."""

import json
from pathlib import Path
from typing import Any

from report_samples import compare_folder, edit_results

from peerlearn.compare.report import write_report
from peerlearn.results import summary


def test_distances_are_drawn_beside_agreement_and_told(tmp_path: Path) -> None:
    folder = compare_folder(tmp_path / "study", seeds=(0, 1), epochs=4)

    def edit(results: dict[str, Any]) -> None:
        arm = results["arms"]["mutual"]
        arm["posterior_distances"] = {
            "a~b": {"w2": summary([120.0, 130.0]), "cosine": summary([0.01, 0.03])}
        }
        arm["posteriors"] = {name: {"kl_per_row": summary([0.5, 0.5])} for name in "ab"}

    edit_results(folder, edit)
    for seed in (0, 1):
        path = folder / "cells" / "mutual" / f"seed-{seed}" / "metrics.jsonl"
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for number, event in enumerate(events):
            told = {"w2": 100.0 + 10 * number, "cosine": 0.0}
            if number % 2:  # validated
                told["agreement"] = 0.9
            event["posteriors"] = {"peers": {}, "pairs": {"a~b": told}}
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
    page = write_report([folder], tmp_path / "after.html").read_text(encoding="utf-8")
    assert "Distance of the posteriors of peers a and b" in page
    assert "mutual ends at W₂² 125, cosine of the means 0.02, KL a row 0.5 and 0.5 nats." in page
