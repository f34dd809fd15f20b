"""Which rows have the same largest features: a table of sets against every pair. See README.md.

python benchmarks/discovery/ranking.py --write-readme
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "speed"))  # the clock and the page

import torch
from page import conditions, markdown_table, options, publish
from timing import environment, interleave, pin, row, summary
from torch import Tensor

from peerlearn.objectives.ranking_statistics import same_top_k, top_k_columns

README = Path(__file__).with_name("README.md")
TABLE, PAIRS = "table of sets", "every pair"
TARGET = ("<=", 1 / 20)
ROWS, WIDTH, K = 4096, 512, 5


def features(clusters: int, spread: float) -> Tensor:
    """Rows around `clusters` centres, without negative entries as after a ReLU."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(clusters, WIDTH, generator=generator)
    which = torch.randint(clusters, (ROWS,), generator=generator)
    return (centres[which] + spread * torch.randn(ROWS, WIDTH, generator=generator)).relu()


#: What the rows are like, by name of a section.
SECTIONS: dict[str, tuple[str, Callable[[], Tensor]]] = {
    "apart": ("nearly every row has a set of its own", lambda: features(ROWS, 1.0)),
    "clusters": ("20 classes of rows", lambda: features(20, 0.02)),
    "ties": ("features of few values, every row tied", lambda: features(20, 0.5).mul(2).round()),
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
    arguments = options(__doc__, list(SECTIONS), README.with_name("ranking.json")).parse_args()
    publish(
        arguments,
        README,
        lambda: measure(arguments.threads, arguments.rounds, arguments.only),
        markdown,
    )


def measure(threads: int, rounds: int, only: list[str]) -> dict[str, Any]:
    """Every section."""
    pin(threads)
    results: dict[str, Any] = {"environment": environment(threads), "rounds": rounds}
    return results | {"lines": [measured(section, rounds) for section in only]}


def measured(section: str, rounds: int) -> dict[str, Any]:
    """One section, as ranking.json has it; the two must agree exactly."""
    what, make = SECTIONS[section]
    x = make()
    direct = every_pair_of_ties if section == "ties" else every_pair
    if not torch.equal(same_top_k(x, K), direct(x)):
        raise SystemExit(f"{section}: the two disagree")
    works = {TABLE: lambda: same_top_k(x, K), PAIRS: lambda: direct(x)}
    samples = interleave(works, rounds)
    sets = len(torch.unique(top_k_columns(x, K), dim=0))
    line = row(what, samples, TABLE, PAIRS, TARGET)
    return line | {"works": summary(samples), "sets": sets}


def markdown(results: dict[str, Any]) -> str:
    """The table of the page."""
    header = ["rows", "sets", "ratio", "quartiles", "table, ms", "pairs, ms", "target", ""]
    rows = []
    for line in results["lines"]:
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
    about = f"{ROWS} rows of {WIDTH} features, k = {K}. {conditions(results)}"
    return "\n".join([about, "", *markdown_table(header, rows)]) + "\n"


if __name__ == "__main__":
    main()
