"""Few labels on all data sets side by side: what mutual learning gains, and over whom."""

from collections.abc import Mapping
from typing import Any

from benchmarks.cells import difference_cell

#: Columns: the arm that is subtracted from `mutual`, whose value it is, and the metric.
COLUMNS = {
    "accuracy, points": ("independent", "mean_peer", "accuracy"),
    "NLL": ("independent", "mean_peer", "nll"),
    "ECE, points": ("independent", "mean_peer", "ece"),
    "ensemble accuracy": ("independent", "ensemble", "accuracy"),
    "over `mean-teacher`": ("mean-teacher", "mean_peer", "accuracy"),
    "one network over the ensemble of `independent`": ("independent", "across", "accuracy"),
}


def few_labels_markdown(compared: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for every comparison: `mutual` minus another arm, paired by seed.

    `across` sets the mean peer of `mutual` beside the ensemble of the other arm. A cell stays empty
    where the other arm was not compared.

    Args:
        compared: contents of `results.json` by the name of the row.
    """
    lines = [["mutual − independent", *COLUMNS], ["---"] + ["---:"] * len(COLUMNS)]
    for name, results in compared.items():
        arms, cells = results["arms"], []
        for against, who, metric in COLUMNS.values():
            if against not in arms:
                cells.append("")
                continue
            sides = ("mean_peer", "ensemble") if who == "across" else (who, who)
            ours, theirs = (
                arms[arm][side][metric]["values"]
                for arm, side in zip(("mutual", against), sides, strict=True)
            )
            scale, digits = (1, 3) if metric == "nll" else (100, 2)
            cells.append(difference_cell(ours, theirs, scale, digits))
        peers = len(arms["mutual"]["peers"])
        lines.append([f"{name}, K = {peers}, n = {len(results['seeds'])}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
