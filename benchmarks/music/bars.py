"""What pairs of arms tell, over seeds and users, from a finished comparison. See README.md.

python benchmarks/music/bars.py runs/bench/music-lastfm --out benchmarks/music/lastfm-bars.json
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import numpy as np

from peerlearn.files import write_text
from peerlearn.report.intervals import ALPHA, holm
from peerlearn.report.row_tables import read_rows, row_differences
from peerlearn.report.statistics import paired_difference

ASKED = (
    ("full", "independent", "branches that teach each other"),
    ("full", "lightgcn-social-wide", "one network of as many parameters, ids alone"),
    ("full", "concatenation", "one network of as many parameters, features side by side"),
    ("full", "ease", "computed in closed form"),
    ("full", "ngcf", "the rival that the paper compares with"),
    ("full", "no-social", "friends"),
    ("full", "no-emotion", "valence and arousal"),
    ("full", "no-content", "features, beside as many branches of ids alone"),
    ("full", "bpr", "softmax over candidates in place of pairs"),
    ("with-ease", "full", "EASE as a fifth voice of the ensemble"),
    ("one-teacher", "independent", "a ring: each branch learns of one other"),
    ("from-tags", "independent", "the others learn of tags, which learns of nobody"),
    ("softened", "full", "rankings softened by τ = 4"),
    ("over-negatives", "full", "rankings of what the user did not listen to, at weight 0.1"),
    ("pushed-apart", "full", "rankings of the same pushed apart beside that"),
    ("own-negatives", "full", "a share of the negatives for each branch"),
    ("early-and-strong", "full", "weight 1 from the first step on"),
    ("lightgcn-social", "lightgcn", "friends, in one network of ids"),
    ("ease-friends", "ease", "friends, in EASE"),
)
"""An arm, another, and what their difference tells."""
COLUMNS = (
    ("mean_peer", "recall@50", "mean peer, Recall@50, points"),
    ("mean_peer", "ndcg@50", "NDCG@50, points"),
    ("ensemble", "recall@50", "ensemble, Recall@50, points"),
    ("ensemble", "ndcg@50", "NDCG@50, points"),
)


def main() -> None:
    """Read a comparison's folder, and write what its pairs of arms tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="as `peerlearn compare` wrote it")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    results = json.loads((arguments.folder / "results.json").read_text(encoding="utf-8"))
    known = ("recipe", "data", "made_by")
    found = {name: results.get(name) for name in known}
    found |= {"n": len(results["seeds"]), "pairs": list(pairs(arguments.folder, results))}
    write_text(arguments.out, json.dumps(found, indent=1) + "\n")
    print(bars_markdown(found))


def pairs(folder: Path, results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Of every pair of arms that were compared, and every column: the paired difference."""
    arms, seeds = results["arms"], results["seeds"]
    for arm, against, what in ASKED:
        if not {arm, against} <= arms.keys():
            continue
        cells = folder / "cells"
        rows = [read_rows([cells / each / f"seed-{s}" for s in seeds]) for each in (arm, against)]
        kept = [each for each in rows if each is not None]
        for who, metric, _ in COLUMNS:
            blocks = arms[arm], arms[against]
            a, b = (block[who][metric]["values"] for block in blocks)
            apart = row_differences(kept, blocks, who, metric) if len(kept) == 2 else None
            told = paired_difference(a, b, apart, bounded=True)
            relative = float(np.mean(a) / np.mean(b) - 1)
            yield {"arm": arm, "against": against, "what": what, "who": who, "metric": metric,
                   "relative": relative, **told}  # fmt: skip


def bars_markdown(found: Mapping[str, Any]) -> str:
    """A row a pair of arms; bold where a difference is shown, by Holm over its column."""
    columns = []
    for who, metric, _ in COLUMNS:
        lines = [x for x in found["pairs"] if (x["who"], x["metric"]) == (who, metric)]
        adjusted = holm(np.array([1.0 if x["p"] is None else x["p"] for x in lines]))
        columns.append([_cell(x, p <= ALPHA) for x, p in zip(lines, adjusted, strict=True)])
    firsts = [x for x in found["pairs"] if (x["who"], x["metric"]) == COLUMNS[0][:2]]
    rows = [["", *(title for _, _, title in COLUMNS)], ["---"] + ["---:"] * len(COLUMNS)]
    for line, *cells in zip(firsts, *columns, strict=True):
        rows.append([f"`{line['arm']}` − `{line['against']}`: {line['what']}", *cells])
    covers = " and ".join(dict.fromkeys(x["covers"] or "nothing" for x in found["pairs"]))
    return (
        "\n".join(f"| {' | '.join(row)} |" for row in rows)
        + f"\n\nn = {found['n']} seeds, paired; 95 % intervals over {covers}. Bold where a "
        f"difference is shown, by Holm at 5 % over the {len(firsts)} rows of its column.\n"
    )


def _cell(line: Mapping[str, Any], shown: bool) -> str:
    sure = "**" if shown else ""
    cell = f"{sure}{100 * line['mean']:+.2f}{sure}"
    if line["ci95"]:
        low, high = (100 * end for end in line["ci95"])
        cell += f" [{low:+.2f}, {high:+.2f}]"
    return cell


if __name__ == "__main__":
    main()
