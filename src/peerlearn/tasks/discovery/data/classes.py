"""Which classes are known, and which labels are hidden: from one data set, or from two."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from peerlearn.data.datasets import Source, Split
from peerlearn.errors import InputError, unknown_name
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.discovery.data.pools import Pool, check_alike, found_classes, joined, measured
from peerlearn.tasks.discovery.data.spec import DiscoveryDataSpec


@dataclass(frozen=True)
class Collected:
    """All rows with their true classes, before any of them are held out or left out.

    Attributes:
        train: `y` is the true class in `names`, `UNLABELLED` where nobody knows it.
        hidden: rows of train whose label no training sees.
        test: rows with a class; None where the data has none.
        known: the known classes, in the order in which they will be numbered.
        names: of all classes.

    Shapes:
        hidden: bool (N,).
    """

    train: Split
    hidden: Tensor
    test: Split | None
    known: tuple[int, ...]
    names: tuple[str, ...]


def from_one_set(source: Source, spec: DiscoveryDataSpec) -> Collected:
    """Hides the labels of the classes of one data set that are not known.

    Raises:
        InputError: several labels a row, fewer than three classes, or `data.known` does not fit.
    """
    if source.multilabel:
        raise InputError(
            f"data.name: {spec.name} has several labels a row; category discovery needs one class."
        )
    train = source.train.decoded()
    names = source.class_names or tuple(map(str, range(source.classes)))
    known = _known_classes(spec, train.y, names)
    hidden = ~torch.isin(train.y, torch.tensor(known))
    return Collected(train, hidden, measured(source), known, names)


def from_two_sets(labelled: Pool, unlabelled: Pool, spec: DiscoveryDataSpec) -> Collected:
    """The rows of a labelled and an unlabelled file.

    A class is told by its name, or by its number where neither file names its classes.

    Raises:
        InputError: rows of different shapes, fewer than two labelled classes, classes that cannot
            be compared, or classes in common although `data.overlap` is false.
    """
    said = f"data.labelled: {spec.labelled}", f"data.unlabelled: {spec.unlabelled}"
    check_alike(unlabelled.train, said[1], labelled.train, said[0])
    known = tuple(labelled.classes)
    if len(known) < 2:
        raise InputError(
            f"{said[0]}: {len(known)} classes have a labelled row; at least 2 known classes are "
            "needed."
        )
    if unlabelled.names and labelled.named != unlabelled.named:
        named, numbered = said if labelled.named else said[::-1]
        raise InputError(
            f"data.unlabelled: classes cannot be compared: those of {named} have names, those of "
            f"{numbered} numbers. Give class_names to both or to neither, or leave the labels of "
            "the unlabelled rows out."
        )
    names = tuple(dict.fromkeys([*labelled.names, *unlabelled.names]))
    other = _renamed(unlabelled, names)
    if not spec.overlap:
        _check_disjoint([names[label] for label in known if label in other.classes])
    blank, hidden = labelled.train.y == UNLABELLED, torch.ones(len(other.train), dtype=torch.bool)
    tests = [pool.test for pool in (labelled, other) if pool.test is not None]
    return Collected(
        joined([labelled.train, other.train]),
        torch.cat([blank, hidden]),
        joined(tests) if tests else None,
        known,
        names,
    )


def _check_disjoint(shared: list[str]) -> None:
    if shared:
        raise InputError(
            f"data.unlabelled: {len(shared)} of its classes are classes of data.labelled too: "
            f"{', '.join(shared[:8])}{' …' if len(shared) > 8 else ''}. Unlabelled rows are of "
            "new classes, numbered on from the known ones; if some are meant to be of known ones "
            "(the generalised setting), say data.overlap=true."
        )


def _known_classes(spec: DiscoveryDataSpec, y: Tensor, names: tuple[str, ...]) -> tuple[int, ...]:
    """The known classes of one data set, in the order asked for."""
    found = found_classes(y)
    if isinstance(spec.known, tuple):
        known = tuple(_class_number(asked, names) for asked in spec.known)
        for label in known:
            if label not in found:
                raise InputError(f"data.known: class {names[label]!r} has no training row.")
        if len(set(known)) < len(known):
            raise InputError(f"data.known: {list(spec.known)} names a class twice.")
    elif isinstance(spec.known, int):
        if spec.known > len(found):
            raise InputError(
                f"data.known: {spec.known} of {len(found)} classes; allowed: 2 to {len(found)}."
            )
        known = tuple(found[: spec.known])
    else:
        whole = bool((y == UNLABELLED).any())
        known = tuple(found if whole else found[: (len(found) + 1) // 2])
    if len(known) < 2:
        raise InputError(
            f"data.known: {len(known)} known class{'es' if len(known) != 1 else ''} of "
            f"{len(found)} in data {spec.short_name!r}; at least 2 are needed, and unlabelled rows."
        )
    return known


def _class_number(asked: int | str, names: tuple[str, ...]) -> int:
    if isinstance(asked, str):
        if asked not in names:
            raise unknown_name("class", asked, names, "data.known")
        return names.index(asked)
    if not 0 <= asked < len(names):
        raise InputError(f"data.known: no class {asked}; allowed: 0 to {len(names) - 1}.")
    return asked


def _renamed(pool: Pool, names: tuple[str, ...]) -> Pool:
    """The same rows, with classes counted in `names`."""
    # The last entry is where UNLABELLED, which is -1, finds itself.
    number = torch.tensor([*map(names.index, pool.names), UNLABELLED])

    def counted(split: Split) -> Split:
        return split.with_labels(number[split.y])

    test = counted(pool.test) if pool.test is not None else None
    return replace(pool, train=counted(pool.train), test=test, names=names)
