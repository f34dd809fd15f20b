"""Cases about run folders that are damaged, or that somebody made to do harm; and about weights."""

import io
import json
import pickle
from contextlib import chdir
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.numpy import save

from benchmarks.faults.fuzzing.archives import Payload, odd_npz
from benchmarks.faults.fuzzing.bases import data, files_in, recipe, run_files
from benchmarks.faults.fuzzing.case import CANARY, Case, Content, Fifo, Folder, Link
from benchmarks.faults.fuzzing.settings import FILE, dumped
from benchmarks.faults.fuzzing.values import mutated, odd, scratched, text
from peerlearn.models import build_model
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

FINISHED = (
    "predictions",
    "features",
    "relations",
    "learned",
    "discovery",
    "graphs",
    "nodes",
    "masks",
)
RESUMED = ("images", "styles", "masks", "nodes", "graphs")
"""The bases whose runs are resumed."""
READ = ("data.json", "results.json", "config.yaml", "metrics.jsonl", "env.json", "gallery.npz")


def run_folder(draw: Random) -> Case:
    """A finished run whose files are not what they were."""
    run = draw.choice(FINISHED)
    files: dict[str, Content] = dict(run_files(run))
    for _ in range(draw.choice([1, 1, 1, 2])):
        _damage(draw, files)
    made = {f"run/{path}": content for path, content in files.items()} | {"canary.py": CANARY}
    inputs = {"rows.npz": run_files("inputs")[_inputs(run)]}
    match draw.choice(
        ["report"] * (draw.random() < 0.3)
        + ["predict"] * 4
        + ["eval", "validate"] * (run != "masks")
    ):
        case "report":
            return Case(("report", "run", "--out", "out/page.html"), made, ("out",))
        case "eval":
            return Case(("eval", "run", "--device", "cpu"), made)
        case "validate":
            return Case(("validate", "run/config.yaml"), made)
    if draw.random() < 0.6:
        return Case(("inputs", "run", "rows.npz"), made | inputs)
    words = ("predict", "run", "rows.npz", "--device", "cpu", "--out", "out/made")
    return Case(words, made | inputs, ("out",))


def resumed_run(draw: Random) -> Case:
    """A run of one epoch whose files change before it goes on to a second one."""
    base = draw.choice(RESUMED)
    files: dict[str, Content] = dict(_short_runs()[base])
    _damage(draw, files, trusted=True)
    made = {f"run/{path}": content for path, content in files.items()}
    kept = {FILE: dumped(recipe(base)), **data(base)}
    return Case(("run", FILE, "epochs=2", "--out", "run", "--resume"), made | kept, ("run",))


@cache
def _short_runs() -> dict[str, dict[str, bytes]]:
    """The files of a run of one epoch of every base that is resumed."""
    made = {}
    for base in RESUMED:
        with TemporaryDirectory() as home, chdir(home):
            Case((), {FILE: dumped(recipe(base)), **data(base)}).lay_out(Path())
            found, given = find_recipe(FILE)
            run_recipe(found, found.resolve(given, {}), Path("run"))
            made[base] = files_in(Path("run"))
    return made


def weight_file(draw: Random) -> Case:
    """Weights that a peer is to begin with, from anywhere."""
    name, raw = draw.choice(["w.safetensors", "w.pt"]), b""
    tensors = _weights()
    if name == "w.safetensors":
        raw = save(tensors)
        if draw.random() < 0.6:
            raw = odd_header(draw, raw)
    else:
        states: list[Any] = [
            {key: torch.from_numpy(value) for key, value in tensors.items()}, Payload(), [1], 3, {},
            {"state_dict": {"a": torch.zeros(1)}}, {"model": {1: torch.zeros(1)}},
            {1: torch.zeros(2)},             {"a": torch.zeros(1, dtype=torch.complex64)},
            {"a": torch.zeros(2).to_sparse()},
            None, "x",             {"state_dict": {"state_dict": Payload()}},
            {"a": torch.zeros(1, device="meta")},
        ]  # fmt: skip
        state = draw.choice(states)
        if draw.random() < 0.2:
            raw = pickle.dumps(state)
        else:
            stream = io.BytesIO()
            torch.save(state, stream, _use_new_zipfile_serialization=draw.random() < 0.7)
            raw = stream.getvalue()
    raw = scratched(draw, raw) if draw.random() < 0.3 else raw
    files: dict[str, Content] = {name: raw}
    if draw.random() < 0.05:
        others: list[Content] = [Folder(), Fifo(), Link(name), b""]
        files[name] = draw.choice(others)
    if draw.random() < 0.7:
        return Case(("weights", name), files)
    config = recipe("images")
    config["peers"]["a"] |= {draw.choice(["weights", "frozen"]): name}
    return Case(("validate", FILE), {FILE: dumped(config), **data("images"), **files})


