"""Finds the data of category discovery, holds rows out, hides labels and numbers the classes."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from peerlearn.data.account import EMPTY, Account
from peerlearn.data.datasets import Source, Split, renumbered
from peerlearn.data.image_form import ImageForm
from peerlearn.data.registry import image_form, read_source
from peerlearn.data.splits import hold_out, kept_rows, proportional_shares, stratified_rows
from peerlearn.errors import InputError, unknown_name
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset
from peerlearn.tasks.discovery.data.pools import (
    Pool,
    check_alike,
    found_classes,
    joined,
    measured,
    read_pool,
)
from peerlearn.tasks.discovery.data.spec import DiscoveryDataSpec


class Collected(NamedTuple):
    """All rows with their true classes, before any of them are held out or left out.

    Attributes:
        train: `y` is the true class in `names`, `UNLABELLED` where nobody knows it.
        hidden: bool (N,), rows of train whose label no training sees.
        test: rows with a class; None where the data has none.
        known: the known classes, in the order in which they will be numbered.
        names: of all classes.
        account: of what was read.
        named: whether the classes have names, or numbers made up.
    """

    train: Split
    hidden: Tensor
    test: Split | None
    known: tuple[int, ...]
    names: tuple[str, ...]
    account: Account = EMPTY
    named: bool = True


def load_discovery(spec: DiscoveryDataSpec, form: ImageForm | None = None) -> DiscoveryDataset:
    """The data that a `data` block asks for, all in memory.

    A validation split counts as test: nothing is selected by truth here. True classes of unlabelled
    rows, where there are any, choose nothing but which rows `train_size` and `test_size` take, so
    that every class keeps its share. One new class is allowed; all its rows are one cluster, so
    measures of clusters then say nothing. Images of folders are read in `form`, in place of what
    `spec` says of it.

    Raises:
        InputError: no such data, something in them is wrong, or nothing is left to discover.
        RunError: a download failed.
    """
    collected = _collect(spec, form or image_form(spec))
    train, test = collected.train, collected.test
    # Rows are chosen by their positions, which lead to both their classes and `hidden`.
    rows = Split(torch.arange(len(train)), train.y)
    if test is None:
        held = rows.select(torch.arange(0))
        if spec.test_size:
            rows, held = hold_out(rows, spec.test_size, spec.split_seed, "test", "data.test_size")
        test = train.select(held.x)
    if spec.train_size is not None:
        rows = rows.select(kept_rows(rows.y, spec.train_size, spec.split_seed))
    hidden = _hidden(rows.y, collected.hidden[rows.x], spec)
    order = _order(collected, rows.y, test.y)
    truth = _numbered(rows.y, order)
    known = len(collected.known)
    novel = len(set(found_classes(truth[hidden])) - set(range(known)))
    complete = bool((truth != UNLABELLED).all())
    _check_discoverable(spec, hidden, novel if complete else None)
    y = torch.where(hidden, UNLABELLED, truth)
    return DiscoveryDataset(
        name=spec.short_name,
        train=Split(train.x if len(rows) == len(train) else train.x[rows.x], y),
        truth=truth,
        test=Split(test.x, _numbered(test.y, order)),
        known=known,
        novel=novel if complete else None,
        class_names=tuple(collected.names[label] for label in order),
        account=collected.account,
        named=collected.named,
    )


def _collect(spec: DiscoveryDataSpec, form: ImageForm) -> Collected:
    if spec.labelled is None or spec.unlabelled is None:
        collected = _from_one_set(read_source(spec.name, spec.root, form), spec)
        places = [spec.name]
    else:
        places = [spec.labelled, spec.unlabelled]
        labelled = read_pool(spec.labelled, "data.labelled", form, classes=True)
        unlabelled = read_pool(spec.unlabelled, "data.unlabelled", form)
        collected = _from_two_sets(labelled, unlabelled, spec)
    if spec.size is not None and not any(Path(place).expanduser().is_dir() for place in places):
        raise InputError(
            f"data.size: fits the images of a folder; {' and '.join(places)} "
            f"{'are no folders' if spec.two_sets else 'is not a folder'}."
        )
    return collected


def _from_one_set(source: Source, spec: DiscoveryDataSpec) -> Collected:
    """Hides the labels of the classes of one data set that are not known."""
    if source.multilabel:
        raise InputError(
            f"data.name: {spec.name} has several labels a row; category discovery needs one class."
        )
    train = source.train.decoded()
    names = source.class_names or tuple(map(str, range(source.classes)))
    known = _known_classes(spec, train.y, names)
    hidden = ~torch.isin(train.y, torch.tensor(known))
    named = bool(source.class_names)
    return Collected(train, hidden, measured(source), known, names, source.account, named)


def _from_two_sets(labelled: Pool, unlabelled: Pool, spec: DiscoveryDataSpec) -> Collected:
    """The rows of a labelled and an unlabelled file.

    A class is told by its name, or by its number where neither file names its classes.
    """
    said = f"data.labelled: {spec.labelled}", f"data.unlabelled: {spec.unlabelled}"
    check_alike(unlabelled.train, said[1], labelled.train, said[0])
    known = tuple(found_classes(labelled.train.y))
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
    order = [names.index(name) for name in unlabelled.names]

    def counted(split: Split) -> Split:
        return split.with_labels(renumbered(split.y, order))

    other = counted(unlabelled.train)
    found = found_classes(other.y)
    shared = [names[label] for label in known if label in found]
    if shared and not spec.overlap:
        raise InputError(
            f"data.unlabelled: {len(shared)} of its classes are classes of data.labelled too: "
            f"{', '.join(shared[:8])}{' …' if len(shared) > 8 else ''}. Unlabelled rows are of "
            "new classes, numbered on from the known ones; if some are meant to be of known ones "
            "(the generalised setting), say data.overlap=true."
        )
    tests = [] if labelled.test is None else [labelled.test]
    if unlabelled.test is not None:
        tests.append(counted(unlabelled.test))
    blank, hidden = labelled.train.y == UNLABELLED, torch.ones(len(other), dtype=torch.bool)
    rows, test = joined([labelled.train, other]), joined(tests) if tests else None
    account = labelled.account + unlabelled.account
    hidden = torch.cat([blank, hidden])
    return Collected(rows, hidden, test, known, names, account, labelled.named)


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
    if str(asked) in names:  # the labels are numbers, with gaps or not
        return names.index(str(asked))
    if not 0 <= asked < len(names):
        raise InputError(f"data.known: no class {asked}; allowed: 0 to {len(names) - 1}.")
    return asked


def _hidden(truth: Tensor, hidden: Tensor, spec: DiscoveryDataSpec) -> Tensor:
    """`hidden` with `unlabelled_known` of the other rows, of each class its share but one row."""
    if not spec.unlabelled_known:
        return hidden
    labels = torch.where(hidden, UNLABELLED, truth)
    labelled = int((~hidden).sum())
    count = max(1, round(spec.unlabelled_known * labelled))
    spare = labelled - len(found_classes(labels))
    if count > spare:
        raise InputError(
            f"data.unlabelled_known: {spec.unlabelled_known:g} would hide {count} of {labelled} "
            f"labels, but one of each class must be left; allowed: up to {spare} of them."
        )
    chosen = stratified_rows(
        labels, count, spec.split_seed, "unlabelled",
        lambda counts, size: proportional_shares(counts - 1, size),
    )  # fmt: skip
    return hidden.index_fill(0, chosen, True)


def _order(collected: Collected, truth: Tensor, y_test: Tensor) -> tuple[int, ...]:
    """Classes that occur, known ones first: the place of each is its new number."""
    known = collected.known
    new = [label for label in found_classes(truth) if label not in known]
    unseen = [label for label in found_classes(y_test) if label not in (*known, *new)]
    if unseen and not (truth == UNLABELLED).any():
        names = ", ".join(collected.names[label] for label in unseen[:8])
        raise InputError(f"data: test rows of classes that train has no row of: {names}.")
    return (*known, *new, *unseen)


def _numbered(labels: Tensor, order: tuple[int, ...]) -> Tensor:
    """Labels by their place in `order`; `UNLABELLED` stays."""
    number = [UNLABELLED] * (max(order) + 1)
    for place, label in enumerate(order):
        number[label] = place
    return renumbered(labels, number)


def _check_discoverable(spec: DiscoveryDataSpec, hidden: Tensor, novel: int | None) -> None:
    field = "data.unlabelled" if spec.two_sets else "data.known"
    if not hidden.any():
        raise InputError(
            f"{field}: every row is labelled with a known class, so there are no unlabelled rows "
            "to discover classes in; name fewer known classes."
        )
    if novel == 0:
        raise InputError(
            f"{field}: all unlabelled rows are of known classes, so there is no new class to "
            "discover."
        )
