"""Against the package `pytorch-dml` at the same work: two networks, one epoch of images.

Four arms tell data path, engine and precision apart: the package as its README has it (fp32, a
torch DataLoader that augments one sample at a time), the package on peerlearn's batches,
peerlearn in fp32, and peerlearn as it comes (auto precision).
"""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.images import array_loader, images, per_sample_loader
from benchmarks.speed.timing import interleave, row, summary
from benchmarks.speed.work import networks, sgd, training
from peerlearn.cohort import Cohort
from peerlearn.data.loaders import ArrayLoader
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.trainer import Trainer

BATCHES = 4
THEIRS, THEIRS_OUR_BATCHES = "pytorch-dml", "pytorch-dml on ArrayLoader"
OURS_FP32, OURS_AUTO = "peerlearn, fp32", "peerlearn, auto"

#: What an operator counts as when time is divided up.
KINDS = {
    "convolution": ("aten::mkldnn_convolution", "aten::convolution_backward"),
    "normalisation": ("batch_norm",),
    "activation": ("threshold", "clamp", "relu"),
    "optimiser": ("Optimizer", "SGD", "_foreach"),
}


class LogitsOnly(nn.Module):
    """The same network with the bare tensor that the package expects."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).logits


class Pairs:
    """peerlearn's batches as the (x, y) pairs of a DataLoader."""

    def __init__(self, loader: ArrayLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((batch.x, batch.y) for batch in self.loader.epoch(0))


def against_package(
    rounds: int, threads: int, batch: int, folder: Path | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Lines of the table, and where the time of each arm goes; a reason where it is skipped."""
    try:
        package = _import(folder)
    except ImportError as error:
        reason = f"{error}; pip install --no-deps --target DIR pytorch-dml tqdm, --pytorch-dml DIR"
        return [{"name": "pytorch-dml", "skipped": reason}], {}
    split, source = images(BATCHES * batch)
    works = {
        THEIRS: _theirs(package, per_sample_loader(split, batch)),
        THEIRS_OUR_BATCHES: _theirs(package, Pairs(array_loader(split, batch))),
        OURS_FP32: _ours(array_loader(split, batch), batch, "fp32", threads),
        OURS_AUTO: _ours(array_loader(split, batch), batch, "auto", threads),
    }
    samples = interleave(works, rounds)
    lines = [
        row("pytorch-dml over peerlearn, each as it comes", samples, THEIRS, OURS_AUTO, (">=", 2)),
        row("both in fp32", samples, THEIRS, OURS_FP32),
        row("of which engine", samples, THEIRS_OUR_BATCHES, OURS_FP32),
        row("of which data path", samples, THEIRS, THEIRS_OUR_BATCHES),
        row("of which precision", samples, OURS_FP32, OURS_AUTO),
    ]
    lines[0] |= {"works": summary(samples), "images": source, "rows": len(split)}
    return lines, {name: _where_time_goes(work) for name, work in works.items()}


def _import(folder: Path | None) -> ModuleType:
    if folder is not None:
        sys.path.append(str(folder))
    return importlib.import_module("pydml")


def _theirs(package: ModuleType, loader: Any) -> Callable[[], None]:
    """The package as its README uses it, at temperature 1 with the optimisers of our arms."""
    nets = [LogitsOnly(network) for network in networks(2).values()]
    trainer = package.DMLTrainer(
        nets,
        config=package.DMLConfig(temperature=1.0),
        device="cpu",
        optimizers=[sgd(network) for network in nets],
    )

    def epoch() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.fit(loader, epochs=1, verbose=False)

    return epoch


def _ours(loader: ArrayLoader, batch: int, precision: str, threads: int) -> Callable[[], None]:
    """A whole `Trainer.run` of one epoch: set-up, monitoring and hand-back included."""
    cohort = Cohort(networks(2), "predictions: kl")
    spec = training(batch, precision=precision, threads=threads)

    def epoch() -> None:
        Trainer(cohort, [TrainingStage("mutual", 1, loader)], spec).run()

    return epoch


def _where_time_goes(epoch: Callable[[], None]) -> dict[str, float]:
    """Milliseconds by kind of operator over one epoch, from torch.profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        epoch()
    spent = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in profile.key_averages():
        kind = next(
            (kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)),
            "everything else",
        )
        spent[kind] += event.self_cpu_time_total / 1e3
    return spent
