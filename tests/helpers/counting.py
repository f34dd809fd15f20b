"""A toy task in one file: peers tell how many of 16 lights are on, and learn it from each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TextIO

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from peerlearn.data.catalogue import Catalogue, Known
from peerlearn.data.datasets import Batch
from peerlearn.data.info import DataInfo
from peerlearn.data.loaders import Batches
from peerlearn.data.order import ShuffledOrder
from peerlearn.data.spec import SourceSpec
from peerlearn.engine.evaluate import Rows
from peerlearn.engine.task import Purpose
from peerlearn.metrics.assessment import mean_metrics
from peerlearn.metrics.catalogue import Metric
from peerlearn.models import MODELS
from peerlearn.objectives.base import Objective, PeerView
from peerlearn.randomness import keyed_generator
from peerlearn.reading.predictions import Inputs, Prediction, write_table
from peerlearn.reading.reader import Reader
from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.contract import Task

LIGHTS = 16


class Lights(NamedTuple):
    x: Tensor  # (N, 16), 0 or 1
    y: Tensor  # (N,), how many are on


def lights(count: int, key: str) -> Lights:
    x = torch.rand(count, LIGHTS, generator=keyed_generator(0, key)).round()
    return Lights(x, x.sum(1))


def rows_of(part: Lights) -> Rows:
    return lambda: iter([tuple(part)])


class Squared(BaseModel, Objective):
    def loss(self, view: PeerView) -> Tensor:
        return (view.output.logits[:, 0] - view.targets).square().mean()


class MeanError:
    def __init__(self) -> None:
        self.errors: dict[str, list[Tensor]] = {}

    def add(self, logits: Mapping[str, Tensor], y: Tensor) -> None:
        everyone = dict(logits) | {"ensemble": torch.stack(list(logits.values())).mean(0)}
        for name, z in everyone.items():
            self.errors.setdefault(name, []).append((z[:, 0] - y).abs())

    def result(self) -> dict[str, Any]:
        found = {name: {"mae": torch.cat(e).mean().item()} for name, e in self.errors.items()}
        ensemble = found.pop("ensemble")
        return {"peers": found, "mean_peer": mean_metrics([*found.values()]), "ensemble": ensemble}


class CountingInfo(DataInfo):
    content: ClassVar[str] = f"{LIGHTS} lights"


class CountingReader(Reader[CountingInfo]):
    info_type = CountingInfo

    def test_rows(self, name: str) -> Rows:
        return rows_of(lights(50, name))

    def assessment(self) -> MeanError:
        return MeanError()

    def inputs(self, paths: Sequence[Path], peers: Mapping[str, nn.Module]) -> Iterator[Inputs]:
        for path in paths:
            x = torch.from_numpy(np.load(path)).float()
            numbers = tuple(range(len(x)))
            yield Inputs((str(path),) * len(x), numbers, rows_of(Lights(x, x.sum(1))))

    def together(self, logits: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(list(logits.values())).mean(0)

    def write(self, made: Iterable[Prediction], out: Path | TextIO, *options: bool) -> int:
        lines = [[f"{z:.3f}"] for each in made for z in each.probabilities[:, 0].tolist()]
        write_table(out, ["lights on"], lines)
        return len(lines)


class CountingConfig(RecipeConfig):
    metrics = (Metric("mae", "mean error", "lower", headline=True, selects=True, brief=0),)
    data: SourceSpec = Field(SourceSpec(name="lights"))
    objective: Squared = Squared()


def taken(part: Lights, epoch: int, step: int, index: Tensor) -> Batch:
    return Batch((part.x[index],), part.y[index], index)


class CountingTask(Task[CountingConfig, dict[str, Lights], CountingInfo]):
    Config = CountingConfig
    Reader = CountingReader
    models = MODELS
    catalogue = Catalogue("lights", "lights", {"lights": Known("16 lights", 1, (300,), lights)})

    @classmethod
    def read(cls, config: CountingConfig) -> dict[str, Lights]:
        return {part: lights(100, part) for part in ("train", "val", "test")}

    @classmethod
    def informed(cls, config: CountingConfig, data: dict[str, Lights]) -> CountingInfo:
        rows = {part: len(each.y) for part, each in data.items()}
        return CountingInfo(name="lights", classes=1, class_names=("on",), rows=rows)

    @classmethod
    def sample(cls, info: CountingInfo) -> tuple[int]:
        return (LIGHTS,)

    def few(self) -> tuple[Tensor, Tensor, str]:
        return self.data["train"].x[:2], self.data["train"].y[:2], "lights"

    def loader(self) -> Batches:
        order = ShuffledOrder(100, self.config.batch_size, self.config.seed)
        return Batches(order, partial(taken, self.data["train"]))

    def row_sets(self) -> dict[str, Rows]:
        return {part: rows_of(each) for part, each in self.data.items()}

    def assessment(self, purpose: Purpose) -> MeanError:
        return MeanError()


COUNTING = Recipe(
    name="counting",
    title="Counting lights",
    summary="How many lights are on",
    find_task=lambda: CountingTask,
    text="""
recipe: counting
peers: {a: {model: mlp, arguments: {hidden: [32]}}, b: {model: mlp, arguments: {hidden: [8]}}}
transfer: {divergence: mse, weight: 0.1}
epochs: 30
lr: 0.01
batch_size: 20
optimiser: adam
threads: 1
evaluation: {metric: mae}
arms: {mutual: {}, independent: {transfer: none}}
""",
)
