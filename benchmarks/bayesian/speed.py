"""What a Bayesian network's step costs, and its draws in evaluation. See README.md.

python benchmarks/bayesian/speed.py --write-readme
"""

import argparse
import copy
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.page import Results, Section, conditions, options, publish
from benchmarks.speed.tables import RATIOS, markdown_table, ratio_rows
from benchmarks.speed.timing import Opened, Work, interleave, row, summary
from peerlearn.engine.precision import Precision, PrecisionName, keep_freed_memory
from peerlearn.models import build_model
from peerlearn.models.bayesian import (
    METHODS,
    BayesianNetwork,
    frozen_noise,
    kl_divergence,
    to_bayesian,
)
from peerlearn.transfer.outputs import PeerOutput

README = Path(__file__).with_name("README.md")
PLAIN, RIVAL = "deterministic", "bayesian-torch"
#: Their name of a method by ours; they have no other.
THEIRS = {"reparameterisation": "Reparameterization", "flipout": "Flipout"}
ROWS, CLASSES, STD, PRIOR_STD = 128, 10, 5e-3, 0.1
DRAWS, CPU = 20, torch.device("cpu")
STEP_TARGET, RIVAL_TARGET, DRAWS_TARGET = ("<=", 2.2), ("<=", 0.8), (">=", 1.5)
CIFAR, FASHION = (3, 32, 32), (1, 28, 28)


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    sections: dict[str, Section] = {
        "training": partial(training, precision="fp32"),
        "bf16": partial(training, precision="bf16"),
        "draws": draws,
    }
    arguments = options(__doc__, sections, README.with_name("speed.json")).parse_args()
    publish(arguments, README, sections, markdown)


def training(arguments: argparse.Namespace, precision: PrecisionName) -> dict[str, Any]:
    """Steps of every method, of the network without posteriors and of bayesian-torch."""
    keep_freed_memory()  # as Trainer.run does; all sides have it
    lines = []
    sizes = [("cnn", CIFAR), ("resnet8", CIFAR), ("cnn", FASHION), ("mlp", FASHION)]
    if precision != "fp32":
        sizes = sizes[:2]
    for name, shape in sizes[:1] if arguments.smallest else sizes:
        works = steps(name, shape, 4 if arguments.smallest else ROWS, precision)
        samples = interleave(works, arguments.rounds)
        what, target = f"{name}, {_size(shape)}", None if name == "mlp" else STEP_TARGET
        found = [row(f"{what}: {each}", samples, each, PLAIN, target) for each in METHODS]
        for each, theirs in THEIRS.items():
            rival, said = f"{RIVAL}, {theirs}", f"{what}: {each}, against {RIVAL}"
            if rival in works:
                found.append(row(said, samples, each, rival, RIVAL_TARGET))
            else:
                found.append({"name": said, "skipped": f"{RIVAL} is not installed"})
        found[0] |= {"works": summary(samples)}
        lines += found
    version = f"{RIVAL} {importlib.metadata.version(RIVAL)}" if _theirs() else f"no {RIVAL}"
    return {"lines": lines, "details": [version]}


def steps(
    name: str, shape: tuple[int, ...], rows: int, precision: PrecisionName
) -> dict[str, Work]:
    """A step of each: forward, cross-entropy and KL, backward, SGD with momentum."""
    plain = build_model(name, shape, CLASSES)
    step = partial(stepping, shape=shape, rows=rows, how=Precision.resolve(precision, CPU))
    works: dict[str, Work] = {PLAIN: step(copy.deepcopy(plain), None)}
    for method in METHODS:
        net = to_bayesian(copy.deepcopy(plain), method=method, std=STD, prior_std=PRIOR_STD)
        works[method] = step(net, kl_divergence)
    if (theirs := _theirs()) is not None:
        for kind in THEIRS.values():
            net = copy.deepcopy(plain)
            options: dict[str, Any] = {"prior_mu": 0.0, "prior_sigma": PRIOR_STD}
            options |= {"posterior_mu_init": 0.0, "posterior_rho_init": -5.3, "type": kind}
            options |= {"moped_enable": True, "moped_delta": 0.05}
            theirs.dnn_to_bnn(net, options)
            works[f"{RIVAL}, {kind}"] = step(net, theirs.get_kl_loss)
    return works


