"""A network from a source that nobody trusts, purified by recipe `backdoor`, with evidence.

Nothing is known of a trigger: what is measured is measured on clean rows that are held out, and by
`suspicion`.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from peerlearn.data.fingerprint import file_fingerprint
from peerlearn.engine.precision import resolve_device
from peerlearn.engine.pretrained import in_form_of, load_weights
from peerlearn.engine.run_folder import RunFolder
from peerlearn.errors import InputError, shown, unknown_name
from peerlearn.files import write_atomically, write_json
from peerlearn.models import MODELS
from peerlearn.modes import evaluating
from peerlearn.randomness import preserved_rng, seeded_rng
from peerlearn.results import Results
from peerlearn.systems.backdoor.config import OWN, STUDENT, VICTIM, BackdoorConfig
from peerlearn.systems.backdoor.defences import DEFENCES
from peerlearn.systems.backdoor.defences.base import Defence
from peerlearn.systems.backdoor.evidence import Judge, evidence
from peerlearn.systems.backdoor.recipe import BACKDOOR
from peerlearn.systems.backdoor.task import BackdoorTask
from peerlearn.systems.overrides import apply_overrides
from peerlearn.transfer.outputs import as_peer_output

WEIGHTS, EVIDENCE = "purified.safetensors", "purified.json"
MODEL, NETWORK = "MODEL", "--network"
NO_METHODS = ("none", "independent")
"""Arms of the recipe that purify nothing, or are there to be compared with."""
OPTIONS = {
    "data.clean_from": "--clean", "data.name": "--train", "data.mean": "--mean",
    "data.std": "--std", "defence.method": "--method", "seed": "--seed", "arm": "--method",
}  # fmt: skip
"""Keys of the recipe that have an option of the command, which says the same."""
SETTLED = ("data.attack", "data.clean", "stages.standard", "arms")
STEP = "lr|optimiser|lr_schedule"
STEPS = re.compile(rf"(epochs|{STEP}|peers\.[^.]+\.({STEP}|groups))(\..+)?")
"""Keys of the last stage alone, which some methods do without; `batch_size` counts for all."""
BLOCKS = ("data", "defence", "peers", "stages")
"""Keys, and blocks as a whole, that decide what is purified; `defence.alpha` is none of them."""
ARGUMENTS = "arguments."
FEWER = "classes, and here there are"
"""What `load_weights` says of a network that tells another number of classes apart."""


@dataclass(frozen=True)
class Request:
    """What is to be purified, and by what; fields as the options of the command.

    Attributes:
        model: file of weights.
        network: its name, as `peers.NAME.model` has it.
        clean: data set of clean rows.
        train: data set that the network was trained on, which may be poisoned; None without.
        overrides: further keys of the recipe, and `arguments.NAME` of the network.
        mean, std: by which the network reads pixels in [0, 1]; None for those of the training rows.
    """

    model: Path
    network: str
    clean: str
    train: str | None = None
    method: str = "nt-ml"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def methods() -> tuple[str, ...]:
    """What `--method` takes: arms of the recipe."""
    known = OWN | DEFENCES
    arms: Mapping[str, Mapping[str, Any]] = BACKDOOR.defaults()["arms"]
    return tuple(
        name
        for name, arm in arms.items()
        if arm.get("defence", "nt-ml") in known and name not in NO_METHODS
    )


def configured(request: Request) -> BackdoorConfig:
    """The recipe's configuration that purifies what is asked for.

    Raises InputError: an unknown method, or an override that is not allowed here; names it.
    """
    if request.method not in methods():
        raise unknown_name("method", request.method, methods(), "--method")
    arguments = {k: v for k, v in request.overrides.items() if k.startswith(ARGUMENTS)}
    overrides = {k: v for k, v in request.overrides.items() if k not in arguments}
    _check_overrides(overrides, request.method)
    network = {
        "model": request.network,
        "arguments": {k.removeprefix(ARGUMENTS): v for k, v in arguments.items()},
    }
    defaults = BACKDOOR.defaults()
    given = apply_overrides(defaults, defaults["arms"][request.method] or {})
    peers = {name: network for name, peer in given["peers"].items() if peer is not None}
    peers[VICTIM] = network | {"weights": str(request.model)}
    method = given["defence"]
    given |= {
        "arm": request.method,
        "arms": {request.method: None},
        "peers": peers,
        "data": {
            "name": request.train or request.clean,
            "clean_from": request.clean,
            "attack": None,
            "mean": request.mean,
            "std": request.std,
        },
        "defence": {"method": method} if isinstance(method, str) else method,
    }
    alone = {} if request.train else {"stages.non_target.rows": "clean"}
    seed = {} if request.seed is None else {"seed": request.seed}
    changes = {"stages.standard.epochs": 0} | alone | seed | dict(overrides)
    with as_typed(request):
        config: BackdoorConfig = BACKDOOR.resolve(given, changes)
    return config


def _defence(method: str) -> type[Defence]:
    """The defence of one of `methods`."""
    arm = BACKDOOR.defaults()["arms"][method] or {}
    return (OWN | DEFENCES)[arm.get("defence", "nt-ml")]


def _check_overrides(overrides: Mapping[str, Any], method: str) -> None:
    defence = _defence(method)
    own = ", ".join(f"defence.{name}" for name in defence.model_fields if name != "method")
    for key in overrides:
        if option := OPTIONS.get(key):
            raise InputError(f"{key}: say it with {option}")
        if re.fullmatch(r"peers\.[^.]+(\.(model|arguments|weights|frozen)(\..*)?)?", key):
            raise InputError(f"{key}: say it with {MODEL}, {NETWORK} and {ARGUMENTS}KEY=VALUE")
        if key in BLOCKS or any(f"{key}.".startswith(f"{each}.") for each in SETTLED):
            raise InputError(f"{key}: is settled by what is purified; leave it out")
        if STEPS.fullmatch(key) and not defence.tunes:
            raise InputError(f"{key}: does nothing by method {method!r}; its own options: {own}")


@contextmanager
def as_typed(request: Request) -> Iterator[None]:
    """Run a block whose errors name what the user typed, in place of keys of the recipe."""
    words = OPTIONS | {"data.name": "--train" if request.train else "--clean"}
    try:
        yield
    except InputError as error:
        said = str(error)
        for key in ("data.clean_from", "data.name", "data.mean", "data.std"):
            said = re.sub(rf"\b{re.escape(key)}(?![\w.])", words[key], said)
        said = re.sub(r"\bpeers\.\w+\.weights\b", MODEL, said)
        said = re.sub(r"\bpeers\.\w+\.model\b", NETWORK, said)
        raise InputError("\n".join(dict.fromkeys(said.splitlines()))) from error


@dataclass(frozen=True)
class Subject:
    """What is purified, with the clean rows by which it is judged.

    Attributes:
        before: the network as it was given, on the device of the run.
        task: of the recipe; of its data the clean rows are used here.
    """

    request: Request
    config: BackdoorConfig
    task: BackdoorTask
    before: nn.Module

    def notes(self) -> list[str]:
        """Sentences about what was settled without being asked for."""
        request, data = self.request, self.task.data
        source = "training rows" if request.train else "clean rows"
        lines = []
        if request.mean is None:
            numbers = ", ".join(f"{each:.4f}" for each in data.mean)
            widths = ", ".join(f"{each:.4f}" for each in data.std)
            lines.append(
                f"normalisation: mean {numbers}, std {widths}, those of the {source}; where the "
                "network was trained with others, say --mean and --std"
            )
        if request.train is None and self.config.defence.method == "nt-ml":
            lines.append(
                "no --train: non-target training is done on the clean rows "
                "(stages.non_target.rows=clean), which is weaker"
            )
        return lines


def subject(request: Request, config: BackdoorConfig) -> Subject:
    """The network and the data, checked; nothing is written.

    Raises InputError: data, a network or weights that cannot be used, or do not fit each other;
    names the option as typed.
    """
    with as_typed(request):
        MODELS.check(request.network, NETWORK)
        task = BackdoorTask.load(config)
    if len(shape := task.data.sample_shape) != 3:
        raise InputError(
            f"--clean: {request.clean}: rows of shape {shape}; images (channels, height, width) "
            "are needed"
        )
    peer, info = config.peers[VICTIM], task.info
    with seeded_rng(config.seed, "weights", VICTIM):
        network = task.network(info, peer.model, peer.arguments, NETWORK)
    try:
        load_weights(network, request.model.expanduser(), MODEL)
    except InputError as error:
        if FEWER not in str(error):
            raise
        hint = "where no row is of some class, data.classes=N says how many there are"
        raise InputError(f"{error}; {hint}") from None
    x, _, what = task.few()
    try:
        with evaluating(network), torch.no_grad(), preserved_rng():
            shape = tuple(as_peer_output(network(x), request.network).logits.shape)
    except InputError:
        raise
    except Exception as error:  # the network may be anybody's code, and raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{NETWORK}: {request.network} fails on {what}: {reason}") from error
    if shape != (2, info.classes):
        raise InputError(
            f"{NETWORK}: {request.network} gives outputs of shape {shape} for 2 rows; {what} have "
            f"{info.classes} classes, so (2, {info.classes}) is needed"
        )
    return Subject(request, config, task, network.to(resolve_device(config.device)))


def described(given: Subject) -> dict[str, Any]:
    """What was done, as plain values."""
    request, config, data = given.request, given.config, given.task.data
    train = {"from": request.train, "rows": len(data.train)} if request.train else None
    return {
        "schema": 1,
        "model": {"file": str(request.model), **file_fingerprint(request.model.expanduser())},
        "network": {"name": request.network, "arguments": config.peers[VICTIM].arguments},
        "method": request.method,
        "defence": config.defence.model_dump(mode="json"),
        **({"epochs": config.epochs} if config.defence.tunes else {}),  # of the last stage
        "seed": config.seed,
        "clean": request.clean,
        "train": train,
        "normalisation": {
            "mean": list(data.mean),
            "std": list(data.std),
            "of": "given" if request.mean else "train" if train else "clean",
        },
    }


def judge(given: Subject) -> Judge:
    """The clean rows of what is purified, and how they are read."""
    data, config = given.task.data, given.config
    assert data.clean is not None, "there are clean rows in every such data set"
    read = given.task.normalisation()
    return Judge(data.clean, data.val, data.class_names, read, config.seed)


def conclude(given: Subject, folder: Path, results: Results) -> dict[str, Any]:
    """Write the purified weights of a finished run, and the evidence, which is returned.

    The evidence is of the very weights in the file, which has the names and number formats of the
    given one.

    Raises InputError: the run's weights are missing or damaged; RunError: a file cannot be written.
    """
    request, run = given.request, RunFolder(folder)
    file = request.model.expanduser()
    weights = in_form_of(file, run.load_best(STUDENT), MODEL)
    about = given.task.about(STUDENT) | {"method": request.method, **file_fingerprint(file)}
    # One entry: several are in the header in any order, and equal runs write equal bytes.
    header = {"purified": shown(json.dumps(about, ensure_ascii=False))}
    write_atomically(folder / WEIGHTS, lambda path: save_file(weights, path, metadata=header))
    after = copy.deepcopy(given.before)
    load_weights(after, folder / WEIGHTS, str(folder))
    found = described(given) | evidence(given.before, after, judge(given))
    known = results["arms"][request.method]["peers"]
    if pruned := known[STUDENT].get("pruned"):
        found["pruned"] = pruned["mean"]
    if all("asr" in known[who] for who in (VICTIM, STUDENT)):
        asr = {"before": known[VICTIM]["asr"]["mean"], "after": known[STUDENT]["asr"]["mean"]}
        found["attack_success"] = asr
    write_json(folder / EVIDENCE, found)
    return found
