"""How fast the recipe trains and ranks, and what memory many items take. See README.md.

python benchmarks/music/speed.py --threads 1 --write-readme
"""

import argparse
import importlib.util
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.music.large import ONE, large_lines
from benchmarks.music.worlds import saved
from benchmarks.speed.page import Results, Section, conditions, options, publish
from benchmarks.speed.tables import RATIOS, WORKS, markdown_table, ratio_rows, work_rows
from benchmarks.speed.timing import Work, interleave, row, summary
from peerlearn.engine.trainer import Trainer
from peerlearn.systems.registry import find_recipe

README = Path(__file__).with_name("README.md")
OURS, RIVAL = "peerlearn", "torch-geometric"
USERS, ITEMS, PAIRS = 1_900, 17_600, 90_000
"""As in Last.fm."""
EPOCHS, DIM, LAYERS = 8, 64, 3
TARGET = (">=", 1.5)


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    sections: dict[str, Section] = {"epoch": epoch, "large": large}
    arguments = options(__doc__, sections, README.with_name("speed.json")).parse_args()
    publish(arguments, README, sections, markdown)


def epoch(arguments: argparse.Namespace) -> dict[str, Any]:
    """Training epochs of LightGCN by pairs (BPR), each followed by a ranking of all items."""
    name = f"{RIVAL} / {OURS}: an epoch with evaluation"
    if importlib.util.find_spec("torch_geometric") is None:
        return {"lines": [{"name": name, "skipped": f"{RIVAL} is not installed"}]}
    from importlib.metadata import version

    from benchmarks.music.geometric import Loop

    small = arguments.smallest
    users, items, pairs = (50, 80, 600) if small else (USERS, ITEMS, PAIRS)
    with tempfile.TemporaryDirectory() as folder:
        file = saved(folder, users, items, pairs, users)
        # As many as are asked for, and one to warm up: a trainer runs once.
        ready = [_trainer(file, arguments.threads) for _ in range(arguments.rounds + 1)]
    data = ready[0].task.data  # type: ignore[union-attr]
    batch = -(-len(data.train) // len(ready[0].stages[0].loader))  # type: ignore[union-attr]
    size = {"embedding_dim": DIM, "num_layers": LAYERS}
    loop = Loop(data.train, data.val, data.users, data.items, batch, **size)

    def theirs() -> None:
        for _ in range(EPOCHS):
            loop.epoch()
            loop.evaluate()

    works: dict[str, Work] = {OURS: lambda: ready.pop().run(), RIVAL: theirs}
    samples = interleave(works, arguments.rounds)
    line = row(name, samples, RIVAL, OURS, TARGET) | {"works": summary(samples)}
    what = f"{data.users:,} users, {data.items:,} items, {len(data.train):,} training pairs"
    return {"lines": [line], "details": [f"{RIVAL} {version('torch-geometric')}", what]}


def _trainer(file: str, threads: int) -> Trainer:
    recipe, given = find_recipe("music")
    one = {
        "model": "branch",
        "arguments": {"alpha": 0, "scores": "dot", "dim": DIM, "layers": LAYERS},
    }
    words = ONE | {
        "arms": {},
        "data": file,
        "epochs": EPOCHS,
        "peers": {"one": one},
        "negatives": 1024,
    }
    changes = {
        "threads": threads,
        "objective.loss": "bpr",
        "lr": 0.001,
        "lr_schedule": "constant",
        "evaluation.every": 1,
    }
    return recipe.build(recipe.resolve(dict(given) | words, changes))


def large(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ranking and training with hundreds of thousands of items, in processes of their own."""
    return {"loads": large_lines(arguments.threads, arguments.smallest)}


def markdown(results: Results) -> str:
    """What the page shows."""
    parts: list[str] = []
    table = partial(markdown_table)
    if lines := results.get("epoch", {}).get("lines"):
        parts += table(RATIOS, ratio_rows(lines))
        parts += ["", *table(WORKS, work_rows(lines)), ""]
    if loads := results.get("large", {}).get("loads"):
        header = ["", "users", "items", "interactions", "seconds", "peak GB", "target", ""]
        parts += [*table(header, [_cells(each) for each in loads]), ""]
    return "\n".join([*parts, conditions(results), ""])


def _cells(load: dict[str, Any]) -> list[str]:
    sizes = [f"{load[name]:,}" for name in ("users", "items", "pairs")]
    taken = [f"{load['seconds']:.1f}", f"{load['peak_gb']:.2f}"]
    return [load["name"], *sizes, *taken, load["target"], "met" if load["met"] else "missed"]


if __name__ == "__main__":
    main()
