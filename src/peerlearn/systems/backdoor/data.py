"""Data with a backdoor: poisoned training rows, few clean rows, test rows with the trigger."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from peerlearn.data.account import Account
from peerlearn.data.datasets import Dataset, Source, Split
from peerlearn.data.registry import built, image_form, read_source
from peerlearn.data.splits import hold_out, kept_rows
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.systems.backdoor.attacks.poisoning import poison
from peerlearn.systems.backdoor.config import BackdoorData

Surrogate = Callable[[Split, int, int], nn.Module]


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


def backdoor_data(spec: BackdoorData, seed: int, surrogate: Surrogate) -> BackdoorDataset:
    """The data of a `data` block, poisoned as it says.

    Raises InputError: data that cannot be used, too few clean rows, or an attack that these data
    cannot have; names the field.
    """
    source = read_source(spec.name, spec.root, image_form(spec), spec.classes)
    source, spec = _with_clean_rows(source, spec)
    data = built(Dataset, source, spec)
    if data.multilabel:
        raise InputError(f"data: rows of {data.name!r} have several labels; one is needed")
    clean, held_out = _divided(data, spec)
    same: dict[str, Any] = {name: getattr(data, name) for name in Dataset.__dataclass_fields__}
    made = BackdoorDataset(**same | {"val": held_out}, clean=clean)
    if spec.attack is None:
        return made
    found = poison(data, spec.attack, seed, surrogate)
    return replace(
        made,
        train=found.data.train,
        triggered=found.triggered,
        aims=found.aims,
        sources=found.sources,
        poisoned=found.poisoned,
    )


def _with_clean_rows(
    source: Source[Split], spec: BackdoorData
) -> tuple[Source[Split], BackdoorData]:
    """A source whose validation rows are the clean ones, or a spec that holds out as many."""
    rows = min(spec.train_size or len(source.train), len(source.train))
    count = int(spec.clean) if spec.clean >= 1 else max(1, round(spec.clean * rows))
    if count < source.classes:
        raise InputError(
            f"data.clean: {count} clean rows for {source.classes} classes; at least one of each "
            "is needed"
        )
    if source.val is None:
        known = int(labelled_rows(source.train.y).sum())
        if count > known - source.classes:
            raise InputError(
                f"data.clean: {count} clean rows cannot be held out of {known} labelled rows, of "
                f"which one of each class must stay; allowed: up to {known - source.classes}"
            )
        return source, spec.model_copy(update={"val_size": float(count)})
    chosen = kept_rows(source.val.strata, count, spec.split_seed, "data.clean")
    note = f"val: {count:,} of {len(source.val):,} rows are the clean ones (data.clean)"
    account = source.account + Account(notes=(note,))
    return source._replace(val=source.val.select(chosen), account=account), spec


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
