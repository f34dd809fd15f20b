"""What is recorded: every arm of every recipe at tiny size, and options that no arm sets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import peerlearn

Changes = dict[str, Any]

#: Of every run: sums over threads, and in bfloat16, differ from machine to machine.
COMMON: Changes = {"threads": 1, "precision": "fp32", "epochs": 2}
MLP = {"model": "mlp", "arguments": {"hidden": [16], "dropout": 0.2}}
CNN = {"model": "cnn", "arguments": {"width": 0.25}}
PAIR: Changes = {"data.train_size": 100, "batch_size": 32, "peers.a": MLP, "peers.b": CNN}
STUDENTS = ("s1", "s2")
#: Edges are open: so few epochs prove nothing.
UNPROVEN = {"transfer.proven": "none"}
NODES: Changes = UNPROVEN | {
    "epochs": 3,
    "peers.gcn.arguments": {"hidden": 8, "dropout": 0.5},
    "peers.gat.arguments": {"hidden": 2, "heads": 2},
    "peers.sage.arguments": {"hidden": 8, "dropout": 0.5},
}
#: What makes each recipe small.
TINY: dict[str, Changes] = {
    "dml": PAIR,
    "dml-few-labels": PAIR | {"data.labels": 50, "peers.c": None, "peers.d": None},
    "renyi": PAIR,
    "gml-node": NODES,
    "gml-graph": UNPROVEN
    | {
        "data.train_size": 60,
        "batch_size": 16,
        "peers.gcn.arguments": {"hidden": 8, "layers": 2, "dropout": 0.2, "readout": "sum"},
        "peers.gin.arguments": {"hidden": 8, "layers": 2, "dropout": 0.2},
        "peers.sage.arguments": {"hidden": 8, "layers": 2, "readout": "sum"},
    },
    "gml-mlp": NODES | {"peers.mlp.arguments": {"hidden": 8}},
    "styles-classify": {
        "data.train_size": 64,
        "batch_size": 32,
        "peers.teacher.arguments.width": 8,
    },
    "styles-segment": {
        "data": "scenes.npz",
        "batch_size": 8,
        "peers.teacher.arguments": {"width": 6, "levels": 1},
        **{f"peers.{name}.arguments.levels": 1 for name in STUDENTS},
    },
    "bayesian": PAIR
    | {
        "peers.a": CNN | {"bayesian": {"test_samples": 2}},
        "peers.b": CNN | {"bayesian": {"test_samples": 2, "method": "flipout"}},
        "stages.deterministic.epochs": 1,
    },
    "backdoor": {
        "data.train_size": 200,
        "peers.*.arguments.width": 0.25,
        "stages.standard.epochs": 2,
        "stages.scout.epochs": 1,
        "stages.non_target.epochs": 1,
    },
    "music": {"data.world": {"users": 60, "items": 40, "listens": 8}},
    "discovery": {
        "data.train_size": 128,
        "batch_size": 32,
        "stages.rotation.epochs": 1,
        "stages.supervised.epochs": 1,
        "transfer.memory": 64,
        "objective.parts.size": 64,
        "peers.global.arguments.width": 0.25,
        "uno.hidden": 16,
        "uno.projected": 8,
    },
}
#: Every peer from the other, with an edge of its own.
BETWEEN = [{"from": "a", "to": "b"}, {"from": "b", "to": "a"}]
OPEN = {"transfer.weight_schedule": "constant"}
ALONE: Changes = {"peers.local": None, "transfer": "none"}
CNNS = {"peers.a": CNN}

#: Options that no arm sets, by recipe and the name of the run.
FURTHER: dict[str, dict[str, Changes]] = {
    "backdoor": {
        "full": {"stages.non_target.transfer.classes": "teacher_non_target"},
        "clean-alone": {"stages.non_target.rows": "clean", "data.attack": {"kind": "blended"}},
    },
    "music": {"bpr": {"objective.loss": "bpr"}, "served": {"together": "served"}},
    "dml": {
        "noise": {"evaluation.noise": [0, 0.5, 1.0], "evaluation.flatness": True},
        "unsure": {
            "evaluation.ood": ["digits"],
            "evaluation.corruption": ["noise", "blur", "contrast", "pixelate"],
        },
        "mean-last": {
            "epochs": 3,
            "evaluation.select": "mean_last",
            "evaluation.last_epochs": 2,
            "evaluation.report": "val+test",
        },
        "steps": OPEN | {"ema": 0.5, "clip_norm": 0.1, "accumulate": 2},
        "sequential-clipped": OPEN | {"transfer.update": "sequential", "clip_norm": 0.1},
        "learned": OPEN | {"transfer.temperature": "learned", "transfer.weighting": "sample"},
        "two-learning-entries": OPEN
        | {
            "transfer.edges": [
                BETWEEN[0] | {"weighting": "sample"},
                BETWEEN[1] | {"temperature": "learned", "weight": 0.5},
            ]
        },
        "learned-and-hint": OPEN
        | CNNS
        | {
            "transfer.edges": [
                BETWEEN[0] | {"temperature": "learned"},
                BETWEEN[1] | {"knowledge": "features", "feature_loss": "hint"},
                {"from": "all", "to": "all", "knowledge": "relations", "memory": 50},
            ]
        },
        "attention": OPEN
        | CNNS
        | {"transfer.knowledge": "features", "transfer.feature_loss": "attention"},
        "similarity": OPEN
        | CNNS
        | {"transfer.knowledge": "features", "transfer.feature_loss": "similarity"},
        "relations": OPEN | {"transfer.knowledge": "relations", "transfer.memory": 50},
        "relations-js": OPEN
        | CNNS
        | {"transfer": {"knowledge": "relations", "memory": 50, "divergence": "js"}},
        "feature-distributions": OPEN
        | {
            "transfer.edges": [
                {},
                {
                    "knowledge": "feature_distributions",
                    "weight": 0.01,
                    "supervised_fusion": True,
                    "stop_distance": 1,
                },
            ]
        },
        "labelled-rows": OPEN
        | {"data.labels": 50, "labelled_per_batch": 8, "transfer.rows": "labelled"},
        "unlabelled-rows": OPEN | {"data.labels": 50, "transfer.rows": "unlabelled"},
        "reverse-sum": OPEN | {"transfer.divergence": "reverse_kl", "transfer.target": "sum"},
        "symmetric-through": OPEN
        | {"transfer.divergence": "symmetric_kl", "transfer.detach": False},
        "logit-distance": OPEN | {"transfer.divergence": "mse"},
        "clamped-linear-gate": OPEN | {"transfer.clamp": 0.01, "transfer.gate": "linear"},
        "correct-gate": OPEN | {"transfer.gate": "correct", "transfer.teacher_temperature": 0.5},
        "averaged": OPEN
        | {"transfer.edges": [{"from": "self", "teacher_ema": 0.9}, {"teacher_ema": 0.5}]},
        "self": OPEN
        | {"transfer.edges": [{"from": "self", "to": "all", "teacher_temperature": 0.5}]},
        "three-peers": OPEN | {"peers.c": MLP, "peers.c.lr": 0.01, "peers.c.optimiser": "adam"},
        "frozen": OPEN | {"peers.b.frozen": True},
        "views": OPEN
        | {"peers.b.view": 1, "augment": {"crop": 1, "flip": True, "cutout": 2, "rotation": 10}},
        "objective": {"objective.label_smoothing": 0.1, "objective.entropy": 0.05},
        "streamed": {"data.in_memory": False, "augment.crop": 1},
        "several-labels": OPEN | {"data": "several.npz", "peers.b": MLP},
    },
    "dml-few-labels": {},
    "renyi": {
        "order": OPEN | {"transfer.alpha_schedule": {"kind": "linear", "start": 0.5}},
        "unsure": OPEN | {"transfer.alpha": 0.5, "transfer.temperature": 2},
    },
    "gml-node": {
        "noise": {"evaluation.noise": [0, 0.5], "evaluation.flatness": True},
        "sampled": {
            "fanout": [4, 4],
            "batch_size": 64,
            "unlabelled_per_batch": 32,
            "transfer.weighting": "sample",
        },
        "auxiliary": {"auxiliary.task": "degree"},
        "proven": {
            "transfer.proven": {"ends": "teacher", "least": 0.05},
            "transfer.weight_schedule": "constant",
        },
        "random-split": {"data.split": "random", "data.directed": "symmetric"},
        "relations": {
            "transfer": {"knowledge": "relations", "memory": 50},
            "evaluation.select": "last",
        },
    },
    "gml-graph": {
        "noise": {"evaluation.noise": [0, 0.5]},
        "auxiliary": {"auxiliary.task": "degree", "data.labels": 40, "labelled_per_batch": 8},
    },
    "gml-mlp": {"flatness": {"evaluation.flatness": True}},
    "styles-classify": {
        "taught-first": {"stages.teacher.epochs": 1, "compression.of": "each"},
        "relations": OPEN | {"transfer": {"knowledge": "relations", "memory": 50}},
    },
    "styles-segment": {
        "taught-first": {"stages.teacher.epochs": 1, "evaluation.noise": [0, 0.5]},
        "embedded": {"epochs": 1, "data": {"name": "digits-scenes", "train_size": 8}},
        "augmented": {
            "augment.flip": True,
            "augment.rotate90": True,
            "augment.rotation": 20,
            "augment.scale": [0.8, 1.25],
            "augment.crop": 16,
            "augment.brightness": 0.2,
            "augment.contrast": 0.2,
            "data.labels": 8,
            "labelled_per_batch": 4,
        },
        "weighted": {
            "objective.loss": "ce",
            "objective.class_weights": [0.2, 1, 1],
            "objective.label_smoothing": 0.1,
            "transfer.rows": "all",
            "transfer.predictions": {"temperature": "learned"},
        },
    },
    "bayesian": {
        "from-scratch": {"stages.deterministic.epochs": 0, "peers.b.bayesian.train_samples": 2}
    },
    "discovery": {
        "generalised": {
            "data.unlabelled_known": 0.2,
            "classes": 4,
            "labelled_per_batch": 8,
            "evaluation.every": 1,
        },
        "fed": {"peers.local.fed_by": "global", "copies": 1},
        "parts": {
            "data": {"name": "large.npz", "train_size": 64},
            "objective.pseudo_labels": "soft_cosine",
            "augment.crop": 1,
        },
        "averaged": {"ema": 0.5, "objective.pair_views": 1, "stages.supervised.trunk": False},
        "incremental-kmeans": ALONE | {"objective.incremental": True, "objective.ramp": 1},
        "uno-one-head": ALONE | {"method": "uno", "uno.heads": 1, "uno.over_factor": 0},
    },
}


def write_files(folder: Path) -> None:
    """Write the data that configurations name by a file, into the folder they are run in."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(120, 6)).astype("float32")
    y = (x[:, :3] > 0).astype("int64")
    np.savez(folder / "several.npz", x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    y = np.arange(160) % 4
    shades = (60 * y[:, None, None] + draw.integers(0, 70, (160, 24, 24))).astype("uint8")
    np.savez(
        folder / "large.npz",
        x_train=shades[:120], y_train=y[:120], x_test=shades[120:], y_test=y[120:],
    )  # fmt: skip
    masks = draw.integers(0, 3, (32, 4, 4)).repeat(6, 1).repeat(6, 2)
    masks[:, :2] = 255  # pixels that do not count
    scenes = (60 * masks.clip(0, 3) + draw.integers(0, 70, masks.shape)).astype("uint8")
    parts = {"train": slice(16), "val": slice(16, 24), "test": slice(24, 32)}
    np.savez(
        folder / "scenes.npz",
        **{f"x_{part}": scenes[rows] for part, rows in parts.items()},
        **{f"y_{part}": masks[rows].astype("uint8") for part, rows in parts.items()},
    )


def configurations() -> Iterator[tuple[str, str, Changes]]:
    """Every run: its name `RECIPE/ARM` or `RECIPE/+NAME`, its recipe, and what is changed."""
    for recipe, tiny in TINY.items():
        for arm, changes in (peerlearn.recipe(recipe).config.arms or {}).items():
            yield f"{recipe}/{arm}", recipe, COMMON | _without(tiny, changes) | {"arm": arm}
        for name, changes in FURTHER[recipe].items():
            made = COMMON | _without(tiny, changes) | changes
            # What a block replaces that stands behind it is left out, as it is refused.
            backwards = list(reversed(made))
            kept = {key: it for key, it in made.items() if not _replaced(key, backwards)}
            yield f"{recipe}/+{name}", recipe, kept


def _replaced(key: str, backwards: list[str]) -> bool:
    """Whether a key is within one that stands behind it."""
    behind = backwards[: backwards.index(key)]
    return any(key.startswith(f"{block}.") for block in behind)


def _without(tiny: Changes, changes: Changes | None) -> Changes:
    """`tiny` without keys below one that `changes` sets as a whole."""
    whole = tuple(f"{key}." for key in changes or {})
    return {key: value for key, value in tiny.items() if not key.startswith(whole)}
