"""How many new classes: the estimate beside the truth, on the features of finished comparisons.

    python benchmarks/discovery/class_count.py runs/discovery-cifar10 runs/discovery-mnist

Each folder is one that `peerlearn compare discovery ...` wrote, with arm `kmeans`, whose stages
before the joint one are taken over; nothing is trained.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from statistics import mean
from typing import Any

from threadpoolctl import threadpool_limits

from peerlearn.engine.run_folder import RunFolder
from peerlearn.plain_yaml import read_yaml
from peerlearn.tasks.discovery.class_estimate import SHARED, count_clusters, pretrained
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.data.registry import load_discovery
from peerlearn.validation import validated

RESULTS = Path(__file__).with_name("class-count.json")
CANDIDATES = range(2, 16)


def main() -> None:
    """Estimate for every seed of every folder, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="of comparisons")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found = [counted(folder) for folder in arguments.folders]
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(counts_markdown(found))


def counted(folder: Path) -> dict[str, Any]:
    """The estimates of one comparison."""
    seeds = {}
    for cell in sorted((folder / "cells" / "kmeans").glob("seed-*/config.yaml")):
        config = validated(DiscoveryConfig, read_yaml(cell), str(cell))
        data = load_discovery(config.data)
        cohort = pretrained(config, data, RunFolder(folder / SHARED), None)
        with threadpool_limits(config.threads):
            seeds[config.seed] = asdict(count_clusters(cohort, data, CANDIDATES, config.seed))
    return {"data": data.name, "truth": data.novel, "known": data.known, "seeds": seeds}


def counts_markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """A row for each data set."""
    lines = [
        "| data | new classes | estimate by seed (BIC) | mean error | by silhouette | by probes |",
        "| --- | ---: | --- | ---: | --- | --- |",
    ]
    for entry in found:
        seeds = entry["seeds"].values()
        counts = [each["count"] for each in seeds]
        error = mean(abs(count - entry["truth"]) for count in counts)
        others = (
            [max(each["scores"], key=itemgetter(which))["count"] for each in seeds]
            for which in ("silhouette", "probe_accuracy")
        )
        estimates, *cells = (", ".join(map(str, numbers)) for numbers in (counts, *others))
        lines.append(
            f"| {entry['data']} | {entry['truth']} | {estimates} | {error:.1f} | "
            f"{' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
