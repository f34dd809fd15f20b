"""Values that somebody types by mistake, and texts that somebody types on purpose."""

import datetime
import math
from random import Random
from typing import Any

NUMBERS = (
    0, -1, 1, 2, 3, 7, 100, 1000, 0.5, 1.5, -0.5, 1e-300, 1e308, 2**31, 2**63, 2**64, 10**30,
    -(2**63), math.inf, -math.inf, math.nan, 1e9, 100_000,
)  # fmt: skip
MODEST = (0, -1, 1, 2, 3, 5, 8, 16, 0.0, 0.1, 0.5, 1.0, 1.5, 2.0, -0.5, 1e-9)
"""Numbers that no option makes a long training of."""
WORDS = (
    "", " ", "x", "auto", "none", "null", "all", "self", "yes", "off", "012", "1_000", "1e3",
    "nan", ".inf", "0x1f", "12:30:45", "last", "ensemble", "a", "b", "best", "test", "val+test",
    "kl", "reverse_kl", "symmetric_kl", "js", "renyi", "mse", "cosine", "features", "predictions",
    "relations", "posteriors", "feature_distributions", "w2", "pkt", "direct_kl", "log",
    "other_classes", "hint", "attention", "similarity", "pooled", "stage2", "bottleneck", "sample",
    "class", "through", "cutoff", "linear", "correct", "confident", "labelled", "unlabelled",
    "non_target", "mean", "sum", "simultaneous", "sequential", "constant", "sigmoid", "step",
    "exponential", "mlp", "cnn", "resnet8", "vgg11", "unet", "fpn", "gcn", "gat", "gin", "sage",
    "graph_mlp", "sgd", "adam", "adamw", "lbfgs", "sparseadam", "rprop", "learned", "fp32", "bf16",
    "cpu", "meta", "cuda:99", "digits", "digits-knn", "digits-grid", "digits-scenes", "mnist",
    "random", "degree", "symmetric", "seed", "hard_cosine", "soft_cosine", "ranking", "kmeans",
    "uno", "accuracy", "nll", "iou", "dice", "ce+dice",
)  # fmt: skip
TEXTS = (
    "../../victim", "/victim", "a/b", "a\\b", ".", "..", "~", "-", "--out", "con", "é", "e\u0301",
    "𝔘𝔫𝔦", "\u202e", "\u200b", "\ufeff", "a\nb", "a\tb", "a\x00b", "\x1b[31m", "a" * 300,
    "a" * 10_000, "<b>", "'", '"', "{}", "[", "%s", "$HOME", "python:", "python:canary",
    "python:canary:make", "python:canary:absent", "python:os:mkdir", "python:os.path:join",
    "python:builtins:exec", "python:no.such:thing", "python::", "a.b", "a=b", "train/", "x.npz",
)  # fmt: skip
DAYS = (datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, 12))


def number(draw: Random, modest: bool = False) -> float:
    """A number, seldom one that makes sense."""
    return draw.choice(MODEST if modest else NUMBERS)


def text(draw: Random) -> str:
    """A word of some option, or a text that is none."""
    return draw.choice(WORDS if draw.random() < 0.6 else TEXTS)


def odd(draw: Random, modest: bool = False, depth: int = 0) -> Any:
    """A value as YAML or JSON could hold it."""
    kinds = ["number"] * 4 + ["text"] * 4 + ["none", "bool", "like"]
    kinds += ["list", "dict"] * (depth < 3) + ["day", "bytes", "deep"] * (not depth and not modest)
    match draw.choice(kinds):
        case "number" | "like":
            return number(draw, modest)
        case "text":
            return text(draw)
        case "none":
            return None
        case "bool":
            return draw.random() < 0.5
        case "list":
            return [odd(draw, modest, depth + 1) for _ in range(draw.randrange(4))]
        case "dict":
            items = range(draw.randrange(3))
            return {text(draw): odd(draw, modest, depth + 1) for _ in items}
        case "day":
            return draw.choice(DAYS)
        case "bytes":
            return b"\x00\xff"
    return nested(draw.choice([5, 50, 200]))


def nested(depth: int) -> Any:
    """A list in a list in a list …"""
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def near(draw: Random, value: Any, modest: bool = False) -> Any:
    """A value of the same type that is off a little."""
    match value:
        case bool():
            return not value
        case int() | float():
            return draw.choice([-value, value + 1, value * 2, value / 3, 0, value * 1.0])
        case str():
            return draw.choice([value.upper(), value[:-1], f"{value} ", value * 2, text(draw)])
        case list():
            return draw.choice([value * 2, value[:1], list(reversed(value)), [value], []])
        case dict():
            kept = {key: inner for key, inner in value.items() if draw.random() < 0.7}
            return draw.choice([kept, {}, list(value), list(value.values()), {"x": value}])
    return odd(draw, modest)


def mutated(draw: Random, tree: Any, modest: bool = False) -> Any:
    """A copy of nested mappings and lists with something in it changed."""
    if isinstance(tree, dict) and tree and draw.random() < 0.85:
        made, key = dict(tree), draw.choice(list(tree))
        match draw.choice(["inside"] * 9 + ["delete", "rename", "add", "swap"]):
            case "inside":
                made[key] = mutated(draw, tree[key], modest)
            case "delete":
                del made[key]
            case "rename":
                made[draw.choice([str(key)[:-1], str(key).upper(), text(draw)])] = made.pop(key)
            case "add":
                made[text(draw)] = odd(draw, modest)
            case "swap":
                other = draw.choice(list(tree))
                made[key], made[other] = made[other], made[key]
        return made
    if isinstance(tree, list) and tree and draw.random() < 0.8:
        made_list, place = list(tree), draw.randrange(len(tree))
        made_list[place] = mutated(draw, tree[place], modest)
        return made_list
    return near(draw, tree, modest) if draw.random() < 0.3 else odd(draw, modest)


def scratched(draw: Random, raw: bytes) -> bytes:
    """Bytes of a file that was cut short, or in which some are others."""
    if not raw:
        return b"\x00"
    match draw.choice(["cut", "flip", "flip", "double", "insert", "zeros", "nothing"]):
        case "cut":
            return raw[: draw.randrange(len(raw))]
        case "flip":
            made = bytearray(raw)
            for _ in range(draw.randint(1, 4)):
                made[draw.randrange(len(made))] = draw.randrange(256)
            return bytes(made)
        case "double":
            return raw + raw
        case "insert":
            place = draw.randrange(len(raw))
            return raw[:place] + draw.randbytes(draw.randint(1, 9)) + raw[place:]
        case "zeros":
            return bytes(len(raw))
    return b""
