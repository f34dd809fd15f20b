"""Which rows have the same largest features: a table of sets against every pair. See README.md.

python benchmarks/discovery/ranking.py --write-readme
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import torch
from torch import Tensor

from benchmarks.speed.page import Results, conditions, lines_of, options, publish
from benchmarks.speed.tables import markdown_table
from benchmarks.speed.timing import interleave, row, summary
from peerlearn.tasks.discovery.objectives.ranking_statistics import same_top_k, top_k_columns

README = Path(__file__).with_name("README.md")
TABLE, PAIRS = "table of sets", "every pair"
TARGET = ("<=", 1 / 20)
ROWS, FEWEST_ROWS, WIDTH, K = 4096, 64, 512, 5


def features(rows: int, clusters: int, spread: float) -> Tensor:
    """`rows` rows around `clusters` centres, without negative entries as after a ReLU."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(clusters, WIDTH, generator=generator)
    which = torch.randint(clusters, (rows,), generator=generator)
    return (centres[which] + spread * torch.randn(rows, WIDTH, generator=generator)).relu()


#: What the rows are like, by name of a section.
SECTIONS: dict[str, tuple[str, Callable[[int], Tensor]]] = {
    "apart": ("nearly every row has a set of its own", lambda rows: features(rows, rows, 1.0)),
    "clusters": ("20 classes of rows", lambda rows: features(rows, 20, 0.02)),
    "ties": (
        "features of few values, every row tied",
        lambda rows: features(rows, 20, 0.5).mul(2).round(),
    ),
}


def every_pair(x: Tensor) -> Tensor:
    """The definition: sorted columns of the largest features, of every two rows.

    `torch.topk` where it decides alike, which is where no features are equal.
    """
    columns = x.topk(K, 1).indices.sort(1).values
    return (columns[:, None] == columns[None]).all(-1)


def every_pair_of_ties(x: Tensor) -> Tensor:
    """The same with a stable sort, so that of equal features the first are taken."""
    columns = torch.sort(x, dim=1, descending=True, stable=True).indices[:, :K].sort(1).values
    return (columns[:, None] == columns[None]).all(-1)


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    sections = {name: partial(measure, name) for name in SECTIONS}
    arguments = options(__doc__, sections, README.with_name("ranking.json")).parse_args()
    publish(arguments, README, sections, markdown)


def measure(section: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One section."""
    rows = FEWEST_ROWS if arguments.smallest else ROWS
    return {"lines": [measured(section, rows, arguments.rounds)]}


def measured(section: str, rows: int, rounds: int) -> dict[str, Any]:
    """One section, as ranking.json has it; the two must agree exactly."""
    what, make = SECTIONS[section]
    x = make(rows)
    direct = every_pair_of_ties if section == "ties" else every_pair
    if not torch.equal(same_top_k(x, K), direct(x)):
        raise SystemExit(f"{section}: the two disagree")
    works = {TABLE: lambda: same_top_k(x, K), PAIRS: lambda: direct(x)}
    samples = interleave(works, rounds)
    sets = len(torch.unique(top_k_columns(x, K), dim=0))
    line = row(what, samples, TABLE, PAIRS, TARGET)
    return line | {"works": summary(samples), "sets": sets}


def markdown(results: Results) -> str:
    """The table of the page."""
    header = ["rows", "sets", "ratio", "quartiles", "table, ms", "pairs, ms", "target", ""]
    rows = []
    for line in lines_of(results):
        ratio = line["ratio"]
        rows.append(
            [
                line["name"],
                str(line["sets"]),
                f"1/{1 / ratio['median']:.0f}",
                f"1/{1 / ratio['q25']:.0f} – 1/{1 / ratio['q75']:.0f}",
                f"{line['works'][TABLE]['wall_ms']:.1f}",
                f"{line['works'][PAIRS]['wall_ms']:.0f}",
                "<= 1/20",
                "met" if line["met"] else "missed",
            ]
        )
    about = f"{ROWS} rows of {WIDTH} features, k = {K}."
    return "\n".join([about, "", conditions(results), "", *markdown_table(header, rows)]) + "\n"


if __name__ == "__main__":
    main()
