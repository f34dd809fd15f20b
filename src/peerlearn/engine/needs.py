"""The memory that a training needs, in bytes, so that one which cannot fit is refused at once.

Counted is what can be told without running anything: weights, gradients, what optimisers keep,
averages, what edges remember, the copies of selected weights, rows in memory and, roughly, batches.
Activations are not counted, nor what writing a checkpoint takes for a moment.
"""

import dataclasses
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from peerlearn.engine.optimisers import KEPT, OptimiserSpec
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.trainable import is_within
from peerlearn.engine.updates import Steps, in_groups
from peerlearn.errors import InputError
from peerlearn.launched import launched_together
from peerlearn.membership import TRUNK
from peerlearn.memory import available_memory, in_words
from peerlearn.objectives.base import as_objective, module_of
from peerlearn.randomness import preserved_rng

if TYPE_CHECKING:
    from peerlearn.engine.trainer import Trainer

#: Of every part, what makes it smaller.
LOWERED_BY = {
    "weights": "peers (fewer, or smaller networks)",
    "gradients": "peers (fewer, or smaller networks)",
    "optimiser": "optimiser (adam keeps two numbers a weight, sgd one or none)",
    "averages": "ema",
    "edges": "transfer (memory, teacher_ema)",
    "batches": "batch_size and evaluation.batch_size",
    "rows": "data.train_size",
    "selected weights": "peers (fewer, or smaller networks)",
}
PRIMES = (2, 3, 5, 7, 11, 13)
"""Sides of the small tensors that stand in for parameters."""


@dataclasses.dataclass(frozen=True)
class Needs:
    """Bytes by part: on the device that trains, and beside the processor.

    `taken` are those of both that are in use already. On a CPU all is in one place.
    """

    device: Mapping[str, int]
    host: Mapping[str, int]
    taken: Mapping[str, int]  # "device" and "host"
    where: torch.device

    @property
    def places(self) -> list[tuple[str, dict[str, int], int, int | None]]:
        """Every memory that is used: its name, its parts, what is taken, and what is available."""
        if self.where.type == "cpu":
            parts, taken = {**self.device, **self.host}, sum(self.taken.values())
            return [("this machine", parts, taken, available_memory())]
        return [
            (str(self.where), dict(self.device), self.taken["device"], free_on(self.where)),
            ("this machine", dict(self.host), self.taken["host"], available_memory()),
        ]

    @property
    def lines(self) -> list[str]:
        """What is needed in words, a line for each memory."""
        return [
            f"about {in_words(sum(parts.values()))}"
            + (f" on {name}" if len(self.places) > 1 else "")
            + f", without activations: {_listed(parts)}"
            for name, parts, _, _ in self.places
        ]

    def check(self) -> None:
        """Raise InputError where it is more than there is; says what to lower."""
        for name, parts, taken, free in self.places:
            total = sum(parts.values())
            if free is None or total <= free + taken:
                continue
            large = {part: size for part, size in parts.items() if size > total / 20}
            ordered = sorted(large, key=lambda part: -large[part])
            raise InputError(
                f"memory: the training needs about {in_words(total)} without activations "
                f"({_listed(large)}); {name} has {in_words(free + taken)} for it. To lower: "
                + "; ".join(dict.fromkeys(LOWERED_BY[part] for part in ordered))
            )


def check_needs(trainer: "Trainer") -> None:
    """InputError where a training needs more memory than there is.

    Peers in several processes share nothing that this process could count; they are not checked.
    """
    if launched_together() == 1:
        needed(trainer).check()


def needed(trainer: "Trainer") -> Needs:
    """The memory that a training needs, whose cohort and data are there."""
    cohort, device = trainer.cohort, trainer.device
    networks = [*cohort.peers.values(), *([] if cohort.trunk is None else [cohort.trunk])]
    around: list[nn.Module] = [cohort.transfer, cohort.objective_modules]
    for stage in trainer.stages:
        if isinstance(stage, TrainingStage):
            around += [] if stage.transfer is None else [stage.transfer]
            given = [module_of(as_objective(each)) for each in (stage.objectives or {}).values()]
            around += [module for module in given if module is not None]
    held = {"weights": _distinct(networks), "edges": _distinct(around, without=networks)}
    parts = {name: _bytes(tensors) for name, tensors in held.items()}
    learned: dict[str, int] = max(
        _learned_by_stage(trainer), key=lambda it: sum(it.values()), default={}
    )
    data = getattr(trainer.task, "data", None)
    host = {
        "rows": kept_bytes(data),
        "selected weights": sum(_bytes(net.state_dict().values()) for net in networks),
    }
    there = [tensor for tensors in held.values() for tensor in tensors]
    taken = {
        "device": _bytes(tensor for tensor in there if tensor.device.type == device.type),
        "host": host["rows"],
    }
    return Needs(
        _filled({"weights": parts["weights"], **learned, "edges": parts["edges"]})
        | _filled({"batches": _batches(trainer)}),
        _filled(host),
        taken,
        device,
    )


