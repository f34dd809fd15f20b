"""Data with a backdoor: poisoned training rows, few clean rows, test rows with the trigger."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from peerlearn.data.account import Account
from peerlearn.data.datasets import Dataset, Split
from peerlearn.data.splits import hold_out
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.systems.backdoor.attacks.kept import kept
from peerlearn.systems.backdoor.attacks.poisoning import Poisoned, poison
from peerlearn.systems.backdoor.attacks.preparing import data_to_poison
from peerlearn.systems.backdoor.attacks.saved import read_poisoned
from peerlearn.systems.backdoor.attacks.shaping import ShapedAttack
from peerlearn.systems.backdoor.attacks.surrogate import trained_surrogate
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
    """

    clean: Split | None = None
    triggered: Split | None = None
    aims: Tensor | None = None
    sources: Tensor | None = None
    poisoned: Tensor | None = None


def backdoor_data(
    spec: BackdoorData, seed: int, model: str, arguments: Mapping[str, Any]
) -> BackdoorDataset:
    """The data of a `data` block, poisoned as it says, or as a file of `peerlearn attack` is.

    Attacks that need a network of their own train this `model`, and what they make is kept.

    Raises InputError: data that cannot be used, too few clean rows, or an attack that these data
    cannot have; names the field.
    """
    path = Path(spec.name).expanduser()
    saved = read_poisoned(path) if path.suffix == ".npz" and path.is_file() else None
    if saved is not None:
        if spec.attack is not None:
            raise InputError(
                f"data.attack: {path} is poisoned by attack {saved.attack.kind!r} already; "
                "data.attack=null takes it as it is"
            )
        found: Poisoned | None = saved.poisoned
        data = saved.poisoned.data
    else:
        data = data_to_poison(spec, spec.clean, "data.clean")
        found = None
        if spec.attack is not None:
            train = trained_surrogate(model, arguments, seed, field="peers.victim.model")
            make = partial(poison, data, spec.attack, seed, train)
            if isinstance(spec.attack, ShapedAttack):
                of = data.train, data.test, seed, model, arguments
                found, said = kept(spec.attack, make, *of)
                data = replace(data, account=data.account + Account(notes=(said,)))
            else:
                found = make()
    if data.multilabel:
        raise InputError(f"data: rows of {data.name!r} have several labels; one is needed")
    clean, held_out = _divided(data, spec)
    if found is not None:
        data = replace(data, train=found.data.train)
    data = replace(data, val=held_out)
    same: dict[str, Any] = {name: getattr(data, name) for name in Dataset.__dataclass_fields__}
    if found is None:
        return BackdoorDataset(**same, clean=clean)
    marks = {n: getattr(found, n) for n in ("triggered", "aims", "sources", "poisoned")}
    return BackdoorDataset(**same, clean=clean, **marks)


def _divided(data: Dataset, spec: BackdoorData) -> tuple[Split, Split]:
    """Clean rows to learn from, and those to choose by."""
    y = data.val.y
    if len(found := y[labelled_rows(y)].unique()) < 2:
        names = ", ".join(data.class_names[int(each)] for each in found) or "none"
        raise InputError(
            f"data.clean: the clean rows are of a single class ({names}); rows of every class are "
            "needed"
        )
    return hold_out(
        data.val, spec.held_out, spec.split_seed, "held-out clean rows", "data.held_out"
    )
