"""Run and compare folders as the library writes them, with made-up but plausible numbers."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peerlearn.report.statistics import differences
from peerlearn.results import summary

Json = dict[str, Any]

METRICS = ("accuracy", "nll", "ece", "brier")
GAIN = {  # of transfer over training alone
    "accuracy": 0.012,
    "nll": -0.05,
    "ece": -0.021,
    "brier": -0.02,
}
BASE = {"accuracy": 0.955, "nll": 0.19, "ece": 0.042, "brier": 0.075}


def run_folder(
    folder: Path,
    *,
    arm: str = "mutual",
    seed: int = 0,
    peers: Sequence[str] = ("a", "b"),
    lift: float = 1.0,
    transfer: bool = True,
    epochs: int = 20,
    flatness: bool = True,
    stages: Sequence[str] = ("mutual",),
) -> Path:
    """Write one run folder. `lift` scales what transfer gains; 0 is no better than alone."""
    folder.mkdir(parents=True, exist_ok=True)
    block = arm_block([seed], arm, peers, lift, transfer, flatness)
    results = {
        "schema": 1,
        "recipe": "dml",
        "data": "digits",
        "seeds": [seed],
        "arms": {arm: block},
    }
    _write_json(folder / "results.json", results)
    _write_common(folder, arm, peers, epochs)
    events = epoch_events(seed, arm, peers, lift, transfer, epochs, stages)
    lines = [json.dumps({"event": "start", "seed": seed}), *map(json.dumps, events)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def compare_folder(
    folder: Path,
    *,
    arms: dict[str, float] | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    peers: Sequence[str] = ("a", "b"),
    epochs: int = 20,
    flatness: bool = True,
    stages: Sequence[str] = ("mutual",),
) -> Path:
    """Write a compare folder with its cells. `arms` maps names to the lift of their transfer."""
    arms = {"mutual": 1.0, "independent": 0.0} if arms is None else arms
    blocks = {
        arm: arm_block(seeds, arm, peers, lift, arm != "independent", flatness)
        for arm, lift in arms.items()
    }
    for arm, lift in arms.items():
        for seed in seeds:
            run_folder(
                folder / "cells" / arm / f"seed-{seed}",
                arm=arm,
                seed=seed,
                peers=peers,
                lift=lift,
                transfer=arm != "independent",
                epochs=epochs,
                flatness=flatness,
                stages=stages,
            )
    results = {
        "schema": 1,
        "recipe": "dml",
        "data": "digits",
        "seeds": list(seeds),
        "arms": blocks,
        "differences": differences(blocks),
    }
    _write_json(folder / "results.json", results)
    _write_common(folder, "mutual", peers, epochs, env=False)
    return folder


def edit_results(folder: Path, edit: Any) -> Path:
    """Change results.json by a function that edits the parsed object in place."""
    path = folder / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    edit(results)
    _write_json(path, results)
    return folder


def measure_classes(folder: Path, classes: Sequence[str]) -> Path:
    """Add what segmentations are measured by to every member of every arm."""

    def edit(results: Json) -> None:
        results["recipe"] = "styles-segment"
        for arm, block in results["arms"].items():
            for who, metrics in _everyone(block).items():
                values = metrics["accuracy"]["values"]
                metrics["iou"] = summary([value - 0.1 for value in values])
                metrics["hd95"] = summary([20 * (1 - value) for value in values])
                for name in classes:
                    own = random.Random(f"{arm}-{who}-{name}")
                    metrics[f"iou:{name}"] = summary([v - own.uniform(0, 0.6) for v in values])
                    metrics[f"dice:{name}"] = summary(values)
        if "independent" in results["arms"]:
            results["differences"] = differences(results["arms"], "independent")

    return edit_results(folder, edit)


def hang_gallery(folder: Path, classes: Sequence[str], side: int = 24, rgb: bool = False) -> Path:
    """Write `gallery.npz` into every run of a folder: two images of discs, that peers widen."""
    runs = [path.parent for path in folder.rglob("metrics.jsonl")]
    edit_results(folder, lambda results: results.update(recipe="styles-segment"))
    for run in runs:
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        who = [*next(iter(results["arms"].values()))["peers"], "ensemble"]
        rows, columns = np.indices((side, side)) - side // 2
        distance = np.hypot(rows, columns)
        truth = np.stack([(distance < side / 4) * n for n in (1, 2)]).astype(np.uint8)
        truth[:, : side // 8] = 255
        predicted = np.stack(
            [
                [(distance < side / 4 + place) * n for n in (1, 2)]
                for place in range(1, len(who) + 1)
            ]
        ).astype(np.uint8)
        photo = np.stack([(10 * distance) % 256] * 2).astype(np.uint8)
        np.savez_compressed(
            run / "gallery.npz",
            index=np.array([3, 9]),
            images=np.stack([photo, photo // 2, 255 - photo], axis=-1) if rgb else photo,
            truth=truth,
            predicted=predicted,
            who=np.array(who),
            class_names=np.array(classes),
        )
    return folder


def measure_sizes(folder: Path, sizes: dict[str, dict[str, float]]) -> Path:
    """Add sizes by peer to the arms that have the peer."""

    def edit(results: Json) -> None:
        for block in results["arms"].values():
            block["sizes"] = {
                peer: {name: summary([value]) for name, value in sizes[peer].items()}
                for peer in block["peers"]
            }

    return edit_results(folder, edit)


def measure_uncertainty(folder: Path, sets: Sequence[str] = ("mnist", "gtsrb")) -> Path:
    """Add curves of withheld answers, of rows out of distribution and of worse images."""
    edges = [2.3 * (step / 40) ** 2 for step in range(41)]
    points = [step / 50 for step in range(1, 51)]

    def shares(centre: float) -> list[float]:
        weights = [math.exp(-(((edge - centre) / 0.4) ** 2)) for edge in edges[:-1]]
        return [weight / sum(weights) for weight in weights]

    def edit(results: Json) -> None:
        for place, block in enumerate(results["arms"].values()):
            everyone = _everyone(block)
            error = 0.05 + 0.02 * place
            singly = [who for who in everyone if who != "mean_peer"]
            risk = {who: [error * point**2 for point in points] for who in singly}
            block["selective"] = {"coverage": points, "risk": risk}
            one = {"in": shares(0.2), "out": {name: shares(1.2) for name in sets}}
            scores = {"entropy": singly, "mutual_information": ["ensemble"]}
            histograms = {
                name: {"edges": edges, "of": dict.fromkeys(of, one)} for name, of in scores.items()
            }
            block["ood"] = {"rows": dict.fromkeys(sets, 100), "scores": histograms}
            curves = {
                "accuracy": [0.9, 0.8, 0.7, 0.6, 0.5 - error],
                "ece": [0.1, 0.1, 0.2, 0.2, 0.3],
            }
            curves |= {"nll": [0.3, 0.4, 0.5, 0.8, 1.5]}
            kinds = {kind: dict.fromkeys(everyone, curves) for kind in ("noise", "blur")}
            block["corruption"] = {"levels": [1, 2, 3, 4, 5], "kinds": kinds}
            for who, metrics in everyone.items():
                count = len(metrics["accuracy"]["values"])
                metrics |= {f"auroc:{name}": summary([0.875] * count) for name in sets}
                if who == "ensemble":
                    metrics |= {f"auroc_mi:{name}": summary([0.75] * count) for name in sets}

    return edit_results(folder, edit)


def _everyone(block: Json) -> dict[str, Json]:
    return {**block["peers"], "mean_peer": block["mean_peer"], "ensemble": block["ensemble"]}


def leave(folder: Path, *parts: str) -> Path:
    """Keep only these parts of every arm, the metrics, and no learning curves: quick to draw."""
    keep = {"peers", "mean_peer", "ensemble", *parts}

    def edit(results: Json) -> None:
        for arm, block in results["arms"].items():
            results["arms"][arm] = {name: part for name, part in block.items() if name in keep}

    for path in folder.rglob("metrics.jsonl"):
        path.unlink()
    return edit_results(folder, edit)


def arm_block(
    seeds: Sequence[int],
    arm: str,
    peers: Sequence[str],
    lift: float,
    transfer: bool,
    flatness: bool,
) -> Json:
    """One arm of results.json."""
    measured = {
        peer: {
            metric: summary([_metric(metric, seed, arm, peer, lift) for seed in seeds])
            for metric in METRICS
        }
        for peer in peers
    }
    mean_peer = {
        metric: summary(
            [
                sum(measured[peer][metric]["values"][index] for peer in peers) / len(peers)
                for index in range(len(seeds))
            ]
        )
        for metric in METRICS
    }
    ensemble = {
        metric: summary([_metric(metric, seed, arm, "ensemble", lift + 0.7) for seed in seeds])
        for metric in METRICS
    }
    pairs = [(a, b) for i, a in enumerate(peers) for b in peers[i + 1 :]]
    block: Json = {
        "peers": measured,
        "mean_peer": mean_peer,
        "ensemble": ensemble,
        "cost": {
            "train_s": summary([len(peers) * (30 + 3 * transfer) + s for s in seeds]),
            "forwards_per_step": summary([len(peers) for _ in seeds]),
            "peak_rss_mb": summary([410 + 90 * len(peers) + s for s in seeds]),
        },
        "between_peers": {
            "agreement": {
                f"{a}~{b}": summary([_near(0.93 + 0.03 * lift, 0.008, s, a, b) for s in seeds])
                for a, b in pairs
            },
            "error_correlation": {
                f"{a}~{b}": summary([_near(0.45 + 0.2 * lift, 0.05, s, b, a) for s in seeds])
                for a, b in pairs
            },
        },
        "reliability": {who: _reliability(lift, arm, who) for who in (*peers, "ensemble")},
        "edges": [
            {
                "from": a,
                "to": b,
                "knowledge": "predictions",
                "divergence": "kl",
                "temperature": 1.0,
                "weight": "1",
                "gate": "through",
            }
            for a in peers
            for b in peers
            if a != b and transfer
        ],
    }
    if flatness:
        sigma = [0.0, 0.002, 0.005, 0.01, 0.02, 0.05]
        block["flatness"] = {
            "sigma": sigma,
            "peers": {
                peer: {
                    "mean": [0.02 + (280 - 130 * lift) * s**2 for s in sigma],
                    "std": [(40 - 15 * lift) * s**2 for s in sigma],
                }
                for peer in peers
            },
        }
        block["noise"] = {
            "sigma": [0.0, 0.5, 1.0],
            "peers": {
                peer: {"mean": [0.9, 0.8 + lift / 100, 0.4], "std": [0.0, 0.01, 0.02]}
                for peer in (*peers, "ensemble")
            },
        }
    return block


def epoch_events(
    seed: int,
    arm: str,
    peers: Sequence[str],
    lift: float,
    transfer: bool,
    epochs: int,
    stages: Sequence[str],
) -> list[Json]:
    """The epoch lines of metrics.jsonl."""
    events = []
    for stage in stages:
        for epoch in range(1, epochs + 1):
            done = (epoch + epochs * stages.index(stage)) / (epochs * len(stages))
            train, val = {}, {}
            for peer in (*peers, "ensemble"):
                noise = random.Random(f"{seed}-{arm}-{peer}-{epoch}-{stage}").gauss(0, 0.006)
                rise = 1 - math.exp(-5 * done)
                end = BASE["accuracy"] + lift * GAIN["accuracy"] + 0.008 * (peer == "ensemble")
                val[peer] = {"accuracy": end * rise + noise * (1.2 - done), "nll": 2.3 - 2.1 * rise}
                if peer != "ensemble":
                    objective = 2.3 * math.exp(-4 * done) + 0.03 + 0.03 * lift + abs(noise)
                    taught = 0.4 * done * math.exp(-3 * done) + 0.01 if transfer else 0.0
                    train[peer] = {
                        "loss": objective + taught,
                        "objective": objective,
                        "transfer": taught,
                        "accuracy": rise,
                    }
            events.append(
                {
                    "event": "epoch",
                    "stage": stage,
                    "epoch": epoch,
                    "of": epochs,
                    "seconds": 1.2,
                    "lr": 0.05,
                    "train": train,
                    "val": val,
                }
            )
    return events


def _metric(metric: str, seed: int, arm: str, who: str, lift: float) -> float:
    shared = random.Random(f"{metric}-{seed}").gauss(0, 1)  # a seed is good or bad for all arms
    own = random.Random(f"{metric}-{seed}-{arm}-{who}").gauss(0, 1)
    scale = abs(GAIN[metric])
    return BASE[metric] + lift * GAIN[metric] + scale * (0.35 * shared + 0.25 * own)


def _near(value: float, spread: float, *key: Any) -> float:
    return min(0.999, value + random.Random(repr(key)).gauss(0, spread))


def _reliability(lift: float, arm: str, who: str) -> Json:
    centres = [(index + 0.5) / 15 for index in range(15)]
    weights = [0.0 if c < 0.2 else math.exp(6 * (c - 1)) for c in centres]
    total = sum(weights)
    slack = (0.12 - 0.1 * lift) * (0.5 if who == "ensemble" else 1.0)
    noise = random.Random(f"{arm}-{who}")
    accuracy = [
        min(1.0, max(0.0, c - slack * 4 * c * (1 - c) + noise.gauss(0, 0.02))) for c in centres
    ]
    return {
        "confidence": [c if w else None for c, w in zip(centres, weights, strict=True)],
        "accuracy": [a if w else None for a, w in zip(accuracy, weights, strict=True)],
        "fraction": [w / total for w in weights],
    }


def _write_common(
    folder: Path, arm: str, peers: Sequence[str], epochs: int, env: bool = True
) -> None:
    lines = ["recipe: dml", f"arm: {arm}", f"epochs: {epochs}", "batch_size: 64", "lr: 0.05"]
    lines += ["data:", "  name: digits", "  val_size: 0.1", "peers:"]
    lines += [f"  {json.dumps(peer)}: {{model: resnet8}}" for peer in peers]
    (folder / "config.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if env:
        _write_json(
            folder / "env.json",
            {
                "python": "3.11.2",
                "torch": "2.13.0",
                "peerlearn": "0.1.0",
                "device": "cpu",
                "threads": 1,
                "platform": {"system": "Linux", "machine": "x86_64"},
            },
        )


def _write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
