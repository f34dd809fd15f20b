"""Trained networks as files that run, or load, where peerlearn is not installed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.data.info import RowInfo
from peerlearn.engine.calibration import temperature_of
from peerlearn.engine.weight_files import described, write_weights
from peerlearn.errors import InputError, unknown_name
from peerlearn.files import resolved, write_atomically
from peerlearn.models.bayesian import is_bayesian
from peerlearn.modes import evaluating
from peerlearn.provenance import version_of
from peerlearn.randomness import keyed_generator, preserved_rng
from peerlearn.serving.loaded import Loaded, taken

FORMATS = {
    "safetensors": "weights alone, by their plain names",
    "pt2": "a program of torch.export",
    "onnx": "a program for ONNX runtimes",
}
CHECKED = (1, 5)
"""Numbers of rows that a program is tried on."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """What was written: its file, its format, whose it is, and what it is in words."""

    path: Path
    format: str
    who: str
    note: str


def export(
    run: Loaded,
    out: str | Path,
    who: str = "best",
    format: str | None = None,
    normalised: bool = False,
    mean: bool = False,
) -> Exported:
    """Write a peer, or the ensemble, to a file.

    `pt2` and `onnx` are programs: they read N raw rows, as `run.predict` does, and give
    `probabilities` (N, C) or (N, C, H, W), for any N. `safetensors` are weights: of a peer those
    that `run.peer(who)` loads, of an ensemble those of every member, with its name in front.

    Args:
        run: from `peerlearn.load`.
        out: the file; its folder is made.
        who: a peer's name, `best` (on validation) or `ensemble`.
        format: of `FORMATS`; None for what the end of `out` says.
        normalised: a program reads what `run.preprocess` gives rather than raw rows.
        mean: of Bayesian peers the means of their weights, under the names of the plain network. A
            program is always of these, for random draws cannot be in one.

    Raises InputError: an unknown peer or format, a network that the format cannot hold, a file of a
    run, or a package that is not installed; RunError: the file cannot be written.
    """
    out = Path(out)
    kind = _format(out, format)
    _check_place(out)
    if who not in (allowed := [*run.peers, "best", "ensemble"]):
        raise unknown_name("peer", who, allowed, "--peer")
    peer = who if who == "ensemble" else run.name_of(who)
    bayesian = _bayesian(run, peer)
    if mean and not bayesian:
        raise InputError(f"--mean: {_subject(peer)} has weights, and no distribution of them")
    mean = bool(bayesian) and (mean or kind != "safetensors")
    about = _about(run, peer, bayesian if mean else [])
    said_of = "; of the means of its weights" if mean else ""
    if kind == "safetensors":
        if normalised:
            raise InputError("--normalised: for programs (pt2, onnx); weights read no rows")
        write_weights(out, _weights(run, peer, mean), about)
        note = f"weights by name, what they are of in the header{said_of}"
        return Exported(out, kind, peer, note)
    info = run.info
    if not isinstance(info, RowInfo):
        raise InputError(
            f"--format {kind}: {_subject(peer)} reads no rows of one shape, as a program does; "
            "allowed: --format safetensors"
        )
    module = run.probabilities(peer, raw=not normalised, mean=mean)
    about |= {"peerlearn": version_of("peerlearn"), "output": "probabilities"}
    about |= {"input": "normalised" if normalised else "raw"}
    rows = _rows(info, run.preprocess, normalised)
    said = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()
    }
    write = _write_pt2 if kind == "pt2" else _write_onnx
    with preserved_rng(), evaluating(module), torch.no_grad():
        checked = write(module, rows, out, said, _subject(peer))
    form = "normalised float32" if normalised else f"raw {info.dtype}"
    shape = ", ".join(map(str, info.sample_shape))
    note = f"{form} rows (N, {shape}) to probabilities{said_of}"
    note += ", as random draws cannot be in a program" if mean else ""
    return Exported(out, kind, peer, note + (f"; {checked}" if checked else ""))


def _format(out: Path, given: str | None) -> str:
    ending = out.suffix.lower().removeprefix(".")
    if given is None:
        if ending not in FORMATS:
            allowed = ", ".join(f".{name}" for name in FORMATS)
            raise InputError(f"--out {out}: no format by that ending; allowed: {allowed}")
        return ending
    if given not in FORMATS:
        raise unknown_name("format", given, FORMATS, "--format")
    if ending != given:
        raise InputError(f"--out {out}: a file of format {given} ends in .{given}")
    return given


def _check_place(out: Path) -> None:
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file")
    above = resolved(out).parents
    if any(
        (folder / "config.yaml").exists() and folder / "checkpoints" in above for folder in above
    ):
        raise InputError(f"--out {out}: among the checkpoints of a run; choose a place of its own")


def _subject(who: str) -> str:
    return "the ensemble" if who == "ensemble" else f"peer {who!r}"


def _bayesian(run: Loaded, who: str) -> list[str]:
    """Those that are asked whose weights have a distribution."""
    names = run.run.members if who == "ensemble" else [who]
    return [name for name in names if is_bayesian(run.peers[name])]


def _about(run: Loaded, who: str, means: list[str]) -> dict[str, Any]:
    """What a file says of itself; `means`: of whom it has the means of posteriors."""
    config, names = run.run.config, run.run.members if who == "ensemble" else [who]
    about: dict[str, Any] = {"recipe": run.run.recipe.name, "peer": who}
    if who == "ensemble":
        about["members"] = names
    else:
        spec = config.peers[who]
        about |= {"model": spec.model, "arguments": spec.arguments}
        if known := (run.results.get("selected") or {}).get(who):
            about |= {"metric": config.evaluation.metric} | known
    temperatures = {
        name: None if name in means else temperature_of(run.peers[name]) for name in names
    }
    if means:
        about["means_of_posteriors"] = means
    if who == "ensemble" and any(temperatures.values()):
        about["temperatures"] = temperatures
    elif (temperature := temperatures.get(who)) is not None:
        about["temperature"] = temperature
    return about | described(run.info.model_dump())


def _weights(run: Loaded, who: str, mean: bool) -> dict[str, Tensor]:
    if who != "ensemble":
        return taken(run.peers[who], mean).state_dict()
    return {
        f"{name}.{key}": tensor
        for name in run.run.members
        for key, tensor in taken(run.peers[name], mean).state_dict().items()
    }


def _rows(info: RowInfo, preprocess: nn.Module, normalised: bool) -> Callable[[int], Tensor]:
    """Gives N random rows of the kind that the program reads."""

    def rows(count: int) -> Tensor:
        shape, generator = (count, *info.sample_shape), keyed_generator(0, "export", count)
        raw = torch.rand(shape, generator=generator)
        if info.dtype == "uint8":
            raw = (255 * raw).to(torch.uint8)
        elif info.dtype == "int64":  # numbers of words, of which every vocabulary has two
            raw = (2 * raw).long()
        return preprocess(raw) if normalised else raw

    return rows


def _program(module: nn.Module, rows: Callable[[int], Tensor], subject: str) -> Any:
    batch = torch.export.Dim("batch")
    try:
        return torch.export.export(module, (rows(2),), dynamic_shapes=({0: batch},))
    except Exception as error:  # networks are the user's own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{subject} cannot be exported as a program by torch.export, with any number of rows: "
            f"{reason}; --format safetensors holds its weights"
        ) from error


def _write_pt2(
    module: nn.Module, rows: Callable[[int], Tensor], out: Path, about: dict[str, str], subject: str
) -> str:
    program = _program(module, rows, subject)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # a name would have to end in .pt2
            torch.export.save(program, file, extra_files={"peerlearn.json": json.dumps(about)})

    checked = _same(module, rows, program.module(), subject)
    write_atomically(out, write)
    return checked


def _write_onnx(
    module: nn.Module, rows: Callable[[int], Tensor], out: Path, about: dict[str, str], subject: str
) -> str:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format onnx: needs {' and '.join(missing)}; pip install 'peerlearn[onnx]'"
        )
    program = torch.onnx.export(
        _program(module, rows, subject),
        (),
        dynamo=True,
        verbose=False,
        input_names=["rows"],
        output_names=["probabilities"],
        external_data=False,
    )
    assert program is not None, "the exporter gives a program"
    program.model.metadata_props.update(about)
    content = program.model_proto.SerializeToString()
    checked = ""
    if find_spec("onnxruntime") is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(content)

        def called(x: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {"rows": x.numpy()})[0])

        checked = _same(module, rows, called, subject)
    write_atomically(out, lambda temporary: temporary.write_bytes(content))
    return checked


def _same(
    module: nn.Module,
    rows: Callable[[int], Tensor],
    program: Callable[[Tensor], Tensor],
    subject: str,
) -> str:
    """Try a program beside the module; InputError where it says something else."""
    for count in CHECKED:
        x = rows(count)
        expected, found = module(x), program(x)
        if found.shape != expected.shape or not torch.allclose(found, expected, atol=TOLERANCE):
            raise InputError(
                f"{subject} cannot be exported: the program gives other outputs for {count} rows "
                "than the network; --format safetensors holds its weights"
            )
    return f"the same as the network for {' and '.join(map(str, CHECKED))} rows"
