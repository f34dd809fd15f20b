"""What missing modalities cost, and whom friends help. See README.md.

    python benchmarks/music/missing.py --seeds 0-2

Which items are hidden, and which users are cut to few training items, is fixed: seeds change
initial weights and batches alone. In `full` a modality that is removed leaves a branch of ids.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import numpy as np

from benchmarks.cells import difference_cells
from benchmarks.music.arms import trainer_of
from benchmarks.speed.timing import environment
from peerlearn.data.catalogue import roots
from peerlearn.files import write_text

HERE = Path(__file__).parent
RATES = (0.0, 0.2, 0.4, 0.6, 0.8)
BRANCHES = {
    "tags": ("tags",),
    "lyrics": ("lyrics",),
    "audio": ("acoustic", "audio_vggish"),
    "speech": ("audio_whisper",),
}
WITH_CONTENT = ("full", "concatenation")
WITHOUT = "lightgcn-social-wide"
COLD = ("lightgcn", "lightgcn-social", "no-social", "full", "ease", "ease-friends", "friends")
SECTIONS = ("rates", "removed", "cold")
FEW, SHARE = 5, 0.2
"""Training items that are left to this share of the users."""
METRICS = ("recall@50", "ndcg@50", "recall@50:cold5", "ndcg@50:cold5")
SMALLEST = {"epochs": 1, "negatives": 16, "batch_size": 2048}


class Cell(NamedTuple):
    """A training with one seed, and what it shows."""

    section: str
    what: str
    arm: str
    changes: Mapping[str, Any]


def main() -> None:
    """Train what is asked for and not yet in the result file; it is written after every cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-2", help="a range, such as 0-2")
    parser.add_argument("--out", type=Path, default=HERE / "missing.json")
    parser.add_argument("--only", nargs="+", choices=SECTIONS)
    parser.add_argument("--smallest", action="store_true", help="an epoch of a cell a section")
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out.parent == HERE:
        raise SystemExit("--smallest makes no results for the page; give another --out")
    first, _, last = arguments.seeds.partition("-")
    found: dict[str, Any] = {"environment": environment(1)}
    if arguments.out.exists():
        found = json.loads(arguments.out.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        cells = [c for c in _cells(folder) if not arguments.only or c.section in arguments.only]
        if arguments.smallest:
            cells = list({cell.section: cell for cell in reversed(cells)}.values())
        for seed in range(int(first), int(last or first) + 1):
            for cell in cells:
                place = found.setdefault(cell.section, {}).setdefault(cell.what, {})
                values = place.setdefault(cell.arm, {})
                if str(seed) not in values:
                    less = SMALLEST if arguments.smallest else {}
                    values[str(seed)] = _trained(cell, seed, less)
                    write_text(arguments.out, json.dumps(found, indent=1) + "\n")
                    print(cell.section, cell.what, cell.arm, seed, values[str(seed)], flush=True)
    if not arguments.smallest and "rates" in found:  # beside which all is told
        print(missing_markdown(found))


def _cells(folder: str) -> Iterator[Cell]:
    yield Cell("rates", "0", WITHOUT, {})
    for rate in RATES:
        for arm in WITH_CONTENT:
            yield Cell("rates", f"{rate:g}", arm, {"data.missing": rate})
    for name, parts in BRANCHES.items():
        alone = {f"peers.{name}.arguments": {"modality": "none"}, f"peers.{name}.groups": {}}
        yield Cell("removed", name, "full", alone)
        left = [part for other in BRANCHES if other != name for part in BRANCHES[other]]
        joint = {"peers.joint.arguments.modality": "+".join(left)}
        yield Cell(
            "removed", name, "concatenation", {"data.without": ["text_minilm", *parts]} | joint
        )
    cut = _cut(Path(folder))
    for arm in COLD:
        yield Cell("cold", f"cut to {FEW}", arm, {"data.name": cut})


def _trained(cell: Cell, seed: int, less: Mapping[str, Any]) -> dict[str, float]:
    words = {"seed": seed, **cell.changes, **less}
    block = trainer_of(HERE / "lastfm.yaml", cell.arm, words).run().block
    return {name: round(block["ensemble"][name], 6) for name in METRICS}


def _cut(folder: Path) -> str:
    """Last.fm with a share of the users, drawn once, cut to few training items each."""
    (source,) = [f for root in roots(None) if (f := Path(root) / "music" / "lastfm.npz").is_file()][
        :1
    ]
    with np.load(source, allow_pickle=False) as file:
        arrays = dict(file)
    random = np.random.default_rng(0)
    user, test = arrays["user"], arrays["test"]
    trained = np.bincount(user[~test], minlength=len(arrays["user_id"]))
    able = np.flatnonzero(trained > FEW)
    chosen = random.choice(able, int(SHARE * len(able)), replace=False)
    order = random.permutation(len(user))
    kept = np.ones(len(user), bool)
    for each in chosen:
        rows = order[(user[order] == each) & ~test[order]]
        kept[rows[FEW:]] = False
    for name in ("user", "item", "plays", "test"):
        arrays[name] = arrays[name][kept]
    np.savez(folder / "lastfm.npz", **arrays)
    features = source.with_name("lastfm_features.npz")
    (folder / features.name).write_bytes(features.read_bytes())
    return str(folder / "lastfm.npz")


def missing_markdown(found: Mapping[str, Any]) -> str:
    """What is lost against nothing missing, and what cold users get."""
    parts = []
    whole = found.get("rates", {}).get("0", {})
    for section, title in (("rates", "missing"), ("removed", "removed")):
        arms = [arm for arm in WITH_CONTENT if arm in whole]
        rows = [
            [
                title,
                *(f"`{arm}`, Recall@50 %, lost" for arm in arms),
                "half of the second − the first",
            ]
        ]
        rows.append(["---"] + ["---:"] * (len(arms) + 1))
        for what, by_arm in found.get(section, {}).items():
            if what != "0" and {*WITH_CONTENT} <= by_arm.keys():
                rows.append([_title(what), *_lost(by_arm, whole)])
        if len(rows) > 2:
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    for what, by_arm in found.get("cold", {}).items():
        rows = [
            [f"users {what} items", "Recall@50 %", "NDCG@50 %", "of all users, Recall@50 %"],
            ["---"] + ["---:"] * 3,
        ]
        for arm, by_seed in by_arm.items():
            shown = ("recall@50:cold5", "ndcg@50:cold5", "recall@50")
            rows.append([f"`{arm}`", *(_mean(by_seed, name) for name in shown)])
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    sections = [found[name] for name in SECTIONS if name in found]
    seeds = {len(v) for s in sections for by in s.values() for v in by.values()}
    parts.append(
        f"n = {min(seeds, default=0)} seeds, paired; 95 % intervals over seeds only. What is "
        "hidden is fixed; items without a modality are ranked by ids and listeners. Not tested."
    )
    return "\n\n".join(parts) + "\n"


def _title(what: str) -> str:
    return f"{100 * float(what):.0f} %" if what.replace(".", "").isdigit() else what


def _lost(by_arm: Mapping[str, Any], whole: Mapping[str, Any]) -> list[str]:
    lost = []
    for arm in WITH_CONTENT:
        seeds = [seed for seed in by_arm[arm] if seed in whole[arm]]
        lost.append([[run[arm][s]["recall@50"] for s in seeds] for run in (whole, by_arm)])
    cells = [difference_cells([(before, after)], tested=False)[0] for before, after in lost]
    ours, theirs = ([b - a for b, a in zip(*each, strict=True)] for each in lost)
    half = [each / 2 for each in theirs]
    return [*cells, difference_cells([(half, ours)], tested=False)[0]]


def _mean(by_seed: Mapping[str, Mapping[str, float]], name: str) -> str:
    values: Sequence[float] = [each[name] for each in by_seed.values()]
    spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}"


if __name__ == "__main__":
    main()
