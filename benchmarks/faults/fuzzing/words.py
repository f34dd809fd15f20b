"""Cases about the command line: words that no verb expects, names that lead elsewhere."""

from itertools import pairwise
from random import Random

from benchmarks.faults.fuzzing.bases import QUICK, data, recipe, run_files
from benchmarks.faults.fuzzing.case import Case, Content, Fifo, Folder, Link
from benchmarks.faults.fuzzing.settings import FILE, assignment, dumped
from benchmarks.faults.fuzzing.values import number, text

VERBS = ("run", "compare", "validate", "ls", "cp", "eval", "predict", "report", "discover", "data")
OPTIONS = (
    "--out", "--seed", "--seeds", "--arms", "--resume", "--data", "--device", "--precision",
    "--peer", "--probabilities", "--overlay", "--tile", "--overlap", "--among", "--labelled",
    "--unlabelled",
    "--classes", "--candidates", "--arm", "--help", "--version", "-h", "--",
)  # fmt: skip
PLACES = (
    "images.npz",
    "run",
    "run/config.yaml",
    "out",
    "there",
    "pipe",
    "loop",
    "nowhere",
    FILE,
    ".",
)


def command_line(draw: Random) -> Case:
    """A verb with words that it may not want; what it trains is tiny, or not there."""
    verb = draw.choice(VERBS)
    words = [verb]
    if verb in ("run", "compare", "validate"):
        words += [draw.choice([FILE, FILE, FILE, "dml", text(draw), *PLACES])]
    elif verb in ("eval", "predict", "report"):
        words += [draw.choice(["run", "run", *PLACES])]
    elif verb in ("ls", "data", "cp"):
        words += draw.sample(["data", "models", "get", "digits", "dml", "mine.yaml", text(draw)], 2)
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        words += _word(draw)
    # Whatever is trained is trained for an epoch.
    words = ["validate" if word == "run" and at == 0 and words[1:2] == ["dml"] else word
             for at, word in enumerate(words)]  # fmt: skip
    if words[0] == "compare" and (words[1:2] != [FILE] or "--seeds" not in words):
        words[0] = "validate"
    words = [word.replace("\0", "") for word in words]
    return Case(tuple(words), _files(), ("out", "runs", *_named(words)))


def names(draw: Random) -> Case:
    """Names of arms, peers and classes that are no good file names."""
    config = recipe("images")
    odd = draw.choice([text(draw), str(number(draw)), "../../victim", "/victim", "x/../../y"])
    match draw.choice(["arm", "arm", "peer"]):
        case "arm":
            config["arms"] = {odd: {}, "other": {"transfer": "none"}}
        case "peer":
            config["peers"][odd] = config["peers"].pop("b")
    config |= QUICK
    verb, more = draw.choice([("run", []), ("compare", ["--seeds", "0"]), ("validate", [])])
    words = (verb, FILE, *more, *(() if verb == "validate" else ("--out", "out")))
    return Case(words, {FILE: dumped(config), **data("images")}, ("out",))


def _word(draw: Random) -> list[str]:
    match draw.choice(["option"] * 5 + ["override", "path", "text"]):
        case "option":
            option = draw.choice(OPTIONS)
            value = draw.choice([text(draw), str(number(draw)), draw.choice(PLACES), "0", "0-1"])
            flags = ("--resume", "--probabilities", "--overlay", "--help", "--version", "-h", "--")
            return [option] if option in flags else [option, value]
        case "override":
            return [assignment(draw, "images", modest=True)]
        case "path":
            return [draw.choice(PLACES)]
    return [text(draw)]


def _files() -> dict[str, Content]:
    run = {f"run/{path}": content for path, content in run_files("predictions").items()}
    return {
        FILE: dumped(recipe("images")), **data("images"), **run, "there/a.txt": b"mine",
        "pipe": Fifo(), "loop": Link("loop"), "empty": Folder(),
    }  # fmt: skip


def _named(words: list[str]) -> list[str]:
    """What the words after `--out`, `cp` and `report` allow to be written."""
    named = [after for word, after in pairwise(words) if word == "--out"]
    named += [word.partition("=")[2] for word in words if word.startswith("--out=")]
    if words[0] == "cp":
        named += words[1:]
    return [name for name in [*named, "report.html"] if name]
