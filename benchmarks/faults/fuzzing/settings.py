"""Cases about configurations: recipe files and overrides, as values and as text."""

from random import Random
from typing import Any

import yaml

from benchmarks.faults.fuzzing.bases import BASES, data, options, recipe
from benchmarks.faults.fuzzing.case import CANARY, Case, Files
from benchmarks.faults.fuzzing.values import mutated, near, nested, number, odd, scratched, text

FILE = "mine.yaml"
LATER = {"epochs": 1, "stages.rotation.epochs": 1, "stages.supervised.epochs": 1}


def configuration(draw: Random) -> Case:
    """A recipe file with values, keys or blocks that are others."""
    base = draw.choice(list(BASES))
    config = recipe(base)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        config = mutated(draw, config)
    verb = "resolve" if draw.random() < 0.7 else "validate"
    return Case((verb, FILE), {FILE: dumped(config), **data(base), "canary.py": CANARY})


def overrides(draw: Random) -> Case:
    """Options of a recipe, set to values on the command line."""
    base = draw.choice(list(BASES))
    words = [assignment(draw, base) for _ in range(draw.choice([1, 1, 2, 3]))]
    verb = "resolve" if draw.random() < 0.8 else "validate"
    return Case((verb, FILE, *words), {FILE: dumped(recipe(base)), **data(base)})


def training(draw: Random) -> Case:
    """A tiny run with options that should do no harm, or be refused."""
    base = draw.choice(list(BASES))
    words = [assignment(draw, base, modest=True) for _ in range(draw.choice([1, 1, 2]))]
    words = [word for word in words if not word.startswith("data.name")]
    later = {key: 1 for key in LATER if key == "epochs" or base == "discovery"}
    words += [f"{key}={value}" for key, value in later.items()]
    if not any(word.partition("=")[0] in later for word in words[: -len(later)]):
        return Case(("run", FILE, *words, "--out", "out"), _of(base), ("out",))
    return Case(("validate", FILE, *words), _of(base))


def yaml_text(draw: Random) -> Case:
    """A recipe file as text: tags, anchors, duplicates, encodings, damage."""
    base = draw.choice(list(BASES))
    lines = dumped(recipe(base)).decode().splitlines()
    for _ in range(draw.choice([1, 1, 2])):
        place = draw.randrange(len(lines))
        _scribble(draw, lines, place)
    raw = "\n".join(lines).encode("utf-8", "surrogatepass")
    if draw.random() < 0.3:
        raw = draw.choice(
            [
                scratched(draw, raw), b"\xef\xbb\xbf" + raw, raw.replace(b"\n", b"\r\n"),
                raw.decode("utf-8", "replace").encode("utf-16"), raw.replace(b"  ", b"\t"),
                raw + b"\x00", raw + b"\n...\n---\na: 1\n",
            ]
        )  # fmt: skip
    verb = "resolve" if draw.random() < 0.7 else "validate"
    return Case((verb, FILE), {FILE: raw, **data(base), "canary.py": CANARY})


SCRIBBLES = (
    "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!binary aGk=",
    "!!set {a, b}", "!!omap [a: 1]", "!!int x", "!!float 1e", "!!timestamp 2020-13-45", "!foo bar",
    "&a [*a]", "&a {b: *a}", "*nowhere", "<<: {a: 1}", "<<: *nowhere", "? [1, 2]\n: 3", "- a\nb: c",
    "{a: 1, a: 2}", "2020-13-45", "1_0", "0o17", "012", "190:20:30", ".nan", "1e999", "~", "yes",
    "'", '"\\ud800"', '"\\0"', "|\n  a", ">-\n  b", "%YAML 9.9", "@x", "`x`", "\x00", "\x85",
    "\u2028",     "[" * 3000, "{a: " * 3000, "- " * 2000, "1" * 5000, "0x" + "f" * 5000,
    "[" + "a," * 5000 + "]",
)  # fmt: skip


def _scribble(draw: Random, lines: list[str], place: int) -> None:
    line = lines[place]
    indent = line[: len(line) - len(line.lstrip())]
    match draw.choice(["value", "value", "line", "twice", "indent", "key", "bomb"]):
        case "value":
            lines[place] = f"{line.partition(':')[0]}: {draw.choice(SCRIBBLES)}"
        case "line":
            lines.insert(place, indent + draw.choice(SCRIBBLES))
        case "twice":
            lines.insert(draw.randrange(len(lines)), line)
        case "indent":
            lines[place] = " " * draw.randrange(8) + line.lstrip()
        case "key":
            lines[place] = f"{indent}{text(draw)}: {number(draw)}"
        case "bomb":
            lines.insert(0, "b0: &b0 [x, x]")
            for depth in range(1, draw.choice([5, 30])):
                lines.insert(depth, f"b{depth}: &b{depth} [*b{depth - 1}, *b{depth - 1}]")


def assignment(draw: Random, base: str, modest: bool = False) -> str:
    """`KEY=VALUE` of an option, or of something like one."""
    key, value = draw.choice(options(base))
    if draw.random() < 0.05:
        key = draw.choice([f"{key}.x", key[:-1], f".{key}", f"{key}.", "", text(draw)])
    given = near(draw, value, modest) if draw.random() < 0.4 else odd(draw, modest)
    if draw.random() < 0.1 and not modest:
        return f"{key}={draw.choice(SCRIBBLES)}"
    return f"{key}={_inline(given)}".replace("\0", "")


def _inline(value: Any) -> str:
    if isinstance(value, str):
        return value
    made = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()
    return made.removesuffix("\n...").strip()


def dumped(config: Any) -> bytes:
    """A configuration as a file; what YAML cannot hold becomes text."""
    try:
        made: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError):
        made = yaml.safe_dump({"x": repr(nested(3))})
    return made.encode("utf-8", "surrogatepass")


def _of(base: str) -> Files:
    return {FILE: dumped(recipe(base)), **data(base)}
