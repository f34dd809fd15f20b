"""What users are suggested whom a recommender was not trained with. See README.md.

    python benchmarks/music/newcomers.py --seeds 1-3

A tenth of the users of Last.fm, drawn once, is taken out of the data before training; then their
training items and friendships are told, as by `peerlearn recommend --pairs --friends`, and Recall
of their test items is measured. Beside it: the same users, where the recommender was trained with
them. How newcomers are fitted was chosen on other users and another seed.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import numpy as np
from torch import nn

from benchmarks.music.arms import trainer_of
from benchmarks.speed.timing import environment
from peerlearn.data.catalogue import roots
from peerlearn.engine.trainer import Trainer
from peerlearn.files import write_text
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.models.propagation import SocialGraph
from peerlearn.tasks.recommendation.newcomers import read_since, with_newcomers
from peerlearn.tasks.recommendation.recommending import suggestions, user_numbers

HERE = Path(__file__).parent
ARMS = ("popularity", "ease-friends", "lightgcn", "lightgcn-social", "full")
SHARE, PLACES = 0.1, 50
SMALLEST = {"epochs": 1, "negatives": 16, "batch_size": 2048}
Arrays = dict[str, Any]


def main() -> None:
    """Train every arm with and without the newcomers; write the result file and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-3", help="a range, such as 0-2")
    parser.add_argument("--out", type=Path, default=HERE / "newcomers.json")
    parser.add_argument("--smallest", action="store_true", help="one epoch of two arms")
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out.parent == HERE:
        raise SystemExit("--smallest makes no results for the page; give another --out")
    first, _, last = arguments.seeds.partition("-")
    arms, less = (ARMS[:3:2], SMALLEST) if arguments.smallest else (ARMS, {})
    source = next(f for root in roots(None) if (f := Path(root) / "music" / "lastfm.npz").is_file())
    with np.load(source, allow_pickle=False) as file:
        arrays = dict(file)
    users = len(arrays["user_id"])
    gone = np.zeros(users, bool)
    gone[np.random.default_rng(1).choice(users, int(SHARE * users), replace=False)] = True
    found: dict[str, Any] = {"environment": environment(1), "users": int(gone.sum()), "arms": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "lastfm.npz", **without(arrays, gone))
        features = source.with_name("lastfm_features.npz")
        (folder / features.name).symlink_to(features)
        told = since(arrays, gone, folder)
        wanted = test_items(arrays, gone)
        for arm in arms:
            for seed in range(int(first), int(last or first) + 1):
                known = trainer_of(HERE / "lastfm.yaml", arm, {"seed": seed, **less})
                new = trainer_of(
                    HERE / "lastfm.yaml",
                    arm,
                    {"seed": seed, **less, "data.name": str(folder / "lastfm.npz")},
                )
                for what, trainer in (("trained with them", known), ("newcomers", new)):
                    trainer.run()
                    peers, graph, info = _recommender(trainer)
                    if what == "newcomers":
                        later = read_since(info, graph, *told)
                        peers, graph, info = with_newcomers(peers, later), later.graph(), later.info
                    value = recall(peers, graph, info, wanted)
                    found["arms"].setdefault(arm, {}).setdefault(what, []).append(value)
                    print(arm, seed, what, round(value, 4), flush=True)
    write_text(arguments.out, json.dumps(found, indent=1) + "\n")
    print(newcomers_markdown(found))


def _recommender(trainer: Trainer) -> tuple[dict[str, nn.Module], SocialGraph, RecommendationInfo]:
    peers = dict(trainer.cohort.peers.items())
    graph = next(iter(peers.values())).graph
    assert isinstance(graph, SocialGraph) and trainer.task is not None
    return peers, graph, trainer.task.info  # type: ignore[attr-defined]


def without(arrays: Arrays, gone: np.ndarray) -> Arrays:
    """The data set without some users and all that they did."""
    kept = dict(arrays)
    number, rows = np.cumsum(~gone) - 1, ~gone[arrays["user"]]
    for name in ("user", "item", "plays", "test"):
        kept[name] = arrays[name][rows]
    kept["user"] = number[kept["user"]]
    kept["user_id"] = arrays["user_id"][~gone]
    friends, tags = arrays["friends"], arrays["tag_user_item_tag"].astype(np.int64)
    kept["friends"] = number[friends[~gone[friends].any(1)]]
    there = tags[~gone[tags[:, 0]]]
    kept["tag_user_item_tag"] = np.column_stack([number[there[:, 0]], there[:, 1:]])
    del kept["tag_yyyymm"]
    return kept


def since(arrays: Arrays, gone: np.ndarray, folder: Path) -> tuple[Path, Path]:
    """Files of the training pairs of those who were taken out, and of their friendships."""
    users, items = arrays["user_id"], arrays["item_id"]
    rows = gone[arrays["user"]] & ~arrays["test"]
    listened = zip(users[arrays["user"][rows]], items[arrays["item"][rows]], strict=True)
    known = arrays["friends"][gone[arrays["friends"]].any(1)]
    paths = folder / "pairs.csv", folder / "friends.csv"
    for path, header, lines in (
        (paths[0], ("user", "item"), listened),
        (paths[1], ("user", "friend"), zip(users[known[:, 0]], users[known[:, 1]], strict=True)),
    ):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines])
    return paths


def test_items(arrays: Arrays, gone: np.ndarray) -> dict[str, set[str]]:
    """Ids of the test items of those who were taken out, by the id of the user."""
    rows = gone[arrays["user"]] & arrays["test"]
    wanted: dict[str, set[str]] = {}
    for user, item in zip(arrays["user"][rows], arrays["item"][rows], strict=True):
        wanted.setdefault(str(arrays["user_id"][user]), set()).add(str(arrays["item_id"][item]))
    return wanted


def recall(
    peers: Mapping[str, nn.Module],
    graph: SocialGraph,
    info: RecommendationInfo,
    wanted: Mapping[str, set[str]],
) -> float:
    """Mean over users of the part of their wanted items that is among the first suggestions."""
    names = list(wanted)
    found = suggestions(peers, graph, user_numbers(names, info), PLACES)
    parts = [
        len({info.class_names[one.item] for one in each} & wanted[name]) / len(wanted[name])
        for name, each in zip(names, found, strict=True)
    ]
    return float(np.mean(parts))


def newcomers_markdown(found: Mapping[str, Any]) -> str:
    """Recall of the same users, not trained with and trained with."""
    ways = ("newcomers", "trained with them")
    rows = [["arm", *(f"{way}, Recall@{PLACES} %" for way in ways)], ["---", "---:", "---:"]]
    for arm, by_way in found["arms"].items():
        cells = []
        for way in ways:
            values = 100 * np.array(by_way[way])
            spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.2f}{spread}")
        rows.append([f"`{arm}`", *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    seeds = len(next(iter(found["arms"].values()))["newcomers"])
    said = f"{found['users']} users, drawn once; n = {seeds} seeds, ± is their standard deviation."
    return f"{table}\n\n{said}\n"


if __name__ == "__main__":
    main()
