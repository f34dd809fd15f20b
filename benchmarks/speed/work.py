"""The work that is timed: the same networks, batch and optimiser by hand and by the engine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.timing import Opened, Work
from peerlearn.cohort import Cohort
from peerlearn.data.datasets import Batch
from peerlearn.engine.precision import Precision
from peerlearn.engine.settings import TrainingSpec
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.trainer import Trainer
from peerlearn.models import build_model
from peerlearn.randomness import seeded_rng

SHAPE, CLASSES = (3, 32, 32), 10
LR = 0.01
SGD: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
CPU = torch.device("cpu")

FP32 = Precision(CPU, bf16=False, channels_last=False)
FP32_CHANNELS_LAST = Precision(CPU, bf16=False, channels_last=True)


class Size(NamedTuple):
    """How much is measured."""

    batch: int
    peers: Sequence[int]
    models: Sequence[str]
    epochs: int
    """Of digits."""
    rows: int
    classes: int
    """Rows, and at most so many classes, of logits that exchange alone is measured on."""


FULL = Size(128, (2, 4, 8), ("resnet8", "resnet32"), 5, 256, 30_000)
SMALLEST = Size(4, (2,), ("resnet8",), 1, 4, 1_000)


def auto_precision() -> Precision:
    """What `precision: auto` means on this processor."""
    return Precision.resolve("auto", CPU)


def networks(count: int, model: str = "resnet8") -> dict[str, nn.Module]:
    """`count` networks by name, equal in every call."""
    built = {}
    for number in range(count):
        with seeded_rng(0, "weights", number):
            built[f"peer{number}"] = build_model(model, SHAPE, CLASSES)
    return built


def random_batch(rows: int) -> tuple[Tensor, Tensor]:
    """Images and labels without meaning; the time of a step does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, *SHAPE, generator=generator)
    return x, torch.randint(CLASSES, (rows,), generator=generator)


def sgd(network: nn.Module) -> torch.optim.SGD:
    """The optimiser of every arm."""
    return torch.optim.SGD(network.parameters(), lr=LR, **SGD)


def plain_steps(
    count: int, precision: Precision, batch: int, model: str = "resnet8"
) -> Callable[[], None]:
    """`count` independent training steps as one writes them by hand, one network at a time."""
    x, y = random_batch(batch)
    x = precision.place(x)
    nets = [precision.place(network).train() for network in networks(count, model).values()]
    optimisers = [sgd(network) for network in nets]

    def step() -> None:
        for network, optimiser in zip(nets, optimisers, strict=True):
            optimiser.zero_grad(set_to_none=True)
            with precision.autocast():
                logits = network(x).logits
            F.cross_entropy(logits.float(), y).backward()
            optimiser.step()

    return step


class OneBatch:
    """Epochs of one batch, the same every time."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return islice([self.batch], start, None)


def training(rows: int, **more: Any) -> TrainingSpec:
    """One epoch of batches of `rows`, with the optimiser of every arm."""
    return TrainingSpec.model_validate(
        {
            "epochs": 1,
            "batch_size": rows,
            "lr": LR,
            "lr_schedule": "constant",
            "optimiser": {"name": "sgd", **SGD},
            "device": "cpu",
            "evaluation": {"select": "last"},
            **more,
        }
    )


def trainer_of(
    count: int, precision: Precision, rows: int, transfer: str, model: str = "resnet8"
) -> Trainer:
    """A cohort of `count` networks and one batch, with nothing to validate."""
    x, y = random_batch(rows)
    batch = Batch((precision.place(x),), y, torch.arange(rows))
    cohort = Cohort(networks(count, model), transfer)
    trainer = Trainer(cohort, [TrainingStage("mutual", 1, OneBatch(batch))], training(rows))
    trainer.precision = precision
    return trainer


def engine_step(
    count: int, precision: Precision, rows: int, transfer: str, model: str = "resnet8"
) -> Opened:
    """One step of peerlearn's engine over a cohort of `count` networks."""
    return stepping(trainer_of(count, precision, rows, transfer, model))


def first_batch(trainer: Trainer, stage: int = 0) -> Batch:
    """What the first step of a stage sees."""
    at = trainer.stages[stage]
    assert isinstance(at, TrainingStage), f"{at.name} has no batches"
    return next(iter(at.loader.epoch(0)))


@contextmanager
def stepping(trainer: Trainer, stage: int = 0) -> Iterator[Work]:
    """Steps of a trainer on the first batch of a stage, again and again."""
    first = first_batch(trainer, stage)
    with trainer.stepping(stage) as step:
        yield partial(step, first)