def _learned_by_stage(trainer: "Trainer") -> Iterator[dict[str, int]]:
    """What the steps of every stage add to the weights: gradients, optimisers, averages."""
    cohort, training, seen = trainer.cohort, trainer.training, dict[str, State]()
    for number, stage in enumerate(trainer.stages):
        if not isinstance(stage, TrainingStage):
            continue
        modules = {name: cohort.peers[name] for name in trainer.plan.learners(number)}
        if cohort.trunk is not None and stage.trunk:
            modules[TRUNK] = cohort.trunk
        graph = cohort.transfer if stage.transfer is None else stage.transfer
        objectives = cohort.objectives if stage.objectives is None else stage.objectives
        sums = Counter[str](gradients=0, optimiser=0, averages=0)
        for name, module in modules.items():
            chosen = None if name == TRUNK else stage.trainable
            learning = (
                (key, parameter)
                for key, parameter in module.named_parameters()
                if parameter.requires_grad and is_within(key, chosen)
            )
            said = (training, stage.steps, trainer.peers.get(name))
            groups = Steps.of_groups(*said)
            parts = in_groups(learning, groups)
            if name in cohort.names:
                parts[None] += graph.parameters_of(name)
                further = module_of(as_objective(objectives[name]))
                parts[None] += [] if further is None else list(further.parameters())
            for pattern, part in parts.items():
                steps = Steps.settled(*said) if pattern is None else groups[pattern]
                sums["gradients"] += _bytes(part)
                sums["optimiser"] += state_bytes(steps.optimiser, part, seen)
            if training.ema is not None:  # with the number of steps that it is the average of
                sums["averages"] += _bytes(_distinct([module])) + 8
        yield dict(sums)


State = list[tuple[tuple[int, ...], int]]
"""Of what an optimiser keeps of a parameter: the shape and the bytes of a number of each tensor."""


def state_bytes(
    spec: OptimiserSpec, parameters: Iterable[Tensor], seen: dict[str, State] | None = None
) -> int:
    """What an optimiser keeps of parameters from its first step on, in bytes.

    Of one that is not usual it is found by a step of the optimiser itself over small tensors, one
    for every number of dimensions: their sides are different primes, so that the sides of its state
    say which of the parameter's they are. 0 of an optimiser that cannot be tried so. `seen` keeps
    what was found.
    """
    seen = {} if seen is None else seen
    total, said = 0, repr(spec)
    for (shape, dtype), count in Counter((tuple(p.shape), p.dtype) for p in parameters).items():
        stand_in = tuple(1 if side == 1 else p for side, p in zip(shape, PRIMES, strict=False))
        key = f"{said} {stand_in} {dtype}"
        if key not in seen:
            seen[key] = _state_of(spec, stand_in, dtype)
        sides = dict(zip(stand_in, shape, strict=False)) | {1: 1}
        for kept, size in seen[key]:
            total += count * size * math.prod(sides.get(side, side) for side in kept)
    return total


def _state_of(spec: OptimiserSpec, shape: tuple[int, ...], dtype: torch.dtype) -> State:
    if spec.is_usual:
        alike, numbers = KEPT[spec.name]
        return alike * [(shape, dtype.itemsize)] + numbers * [((), 4)]
    return _tried(spec, shape, dtype)


def _tried(spec: OptimiserSpec, shape: tuple[int, ...], dtype: torch.dtype) -> State:
    parameter = nn.Parameter(torch.ones(shape, dtype=dtype))
    parameter.grad = torch.ones_like(parameter)
    try:
        with warnings.catch_warnings(), preserved_rng():
            warnings.simplefilter("ignore")
            optimiser = spec.build([parameter], 0.1)
            optimiser.step()
    except Exception:  # the user's own, which will say what is wrong when it is made
        return []
    kept = optimiser.state[parameter].values()
    return [(tuple(it.shape), it.element_size()) for it in kept if isinstance(it, Tensor)]


def kept_bytes(data: Any) -> int:
    """Bytes of the arrays that a data set holds in memory; what stays in files is not there."""
    held: dict[int, int] = {}
    for each in _arrays(data):
        if isinstance(each, Tensor):
            storage = each.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
        else:
            base = each
            while isinstance(base.base, np.ndarray):
                base = base.base
            held[base.ctypes.data] = base.nbytes
    return sum(held.values())


def _arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, Tensor):
        if value.layout == torch.sparse_csr:
            yield from (value.crow_indices(), value.col_indices(), value.values())
        elif value.layout == torch.strided:
            yield value
    elif isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Mapping):
        yield from (array for each in value.values() for array in _arrays(each))
    elif isinstance(value, list | tuple):
        if value and not isinstance(value[0], str | Path | int | float):  # long lists of names
            yield from (array for each in value for array in _arrays(each))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _arrays(vars(value))


def _batches(trainer: "Trainer") -> int:
    """Roughly the bytes of the larger batch, of those that train and those that are evaluated."""
    sizes = None if trainer.task is None else trainer.task.batch_sizes()
    if sizes is None:
        return 0
    views, peers = getattr(trainer.training, "views", 1), len(trainer.cohort.peers)
    outputs = 2 * views * peers * sizes.outputs  # and their gradients
    train = sizes.training * (views * sizes.inputs + sizes.targets + outputs)
    evaluation = sizes.evaluation * (sizes.inputs + sizes.targets + peers * sizes.outputs)
    return int(max(train, evaluation))


def free_on(device: torch.device) -> int | None:
    """Bytes that an accelerator has left, those that torch keeps for itself among them.

    None where torch cannot tell.
    """
    kind = getattr(torch, device.type, None)
    try:
        free, _ = kind.mem_get_info(device)  # type: ignore[union-attr]
        unused = kind.memory_reserved(device) - kind.memory_allocated(device)  # type: ignore[union-attr]
    except Exception:  # not there, or not of every backend
        return None
    return int(free) + int(unused)


def _distinct(modules: Iterable[nn.Module], without: Iterable[nn.Module] = ()) -> list[Tensor]:
    """Parameters and buffers of modules, each once."""
    others = {id(tensor) for module in without for tensor in _tensors(module)}
    found = {id(tensor): tensor for module in modules for tensor in _tensors(module)}
    return [tensor for key, tensor in found.items() if key not in others]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _filled(parts: Mapping[str, int]) -> dict[str, int]:
    return {name: size for name, size in parts.items() if size}


def _listed(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {in_words(size)}" for name, size in parts.items())
