"""Tables of the Bayesian page: what pairs of arms tell, and rows outside the distribution."""

from collections.abc import Mapping
from typing import Any

from benchmarks.cells import Pair, difference_cells

ASKED = (
    ("independent", "deterministic", "posteriors of all layers, each peer alone"),
    ("mutual", "independent", "predictions that agree"),
    ("parameters", "mutual", "posteriors apart, beside that"),
    ("features", "mutual", "features apart, beside that"),
    ("full", "mutual", "both"),
    ("w2-as-it-is", "parameters", "W₂² not divided by the norms"),
    ("kl-distance", "parameters", "KL in place of W₂², not divided by norms"),
    ("w2-without-log", "parameters", "no logarithm, at weight 0.1"),
    ("no-fusion", "features", "the last layer in place of fused ones"),
    ("direct-kl", "features", "KL of single rows, no fusion, no logarithm, at weight 0.1"),
    ("supervised-fusion", "features", "a fusion that learns the labels too"),
    ("function", "mutual", "other classes apart, at weight 0.1"),
    ("function-heavy", "mutual", "the same at 1"),
    ("stop-distance", "mutual", "posteriors apart up to a normalised W₂² of 1.2"),
)
"""An arm, another, and what their difference tells."""
COLUMNS = (
    ("mean_peer", "accuracy", "accuracy, points", 100, 2),
    ("mean_peer", "nll", "NLL", 1, 4),
    ("mean_peer", "ece", "ECE, points", 100, 2),
    ("ensemble", "accuracy", "ensemble accuracy, points", 100, 2),
    ("ensemble", "nll", "ensemble NLL", 1, 4),
)
"""Who, which metric, its heading, a factor and decimals."""


def asked_markdown(results: Mapping[str, Any]) -> str:
    """The difference of each pair of arms that were compared, in the metrics of `COLUMNS`."""
    arms = results["arms"]
    asked = [each for each in ASKED if {*each[:2]} <= arms.keys()]
    columns = []
    for who, metric, _, scale, digits in COLUMNS:
        pairs: list[Pair] = [
            (arms[a][who][metric]["values"], arms[b][who][metric]["values"]) for a, b, _ in asked
        ]
        columns.append(difference_cells(pairs, scale, digits, tested=metric == "accuracy"))
    rows = [["", *(heading for _, _, heading, _, _ in COLUMNS)], ["---"] + ["---:"] * len(COLUMNS)]
    for (a, b, what), *cells in zip(asked, *columns, strict=True):
        rows.append([f"`{a}` − `{b}`: {what}", *cells])
    return (
        _lines(rows) + f"\n\nn = {len(results['seeds'])} seeds; differences are paired by seed, "
        "with 95 % intervals over seeds only. Bold where a difference in accuracy is shown, by "
        f"Holm at 5 % over the {len(asked)} rows of its column; other metrics are not tested.\n"
    )


def outside_markdown(results: Mapping[str, Any]) -> str:
    """How well every arm tells rows of another set from its own, and how far apart peers are."""
    (name,) = {
        metric.partition(":")[2]
        for arm in results["arms"].values()
        for metric in arm["mean_peer"]
        if metric.startswith("auroc:")
    }
    shown = {
        "AUROC % by entropy": ("mean_peer", f"auroc:{name}"),
        "by mutual information": ("mean_peer", f"auroc_mi:{name}"),
        "FPR95 % by entropy": ("mean_peer", f"fpr95:{name}"),
        "ensemble AUROC % by entropy": ("ensemble", f"auroc:{name}"),
        "ensemble by mutual information": ("ensemble", f"auroc_mi:{name}"),
    }
    headings = ["arm", *shown, "W₂²", "agreement %"]
    rows = [headings, ["---"] + ["---:"] * (len(headings) - 1)]
    for arm, block in results["arms"].items():
        cells = [_percent(block[who].get(metric)) for who, metric in shown.values()]
        apart: Mapping[str, Any] = next(iter(block.get("posterior_distances", {}).values()), {})
        w2, pairs = apart.get("w2"), block.get("between_peers", {}).get("agreement", {})
        cells.append(f"{w2['mean']:.0f}" if w2 else "–")
        rows.append([arm, *cells, _percent(next(iter(pairs.values()), None))])
    return (
        _lines(rows)
        + f"\n\nRows of {name} against test rows; ± is the standard deviation over "
        + f"{len(results['seeds'])} seeds. W₂² is between the posteriors of the two peers.\n"
    )


def _percent(value: Mapping[str, Any] | None) -> str:
    return "–" if value is None else f"{100 * value['mean']:.1f} ± {100 * value['std']:.1f}"


def _lines(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
