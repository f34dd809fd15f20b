"""How often is a class called suspicious, of clean networks and of poisoned ones?

    python benchmarks/backdoor/suspicion.py --networks 50
    python benchmarks/backdoor/suspicion.py --data cifar10 --model resnet8 --networks 20

Small networks are trained by recipe `backdoor`, as many on clean rows as on rows that BadNets has
poisoned, whose target is each class in turn; then the check of `peerlearn purify` looks at each.
Intervals are Wilson's, 95 %.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from peerlearn.provenance import made_by
from peerlearn.systems.backdoor.config import VICTIM
from peerlearn.systems.backdoor.evidence import Judge
from peerlearn.systems.backdoor.recipe import BACKDOOR
from peerlearn.systems.backdoor.task import BackdoorTask
from peerlearn.tasks.contract import trainer_of

OUT = Path(__file__).with_name("suspicion.json")
STEPS = 255
BOUNDS = (4, 8, 16)
NORMAL = 1.96


def main() -> None:
    """Train, look at every network, write the result file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--networks", type=int, default=20, help="of each kind")
    parser.add_argument("--data", default="digits", help="as --data of peerlearn run")
    parser.add_argument("--model", default="cnn", help="as peers.NAME.model")
    parser.add_argument("--width", type=float, default=0.5, help="of the network")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--clean", type=float, default=0.1, help="clean rows, as data.clean")
    parser.add_argument("--smallest", action="store_true", help="shows only that it runs")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.smallest:
        if arguments.out == OUT:
            parser.error("--smallest makes no results; give another --out")
        arguments.networks, arguments.epochs, arguments.width = 1, 1, 0.25
    told = {key: it for key, it in vars(arguments).items() if key not in ("out", "smallest")}
    looked_into = list(networks(arguments))
    makers = [made_by(torch.device("cpu"))]
    found = {"options": told, "made_by": makers, "networks": looked_into}
    text = json.dumps(found, indent=1, allow_nan=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(suspicion_markdown(found))


def networks(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the check says of every network, by bound."""
    classes = loaded(arguments, 0, None).info.classes
    for seed in range(arguments.networks):
        for target in (None, seed % classes):
            yield look(loaded(arguments, seed, target), target)


def loaded(arguments: argparse.Namespace, seed: int, target: int | None) -> BackdoorTask:
    """A network to be trained on rows that are poisoned to reach a target, or on clean ones."""
    peer = {"model": arguments.model, "arguments": {"width": arguments.width}}
    attack = None if target is None else {"kind": "badnets", "target": target}
    changes = {
        "data": {"name": arguments.data, "clean": arguments.clean, "attack": attack},
        "peers": {VICTIM: peer, "student": peer},
        "stages.standard.epochs": arguments.epochs,
        "seed": seed,
        "threads": 1,
        "precision": "fp32",
    }
    given = BACKDOOR.defaults() | {"defence": "none", "transfer": "none", "arms": {}}
    task = BACKDOOR.task.load(BACKDOOR.resolve(given, changes))
    assert isinstance(task, BackdoorTask)
    return task


def look(task: BackdoorTask, target: int | None) -> dict[str, Any]:
    """One network: how good it is, how well the backdoor works, and what the check says."""
    trainer, data, seed = trainer_of(task), task.data, task.config.seed
    measured = trainer.run().block["peers"][VICTIM]
    assert data.clean is not None, "there are clean rows in every such data set"
    checks = {}
    for bound in BOUNDS:
        how = task.normalisation(), bound / STEPS, seed
        it = Judge(data.clean, data.val, data.class_names, *how).suspicion(
            trainer.cohort.peers[VICTIM]
        )
        checks[str(bound)] = {"suspect": it.suspect, "index": it.index, "alarm": it.threshold}
    return {
        "seed": seed,
        "target": target,
        "accuracy": measured["accuracy"],
        "asr": measured.get("asr"),
        "checks": checks,
    }


def suspicion_markdown(found: Mapping[str, Any]) -> str:
    """A row for each bound: alarms of clean networks, of poisoned ones, and the right class.

    Args:
        found: the result file.
    """
    clean = [each for each in found["networks"] if each["target"] is None]
    poisoned = [each for each in found["networks"] if each["target"] is not None]
    lines = [
        "| bound | clean networks: alarm | poisoned: alarm | poisoned: the target is named |",
        "| --- | --- | --- | --- |",
    ]
    for bound in map(str, BOUNDS):
        false = sum(each["checks"][bound]["suspect"] is not None for each in clean)
        true = sum(each["checks"][bound]["suspect"] is not None for each in poisoned)
        named = sum(each["checks"][bound]["suspect"] == each["target"] for each in poisoned)
        shares = (share(false, len(clean)), share(true, len(poisoned)), share(named, len(poisoned)))
        lines.append(f"| {bound} / {STEPS} | {' | '.join(shares)} |")
    told = found["options"]
    sides = [fmean(each["accuracy"] for each in side) for side in (clean, poisoned)]
    lines.append(
        f"\n`{told['model']}` on {told['data']}: ACC {sides[0]:.1%} of clean networks, "
        f"{sides[1]:.1%} of poisoned ones, whose ASR is {fmean(p['asr'] for p in poisoned):.1%}; "
        "means. Intervals are Wilson's, 95 %."
    )
    return "\n".join(lines) + "\n"


def share(hits: int, of: int) -> str:
    """A share with its interval: `3 of 20, 5 % to 36 %`."""
    low, high = wilson(hits, of)
    return f"{hits} of {of}, {low:.0%} to {high:.0%}"


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927)."""
    rate, square = hits / of, NORMAL**2
    middle = (rate + square / (2 * of)) / (1 + square / of)
    half = NORMAL / (1 + square / of) * math.sqrt(rate * (1 - rate) / of + square / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


if __name__ == "__main__":
    main()