def stepping(
    net: nn.Module,
    kl: Callable[[nn.Module], Tensor] | None,
    shape: tuple[int, ...],
    rows: int,
    how: Precision,
) -> Work:
    """A training step of one network on rows at hand, placed as the engine places them."""
    x, y = torch.randn(rows, *shape), torch.randint(CLASSES, (rows,))
    how.place(net)
    x = how.place(x)
    optimiser = torch.optim.SGD(net.train().parameters(), 0.01, momentum=0.9)

    def once() -> None:
        optimiser.zero_grad(set_to_none=True)
        with how.autocast():
            logits = net(x).logits
        loss = F.cross_entropy(logits.float(), y)
        if kl is not None:
            loss = loss + kl(net) / 50_000
        loss.backward()
        optimiser.step()

    return once


def draws(arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluation by S draws, as `BayesianNetwork` does it, against S forwards."""
    keep_freed_memory()
    nets = [("mlp", FASHION), ("cnn", FASHION), ("resnet8", FASHION)]
    nets += [("cnn", CIFAR), ("resnet8", CIFAR)]
    lines = []
    for name, shape in nets[:1] if arguments.smallest else nets:
        for rows in (1,) if arguments.smallest else (1, 64, 512):
            if rows < 512 or shape == FASHION:  # 512 images of CIFAR say what 64 say
                rounds = max(1, arguments.rounds // {1: 1, 64: 2, 512: 3}[rows])
                lines += drawn(name, shape, rows, rounds)
    return {"lines": lines}


def drawn(name: str, shape: tuple[int, ...], rows: int, rounds: int) -> list[dict[str, Any]]:
    """One network and size of a batch: all of it, its last layer alone, and draws that are kept."""
    found = []
    for which, kept in (("all", False), ("all", True), ("last", False)):
        if (which == "last" and name == "mlp") or (rows == 512 and (kept or which == "last")):
            continue
        made = to_bayesian(build_model(name, shape, CLASSES), which, std=STD)  # type: ignore[arg-type]
        net = BayesianNetwork(made, test_samples=DRAWS).eval()
        x = torch.randn(rows, *shape)
        one = net._at_once((x,), {})
        loop, ours = f"{DRAWS} forwards", "kept draws" if kept else f"{DRAWS} draws"
        around = partial(keeping, net, x) if kept else partial(drawing_anew, net, x)
        works: dict[str, Work | Opened] = {loop: partial(looped, net.network, x), ours: around()}
        samples = interleave(works, rounds, warm_up=int(rows < 512))
        layers = "last layer" if which == "last" else "all layers"
        how = "one forward" if one else "one by one"
        what = f"{name}, {_size(shape)}, {rows} rows, {layers}, {how}"
        if kept:
            what += ", draws kept"
        line = row(what, samples, loop, ours, DRAWS_TARGET if one else None)
        found.append(line | {"works": summary(samples)})
    return found


@torch.no_grad()
def looped(net: nn.Module, x: Tensor) -> PeerOutput:
    """S forwards of a network with Bayesian layers, each with a draw of its own."""
    return PeerOutput.of_samples(torch.stack([net(x).logits for _ in range(DRAWS)]))


@contextmanager
def _evaluating(net: nn.Module, x: Tensor, kept: bool) -> Any:
    def once() -> None:
        with torch.no_grad():
            net(x)

    if not kept:
        yield once
        return
    with frozen_noise(net):
        yield once


def drawing_anew(net: nn.Module, x: Tensor) -> Opened:
    """Every call draws."""
    return _evaluating(net, x, kept=False)


def keeping(net: nn.Module, x: Tensor) -> Opened:
    """The first call draws."""
    return _evaluating(net, x, kept=True)


def markdown(results: Results) -> str:
    """The tables of the page."""
    parts = [conditions(results)]
    for name, section in results.items():
        parts += ["", f"### {TITLES[name]}", ""]
        parts += markdown_table(RATIOS, ratio_rows(section["lines"], digits=2))
    return "\n".join(parts) + "\n"


TITLES = {
    "training": "A training step in fp32: time over that of the deterministic network or the rival",
    "bf16": "The same in bf16 with channels last, as `precision: auto` trains here",
    "draws": f"{DRAWS} test samples: time of {DRAWS} forwards over time of the network's own way",
}


def _theirs() -> Any:
    try:
        return importlib.import_module("bayesian_torch.models.dnn_to_bnn")
    except ImportError:
        return None


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[1:]))


if __name__ == "__main__":
    main()
