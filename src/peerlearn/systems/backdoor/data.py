"""Data with a backdoor: poisoned training rows, few clean rows, test rows with the trigger."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from peerlearn.data.account import Account
from peerlearn.data.datasets import Dataset, Split
from peerlearn.data.splits import hold_out
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.systems.backdoor.attacks.base import Attack
from peerlearn.systems.backdoor.attacks.kept import kept
from peerlearn.systems.backdoor.attacks.poisoning import Poisoned, poison
from peerlearn.systems.backdoor.attacks.preparing import data_to_poison
from peerlearn.systems.backdoor.attacks.saved import read_poisoned
from peerlearn.systems.backdoor.attacks.shaping import ShapedAttack
from peerlearn.systems.backdoor.attacks.surrogate import trained_surrogate
from peerlearn.systems.backdoor.clean_rows import training_rows, with_clean_rows
from peerlearn.systems.backdoor.config import BackdoorData


@dataclass(frozen=True)
class BackdoorDataset(Dataset):
    """A data set whose validation rows are clean ones that are not learned from.

    Attributes:
        clean: clean rows to learn from.
        triggered: test rows with the trigger, and their true labels; None where nobody knows it.
        aims: int64, the class that each of them shall be taken for.
        sources: int64, the test row that each of them was.
        poisoned: bool, training rows that have the trigger; None where nobody knows.
        read_by: mean and std that networks were trained with elsewhere; None: those of train.
    """

    clean: Split | None = None
    triggered: Split | None = None
    aims: Tensor | None = None
    sources: Tensor | None = None
    poisoned: Tensor | None = None
    read_by: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.read_by or super()._statistics


def backdoor_data(
    spec: BackdoorData,
    seed: int,
    model: str,
    arguments: Mapping[str, Any],
    *,
    device: str = "auto",
    threads: int | None = None,
) -> BackdoorDataset:
    """The data of a `data` block, poisoned as it says, or as a file of `peerlearn attack` is.

    Attacks that need a network of their own train this `model`, on `device` and with `threads` as
    of a training, and what they make is kept.

    Raises InputError: data that cannot be used, too few clean rows, or an attack that these data
    cannot have; names the field.
    """
    path = Path(spec.name).expanduser()
    saved = read_poisoned(path) if path.suffix.lower() == ".npz" and path.is_file() else None
    found: Poisoned | None = None
    if saved is not None:
        if spec.attack is not None:
            raise InputError(
                f"data.attack: {path} is poisoned by attack {saved.attack.kind!r} already; "
                "data.attack=null takes it as it is"
            )
        found, data = saved.poisoned, saved.poisoned.data
    elif spec.clean_from is None:
        data = data_to_poison(spec, spec.clean, "data.clean")
    else:
        data = training_rows(spec)
    if spec.clean_from is not None:
        data = with_clean_rows(data, spec)
    if data.multilabel:
        raise InputError(f"data: rows of {data.name!r} have several labels; one is needed")
    read_by = _read_by(spec, data)
    clean, held_out = _divided(data, spec)
    if spec.name == spec.clean_from:  # what is held out is learned from in no stage
        data = replace(data, train=clean)
    if saved is None and spec.attack is not None:
        train = trained_surrogate(
            model, arguments, seed, device=device, threads=threads, field="peers.victim.model"
        )
        make = partial(poison, data, spec.attack, seed, train)
        found, notes = _attacked(data, spec.attack, make, seed, model, arguments)
        data = replace(data, account=data.account + Account(notes=notes))
    if found is not None:
        data = replace(data, train=found.data.train)
    if not len(data.test):
        note = "no test: measured on the clean rows that are held out, and not learned from"
        data = replace(data, test=held_out, account=data.account + Account(notes=(note,)))
    same: dict[str, Any] = {name: getattr(data, name) for name in Dataset.__dataclass_fields__}
    names = ("triggered", "aims", "sources", "poisoned") if found is not None else ()
    marks = {name: getattr(found, name) for name in names}
    return BackdoorDataset(**same | {"val": held_out}, clean=clean, **marks, read_by=read_by)


def _attacked(
    data: Dataset, attack: Attack, make: Callable[[], Poisoned], *of: object
) -> tuple[Poisoned, tuple[str, ...]]:
    """The data as an attack leaves them, and what is told of it; it depends on `of` besides."""
    if not isinstance(attack, ShapedAttack):
        return make(), ()
    found, said = kept(attack, make, data.train, data.test, data.class_names, *of)
    return found, (said,)


def _divided(data: Dataset, spec: BackdoorData) -> tuple[Split, Split]:
    """Clean rows to learn from, and those to choose by."""
    y = data.val.y
    if len(found := y[labelled_rows(y)].unique()) < 2:
        names = ", ".join(data.class_names[int(each)] for each in found) or "none"
        raise InputError(
            f"data.clean: the clean rows are of a single class ({names}); rows of every class are "
            "needed"
        )
    purpose, what = "held-out clean rows", "the clean set"
    return hold_out(data.val, spec.held_out, spec.split_seed, purpose, "data.held_out", what)


def _read_by(
    spec: BackdoorData, data: Dataset
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std that are given, one of each for every channel."""
    if spec.mean is None or spec.std is None:
        return None
    channels = data.sample_shape[0]

    def of_all(name: str, values: Sequence[float]) -> tuple[float, ...]:
        if len(values) not in (1, channels):
            raise InputError(
                f"data.{name}: {len(values)} numbers for rows of shape {data.sample_shape}; "
                f"allowed: one, or {channels}, one for each channel"
            )
        return tuple(values) * (channels if len(values) == 1 else 1)

    return of_all("mean", spec.mean), of_all("std", spec.std)
