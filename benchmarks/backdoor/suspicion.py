"""How often is a class called suspicious, of clean networks and of poisoned ones?

    python benchmarks/backdoor/suspicion.py --networks 50
    python benchmarks/backdoor/suspicion.py --data cifar10 --model resnet8 --networks 20
    python benchmarks/backdoor/suspicion.py --attack blended --first 100 --networks 10

Small networks are trained by recipe `backdoor`, as many on clean rows as on rows that an attack has
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
NORMAL = 1.96


def main() -> None:
    """Train, look at every network, write the result file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--networks", type=int, default=20, help="of each kind")
    parser.add_argument("--data", default="digits", help="as --data of peerlearn run")
    parser.add_argument("--model", default="cnn", help="as peers.NAME.model")
    parser.add_argument("--width", type=float, default=0.5, help="of the network")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--clean", type=float, default=0.1, help="share or number, as data.clean")
    parser.add_argument("--attack", default="badnets", help="as data.attack.kind")
    parser.add_argument("--train-size", type=int, help="as data.train_size")
    parser.add_argument("--first", type=int, default=0, help="seed of the first network")
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
    """What the check says of every network, one after the other."""
    classes = loaded(arguments, 0, None).info.classes
    for seed in range(arguments.first, arguments.first + arguments.networks):
        for target in (None, seed % classes):
            yield look(loaded(arguments, seed, target), target)


def loaded(arguments: argparse.Namespace, seed: int, target: int | None) -> BackdoorTask:
    """A network to be trained on rows that are poisoned to reach a target, or on clean ones."""
    peer = {"model": arguments.model, "arguments": {"width": arguments.width}}
    attack = None if target is None else {"kind": arguments.attack, "target": target}
    clean = int(arguments.clean) if arguments.clean >= 1 else arguments.clean
    data = {"name": arguments.data, "clean": clean, "attack": attack}
    changes = {
        "data": data | {"train_size": arguments.train_size},
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
    judge = Judge(data.clean, data.val, data.class_names, task.normalisation(), seed)
    it = judge.suspicion(trainer.cohort.peers[VICTIM])
    return {
        "seed": seed,
        "target": target,
        "accuracy": measured["accuracy"],
        "asr": measured.get("asr"),
        "suspect": it.suspect,
        "index": it.index,
        "alarm": it.threshold,
        "areas": it.areas,
    }


def suspicion_markdown(found: Mapping[str, Any]) -> str:
    """Alarms of clean networks, of poisoned ones, and how often the right class is named.

    Args:
        found: the result file.
    """
    clean = [each for each in found["networks"] if each["target"] is None]
    poisoned = [each for each in found["networks"] if each["target"] is not None]
    false = sum(each["suspect"] is not None for each in clean)
    true = sum(each["suspect"] is not None for each in poisoned)
    named = sum(each["suspect"] == each["target"] for each in poisoned)
    highest, lowest = max(e["index"] for e in clean), min(e["index"] for e in poisoned)
    lines = [
        "| networks | alarm | the target is named | index |",
        "| --- | --- | --- | --- |",
        f"| clean | {share(false, len(clean))} | | at most {highest:.1f} |",
        f"| poisoned | {share(true, len(poisoned))} | {share(named, len(poisoned))} | "
        f"at least {lowest:.1f} |",
    ]
    told = found["options"]
    sides = [fmean(each["accuracy"] for each in side) for side in (clean, poisoned)]
    lines.append(
        f"\n`{told['model']}` on {told['data']}: ACC {sides[0]:.1%} of clean networks, "
        f"{sides[1]:.1%} of poisoned ones, whose ASR is {fmean(p['asr'] for p in poisoned):.1%}; "
        f"means. Alarm from an index of {clean[0]['alarm']:.2f} on. Intervals are Wilson's, 95 %."
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
