"""Do intervals hold what they say, and how often is something marked where nothing differs?

    python benchmarks/intervals/simulate.py --write-readme

Comparisons are made up, so that the truth is known: see `worlds.py`. Beside the method of
`peerlearn.report.intervals` stands a Student interval over seeds, of every metric by itself.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import numpy as np
from numpy.typing import NDArray

from benchmarks.intervals.worlds import SHARES, WORLDS, World, logits, looks, normal_tables, scores
from benchmarks.speed.page import fill
from benchmarks.speed.timing import environment
from peerlearn.report.intervals import ALPHA, Crossed, OverSeeds, crossed, holm, p_value
from peerlearn.report.row_tables import calibration_scores

OUT = Path(__file__).with_name("simulation.json")
SEEDS = (3, 5, 8)
METRICS = ("accuracy", "nll", "brier")
PORTION = 50
MOST_ECE = 4
"""Portions of which calibration errors are taken: bins of every training by itself are slow."""
GAIN = 0.08  # of the logit; about 0.7 points of accuracy


def main() -> None:
    """Simulate, write the result file and, where asked, the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--comparisons", type=int, default=2000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smallest", action="store_true", help="shows only that it runs")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--write-readme", action="store_true", help="fill in the page's results")
    arguments = parser.parse_args()
    if arguments.smallest and (arguments.out == OUT or arguments.write_readme):
        parser.error("--smallest makes no results for the page; give another --out")
    small = arguments.smallest
    count = PORTION if small else arguments.comparisons
    worlds = WORLDS[:1] if small else WORLDS
    draw, began = np.random.default_rng(arguments.seed), time.monotonic()
    found = {
        "command": f"python benchmarks/intervals/simulate.py --comparisons {count} "
        f"--seed {arguments.seed}",
        "environment": environment(1),
        "comparisons": count,
        "normal": [normal(seeds, 100 * count) for seeds in SEEDS],
        "coverage": [
            line
            for world in worlds
            for rows in ((20,) if small else (100, 500))
            for seeds in SEEDS
            for line in coverage(world, rows, seeds, count // 2, draw)
        ],
        "false": [
            false_claims(world, 20 if small else 100, seeds, count, draw)
            for world in worlds
            for seeds in SEEDS
        ],
        "power": [power(20 if small else 2000, seeds, count // 8, draw) for seeds in SEEDS],
    }
    found["seconds"] = round(time.monotonic() - began, 1)
    text = json.dumps(found, indent=1, allow_nan=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(markdown(found))
    if arguments.write_readme:
        fill(Path(__file__).with_name("README.md"), markdown(found))


def normal(seeds: int, count: int) -> dict[str, Any]:
    """Coverage in an exact normal model, by what the variance is of."""
    held = []
    for place, shares in enumerate(SHARES):
        found, truth = normal_tables(shares, seeds, 200, count, place)
        held.append(_held(found, truth))
    return {"seeds": seeds, "rows": 200, "shares": SHARES, "held": held}


def coverage(
    world: World, rows: int, seeds: int, count: int, draw: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Coverage of the difference of two mean peers, by metric; the truth is 0."""
    ours: dict[str, list[float]] = {}
    student: dict[str, list[float]] = {}
    for portion in range(-(-count // PORTION)):
        of = scores(logits(world, (PORTION, 2, 2, seeds, rows), draw))
        tables = {name: of[name].mean(2) for name in METRICS}
        if portion < MOST_ECE:
            tables["ece"] = _calibration(of).mean(2)
        for name, table in tables.items():
            found = crossed(table[:, 1] - table[:, 0], bounded=name in ("accuracy", "ece"))
            ours.setdefault(name, []).append(_held(found))
            over_seeds = np.abs(found.mean) <= _student(seeds) * np.sqrt(found.seed)
            student.setdefault(name, []).append(float(over_seeds.mean()))
    for name, held in ours.items():
        yield {
            "world": world.name,
            "rows": rows,
            "seeds": seeds,
            "metric": name,
            "comparisons": PORTION * len(held),
            "held": float(np.mean(held)),
            "held_over_seeds": float(np.mean(student[name])),
        }


def false_claims(
    world: World, rows: int, seeds: int, count: int, draw: np.random.Generator
) -> dict[str, Any]:
    """In how many comparisons of three arms something is marked although nothing differs."""
    marked: list[bool] = []
    over_seeds: list[bool] = []
    for _ in range(-(-count // PORTION)):
        logit = logits(world, (PORTION, 4, 2, seeds, rows), draw)
        marked += list(_marked(looks(logit)).max(-1))
        claimed = np.zeros(PORTION, dtype=bool)
        for metric in METRICS:
            means = looks(logit, metric).mean(-1, dtype=np.float64)  # (N, A, 2, S)
            error = means.std(-1, ddof=1) / seeds**0.5
            claims = np.abs(means.mean(-1)) > _student(seeds) * error
            claimed |= claims.any((-1, -2))
        over_seeds += list(claimed)
    return {
        "world": world.name,
        "rows": rows,
        "seeds": seeds,
        "comparisons": len(marked),
        "marked": float(np.mean(marked)),
        "marked_over_seeds": float(np.mean(over_seeds)),
    }


def power(rows: int, seeds: int, count: int, draw: np.random.Generator) -> dict[str, Any]:
    """How often a true gain of the mean peer is marked, where one arm was compared."""
    marked, gains, differing = [], [], []
    for _ in range(-(-count // PORTION)):
        logit = logits(WORLDS[0], (PORTION, 2, 2, seeds, rows), draw)
        logit[:, 1] += np.float32(GAIN)
        table = looks(logit)
        marked += _marked(table)[:, 0].tolist()
        gains.append(float(table[:, :, 0].mean()))
        differing.append(float((table[:, :, 0, 0] != 0).mean()))
    return {
        "seeds": seeds,
        "rows": rows,
        "comparisons": len(marked),
        "gain": float(np.mean(gains)),
        "differing_with_a_seed": float(np.mean(differing)),
        "marked": float(np.mean(marked)),
    }


def _marked(table: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, A · 2): which looks are marked, of differences (N, A, 2, S, R)."""
    found = crossed(table, bounded=True)
    p = p_value(found, (table != 0).any(-2).sum(-1))
    return np.asarray(holm(p.reshape(len(p), -1)) <= ALPHA)


def _held(found: Crossed, truth: float = 0.0) -> float:
    return float((np.abs(found.mean - truth) <= found.half()).mean())


def _student(seeds: int) -> float:
    return float(OverSeeds(0.0, 1.0, seeds).half())


def _calibration(of: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Row scores of the calibration error of every training by itself."""
    confidence, right = (of[name] for name in ("confidence", "accuracy"))
    rows = confidence.shape[-1]
    pairs = zip(confidence.reshape(-1, rows), right.reshape(-1, rows), strict=True)
    found = np.stack([calibration_scores(*pair) for pair in pairs])
    return np.asarray(found.reshape(confidence.shape), dtype=np.float64)


def markdown(found: Mapping[str, Any]) -> str:
    """The tables of the page."""
    lines = ["| coverage at a nominal 95 % | seeds | this | lowest | over seeds | lowest |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for line in found["normal"]:
        held = line["held"]
        mean = _percent(float(np.mean(held)))
        lines.append(f"| normal model | {line['seeds']} | {mean} | {_percent(min(held))} | | |")
    kinds = dict.fromkeys((line["metric"], line["seeds"]) for line in found["coverage"])
    for metric, seeds in kinds:
        of = [x for x in found["coverage"] if (x["metric"], x["seeds"]) == (metric, seeds)]
        numbers = []
        for key in ("held", "held_over_seeds"):
            held = [line[key] for line in of]
            numbers += [_percent(float(np.mean(held))), _percent(min(held))]
        lines.append(f"| {metric} | {seeds} | {' | '.join(numbers)} |")
    lines += ["", "| false claims, nothing differs | seeds | marked | over seeds, every metric |"]
    lines.append("| --- | ---: | ---: | ---: |")
    lines += [
        f"| {line['world']} | {line['seeds']} | {_percent(line['marked'])} | "
        f"{_percent(line['marked_over_seeds'])} |"
        for line in found["false"]
    ]
    lines += ["", "| a true gain | seeds | rows that differ | marked |"]
    lines.append("| --- | ---: | ---: | ---: |")
    lines += [
        f"| {100 * line['gain']:+.2f} points on {line['rows']:,} rows | {line['seeds']} | "
        f"{_percent(line['differing_with_a_seed'])} | {_percent(line['marked'])} |"
        for line in found["power"]
    ]
    return "\n".join([*lines, "", f"In percent. Made by `{found['command']}`."])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
