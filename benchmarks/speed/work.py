"""The work that is timed: the same networks, batch and optimiser by hand and by the engine."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import Batch
from peerlearn.engine.optimisers import LearningRate, OptimiserSpec
from peerlearn.engine.precision import Precision
from peerlearn.engine.steps import Clock, Stepper
from peerlearn.engine.transports import LocalTransport
from peerlearn.engine.updates import PeerUpdate
from peerlearn.models import build_model
from peerlearn.randomness import seeded_rng

SHAPE, CLASSES, BATCH = (3, 32, 32), 10, 128
LR = 0.01
SGD: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
CPU = torch.device("cpu")

FP32 = Precision(CPU, bf16=False, channels_last=False)
FP32_CHANNELS_LAST = Precision(CPU, bf16=False, channels_last=True)


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


def random_batch() -> tuple[Tensor, Tensor]:
    """Images and labels without meaning; the time of a step does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, *SHAPE, generator=generator)
    return x, torch.randint(CLASSES, (BATCH,), generator=generator)


def sgd(network: nn.Module) -> torch.optim.SGD:
    """The optimiser of every arm."""
    return torch.optim.SGD(network.parameters(), lr=LR, **SGD)


def plain_steps(count: int, precision: Precision, model: str = "resnet8") -> Callable[[], None]:
    """`count` independent training steps as one writes them by hand, one network at a time."""
    x, y = random_batch()
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


def engine_step(
    count: int, precision: Precision, transfer: str, model: str = "resnet8"
) -> Callable[[], None]:
    """One step of peerlearn's engine over a cohort of `count` networks."""
    cohort, step = engine(count, precision, transfer, model)
    cohort.train()
    return step


def engine(
    count: int, precision: Precision, transfer: str, model: str = "resnet8"
) -> tuple[Cohort, Callable[[], None]]:
    """A cohort and a function that steps it."""
    x, y = random_batch()
    cohort = Cohort(networks(count, model), transfer)
    precision.place(cohort)
    optimiser = OptimiserSpec.model_validate({"name": "sgd", **SGD})
    updates = {
        name: PeerUpdate(peer, optimiser, LR, LearningRate(kind="constant"))
        for name, peer in cohort.peers.items()
    }
    stepper = Stepper(cohort, updates, precision, LocalTransport(cohort.names), {}, cohort.names)
    batch = Batch((precision.place(x),), y, torch.arange(BATCH))
    numbers = itertools.count()

    def step() -> None:
        stepper.step([batch], Clock(0, "mutual", next(numbers), 0.5))

    return cohort, step
