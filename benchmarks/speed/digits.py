"""Where steps are smallest the engine shows most: two small networks on digits, against a loop.

Both sides make the same networks, read the same batches and end at the same weights.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.timing import Work, interleave, row, summary
from benchmarks.speed.work import CPU, sgd, training
from peerlearn.cohort import Cohort
from peerlearn.data.loaders import Batches, train_loader
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import AugmentSpec, DataSpec
from peerlearn.engine.precision import Precision
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.trainer import Trainer
from peerlearn.models import build_model
from peerlearn.randomness import seeded_rng

RUN, STEPS, LOOP = "Trainer.run", "the engine's steps", "hand-written loop"
TARGET = ("<=", 1.25)
BATCH = 64


def small_steps(rounds: int, epochs: int) -> list[dict[str, Any]]:
    """`epochs` epochs of two mlp that teach each other, in fp32 and in auto precision."""
    return [_measured(precision, rounds, epochs) for precision in ("fp32", "auto")]


def _measured(precision: str, rounds: int, epochs: int) -> dict[str, Any]:
    data = load_dataset(DataSpec(name="digits"))
    batches = train_loader(data, BATCH, 0, AugmentSpec())
    placed = Precision.resolve("fp32" if precision == "fp32" else "auto", CPU)
    works: dict[str, Work] = {
        RUN: lambda: trainer_of(batches, precision, epochs).run(),
        STEPS: lambda: _steps(trainer_of(batches, precision, epochs), batches, epochs),
        LOOP: lambda: loop(batches, placed, epochs),
    }
    samples = interleave(works, rounds)
    line = row(f"two mlp on digits, {precision}", samples, RUN, LOOP, TARGET)
    line["parts"] = {
        "the engine's steps": row("", samples, STEPS, LOOP)["ratio"],
        "monitor, checks and set-up": row("", samples, RUN, STEPS)["ratio"],
    }
    return line | {"works": summary(samples), "steps": epochs * len(batches)}


def networks() -> dict[str, nn.Module]:
    """The pair, equal in every call."""
    built = {}
    for name in ("a", "b"):
        with seeded_rng(0, "weights", name):
            built[name] = build_model("mlp", (1, 8, 8), 10)
    return built


def trainer_of(batches: Batches, precision: str, epochs: int) -> Trainer:
    """The same pair in peerlearn's engine, with nothing to validate."""
    cohort = Cohort(networks(), "predictions: kl")
    spec = training(BATCH, epochs=epochs, precision=precision, threads=1)
    return Trainer(cohort, [TrainingStage("mutual", epochs, batches)], spec)


def _steps(trainer: Trainer, batches: Batches, epochs: int) -> None:
    with trainer.stepping() as step:
        for epoch in range(epochs):
            for batch in batches.epoch(epoch):
                step(batch)


def loop(batches: Batches, precision: Precision, epochs: int) -> dict[str, nn.Module]:
    """Deep mutual learning of two networks as one writes it by hand."""
    pair = {name: precision.place(network).train() for name, network in networks().items()}
    one, other = pair.values()
    optimisers = [sgd(one), sgd(other)]
    for epoch in range(epochs):
        for batch in batches.epoch(epoch):
            x, y = precision.place(batch.x), batch.y
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            with precision.autocast():
                logits = one(x).logits.float(), other(x).logits.float()
            first, second = (F.log_softmax(each, 1) for each in logits)
            losses = [
                F.cross_entropy(logits[0], y) + divergence(first, second),
                F.cross_entropy(logits[1], y) + divergence(second, first),
            ]
            torch.stack(losses).sum().backward()
            for optimiser in optimisers:
                optimiser.step()
    return pair


def divergence(own: Tensor, taught: Tensor) -> Tensor:
    """KL(taught ‖ own) of log-probabilities, without a gradient into what is taught."""
    return F.kl_div(own, taught.detach(), log_target=True, reduction="batchmean")
