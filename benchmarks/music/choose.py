"""Which settings of each arm do best on validation, each with the same small budget. See README.md.

    python benchmarks/music/choose.py --data lastfm.yaml --out chosen.json

Every arm has three settings, trained once with a seed that no table has. What is measured on
test is not looked at. The branches of `independent` are apart, so each may choose its own.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.music.arms import trainer_of
from peerlearn.files import write_text

HERE = Path(__file__).parent
SEED = 100
METRIC = "ndcg@50"
"""By which the best is chosen, of the ensemble, or of a branch."""

Setting = Mapping[str, Any]


def _each(name: str, *values: Any) -> list[Setting]:
    return [{name: value} for value in values]


_CALM = "peers.*.groups"
_TEMPERATURE = "peers.*.arguments.temperature"
_RATES: list[Setting] = [*_each("lr", 0.03, 0.01, 0.003)]
_TEMPERATURES = _each(_TEMPERATURE, 0.08, 0.12, 0.2)
_CONTENT: list[Setting] = [
    {_CALM: {}},
    *({_CALM: {"content.*": {"lr": rate}}} for rate in (0.01, 0.003)),
]


def _transfer(weight: float, begin: float) -> Setting:
    schedule = {"kind": "linear", "begin": begin, "over": 0.1}
    return {"transfer.weight": weight, "transfer.weight_schedule": schedule}


def _apart(weight: float) -> Setting:
    away = {"knowledge": "other_classes", "weight": weight, "weight_schedule": "constant"}
    return {"transfer.edges": [{"knowledge": "rankings"}, away]}


GRID: dict[str, list[Setting]] = {
    "independent": _CONTENT,
    "full": [_transfer(0.3, 0.5), _transfer(0.3, 0.25), _transfer(1, 0.5)],
    "over-negatives": _each("transfer.weight", 0.1, 0.3, 1),
    "pushed-apart": [_apart(weight) for weight in (0.003, 0.01, 0.03)],
    "own-negatives": _each("peers.*.arguments.negatives", 0.25, 0.5, 0.75),
    "bpr": _each(_TEMPERATURE, 0.12, 0.3, 1),
    "concatenation": _CONTENT,
    "lightgcn-social": _TEMPERATURES,
    "lightgcn-social-wide": _TEMPERATURES,
    "lightgcn": _TEMPERATURES,
    "ngcf": _RATES,
    "vbpr": _RATES,
    "bpr-mf": _RATES,
    "ease": _each("peers.one.arguments.regularisation", 50.0, 100.0, 200.0),
    "ease-friends": _each("peers.one.arguments.friends", 0.25, 0.5, 1.0),
}


def main() -> None:
    """Train every setting of the arms that are asked for; what others gave before stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE / "lastfm.yaml")
    parser.add_argument("--out", type=Path, default=HERE / "chosen.json")
    parser.add_argument("--arms", nargs="+", choices=GRID, default=list(GRID))
    parser.add_argument("--smallest", action="store_true", help="one epoch of two settings")
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out.parent == HERE:
        raise SystemExit("--smallest makes no results for the page; give another --out")
    known: dict[str, Any] = {}
    if arguments.out.exists():
        known = json.loads(arguments.out.read_text(encoding="utf-8"))["tried"]
    for arm in arguments.arms:
        settings = GRID[arm][:2] if arguments.smallest else GRID[arm]
        fewer = {"epochs": 1} if arguments.smallest else {}
        known[arm] = [tried(arguments.data, arm, each, fewer) for each in settings]
        ordered = {name: known[name] for name in GRID if name in known}
        found = {"seed": SEED, "metric": METRIC, "data": arguments.data.stem, "tried": ordered}
        write_text(arguments.out, json.dumps(found, indent=1) + "\n")
        for line in _lines(arm, known[arm]):
            print(line, flush=True)


def tried(file: Path, arm: str, setting: Setting, fewer: Setting) -> dict[str, Any]:
    """What one setting of an arm gives on validation, of every peer and of the ensemble."""
    every = {"evaluation.every": 1000}  # the last epoch is validated too
    words = {"seed": SEED, "data.val_share": "auto", **every, **setting, **fewer}
    trainer = trainer_of(file, arm, words)
    events: list[dict[str, Any]] = []
    trainer.observe = events.append
    began = time.process_time()
    if any(True for _ in trainer.cohort.parameters()):
        trainer.run()
        measured = [event["val"] for event in events if "val" in event][-1]
    else:  # computed: there is no epoch to validate after
        assert trainer.task is not None
        block = trainer.task.evaluate(trainer.forward, "validation")
        measured = {**block["peers"], "ensemble": block["ensemble"]}
    seconds = time.process_time() - began
    kept = ("recall@50", METRIC)
    values = {who: {name: each[name] for name in kept} for who, each in measured.items()}
    return {"setting": dict(setting), "seconds": round(seconds, 1), "val": values}


def best(lines: Sequence[Mapping[str, Any]], who: str = "ensemble") -> Mapping[str, Any]:
    """The one with the highest metric on validation; of equals the first."""
    return max(lines, key=lambda line: line["val"][who][METRIC])


def chosen_markdown(found: Mapping[str, Any]) -> str:
    """What was looked at for every arm, the best of it bold."""
    rows = ["| arm | setting | Recall@50 % | NDCG@50 % |", "| --- | --- | ---: | ---: |"]
    for arm, lines in found["tried"].items():
        apart = [who for who in lines[0]["val"] if who != "ensemble"]
        whose = apart if arm == "independent" else ["ensemble"]
        for who in whose:
            top = best(lines, who)
            for line in lines:
                sure = "**" if line is top else ""
                name = arm if who == "ensemble" else f"{arm}: {who}"
                cells = [
                    f"{sure}{100 * line['val'][who][m]:.2f}{sure}" for m in ("recall@50", METRIC)
                ]
                rows.append(f"| {name} | {_said(line['setting'])} | {' | '.join(cells)} |")
    note = f"On validation, seed {found['seed']}, once; bold is the highest NDCG@50."
    return "\n".join(rows) + f"\n\n{note}\n"


def _said(setting: Setting) -> str:
    return ", ".join(f"`{key}={json.dumps(value)}`" for key, value in setting.items())


def _lines(arm: str, lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for line in lines:
        values = {who: f"{each[METRIC]:.4f}" for who, each in line["val"].items()}
        yield f"{arm} {dict(line['setting'])} {values} {line['seconds']:g} s"


if __name__ == "__main__":
    main()