@cache
def _weights() -> dict[str, np.ndarray]:
    """Those of the network that reads them."""
    made = build_model("mlp", (1, 8, 8), 3, {"hidden": [4]}).state_dict()
    return {name: tensor.numpy() for name, tensor in made.items()}


def _inputs(run: str) -> str:
    return {"graphs": "graphs.npz", "nodes": "nodes.npz", "masks": "scenes.npz"}.get(
        run, "rows.npz"
    )


def _damage(draw: Random, files: dict[str, Content], trusted: bool = False) -> None:
    places = [name for name in files if name in READ or name.endswith(".safetensors")]
    name = draw.choice(places * 3 + sorted(files))
    raw = files[name]
    match draw.choice(
        ["content"] * 12 + ["bytes"] * 4 + ["missing", "folder", "fifo", "loop", "empty"]
    ):
        case "missing":
            del files[name]
        case "folder":
            files[name] = Folder()
        case "fifo":
            files[name] = Fifo()
        case "loop":
            files[name] = Link(draw.choice([name.rpartition("/")[2], "nowhere", "/dev/zero"]))
        case "empty":
            files[name] = b""
        case "bytes" if isinstance(raw, bytes):
            files[name] = scratched(draw, raw)
        case _ if isinstance(raw, bytes):
            files[name] = _content(draw, name, raw, trusted)


def _content(draw: Random, name: str, raw: bytes, trusted: bool) -> bytes:
    """The file with other content, of the same kind."""
    try:
        if name.endswith(".yaml"):
            config = yaml.safe_load(raw)
            if draw.random() < 0.25 and not trusted:
                _plant(draw, config)
                return dumped(config)
            return dumped(mutated(draw, config))
        if name.endswith(".json"):
            value = mutated(draw, json.loads(raw)) if draw.random() < 0.9 else odd(draw)
            return _json(value)
        if name.endswith(".jsonl"):
            lines = raw.splitlines()
            place = draw.randrange(len(lines))
            other = _json(mutated(draw, json.loads(lines[place])))
            lines[place] = draw.choice([b"", b"{", b"\xff\xfe", b"[]", b"null", b"NaN", other])
            return b"\n".join(lines)
        if name.endswith(".safetensors"):
            return odd_header(draw, raw)
        if name.endswith(".npz"):
            with np.load(io.BytesIO(raw)) as file:
                return odd_npz(draw, dict(file))
    except (ValueError, yaml.YAMLError, IndexError):
        pass
    return scratched(draw, raw)


def _plant(draw: Random, config: Any) -> None:
    """Name code to be run, somewhere in a configuration."""
    payload = draw.choice(["python:canary:make", "python:os:system", "python:subprocess:run"])
    match draw.choice(["model", "model", "arm", "knowledge", "weights", "divergence", "optimiser"]):
        case "model":
            for peer in config["peers"].values():
                peer |= {"model": payload, "arguments": draw.choice([{}, {"command": "true"}])}
        case "arm":
            config["arms"] = {config["arm"]: {"peers.z.model": payload}}
        case "knowledge":
            config["transfer"]["edges"] = [{"from": "all", "to": "all", "knowledge": payload}]
        case "weights":
            next(iter(config["peers"].values()))["weights"] = payload
        case key:
            config[key] = payload


def odd_header(draw: Random, raw: bytes) -> bytes:
    """A safetensors file with another header over the same tensors."""
    size = int.from_bytes(raw[:8], "little")
    header, body = raw[8 : 8 + size], raw[8 + size :]
    try:
        given = json.loads(header)
    except ValueError:
        return scratched(draw, raw)
    meta = given.get("__metadata__") if isinstance(given, dict) else None
    if not isinstance(meta, dict):  # changed before
        return scratched(draw, raw)
    match draw.choice(["mutate", "mutate", "skeleton", "skeleton", "size", "deep", "names"]):
        case "mutate":
            given = mutated(draw, given)
        case "skeleton" if "peerlearn" in meta:
            kept = mutated(draw, json.loads(meta["peerlearn"]))
            given["__metadata__"] = meta | {"peerlearn": json.dumps(kept, default=str)}
        case "deep" if "peerlearn" in meta:
            given["__metadata__"] = meta | {"peerlearn": '{"list": [' * 3000 + "]}" * 3000}
        case "size":
            wrong = draw.choice([0, 1, 2**20, 2**62, 2**63])
            return wrong.to_bytes(8, "little") + header + body
        case "names":
            given = {f"{key}{text(draw)[:5]}" if key[0] != "_" else key: value
                     for key, value in given.items()}  # fmt: skip
    made = _json(given)
    return len(made).to_bytes(8, "little") + made + body


def _json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode("utf-8", "surrogatepass")
