"""Few labels on all data sets side by side: what mutual learning gains, and over whom."""

from collections.abc import Mapping
from typing import Any

from benchmarks.cells import Pair, difference_cells

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
    columns = [_column(compared, *what) for what in COLUMNS.values()]
    lines = [["mutual − independent", *COLUMNS], ["---"] + ["---:"] * len(COLUMNS)]
    for (name, results), cells in zip(compared.items(), zip(*columns, strict=True), strict=True):
        peers, seeds = len(results["arms"]["mutual"]["peers"]), len(results["seeds"])
        lines.append([f"{name}, K = {peers}, n = {seeds}", *cells])
    note = (
        "Differences are paired by seed, with 95 % intervals over seeds only: not other test rows, "
        "nor other training rows. Bold where a difference in accuracy is shown, by Holm at 5 % "
        "over the rows of its column."
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{note}\n"


def _column(
    compared: Mapping[str, Mapping[str, Any]], against: str, who: str, metric: str
) -> list[str]:
    """A cell for every comparison, empty where it does not have the arm."""
    ours, theirs = ("mean_peer", "ensemble") if who == "across" else (who, who)
    pairs: dict[str, Pair] = {
        name: (
            results["arms"]["mutual"][ours][metric]["values"],
            results["arms"][against][theirs][metric]["values"],
        )
        for name, results in compared.items()
        if against in results["arms"]
    }
    scale, digits = (1, 3) if metric == "nll" else (100, 2)
    cells = difference_cells(list(pairs.values()), scale, digits, metric == "accuracy")
    found = dict(zip(pairs, cells, strict=True))
    return [found.get(name, "") for name in compared]
