"""Finds the data of category discovery, holds rows out, hides labels and numbers the classes."""

from pathlib import Path

import torch
from torch import Tensor

from peerlearn.data.datasets import Split
from peerlearn.data.registry import read_source
from peerlearn.data.splits import hold_out, kept_rows, proportional_shares, stratified_rows
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.discovery.data.classes import Collected, from_one_set, from_two_sets
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset
from peerlearn.tasks.discovery.data.pools import found_classes, read_pool
from peerlearn.tasks.discovery.data.spec import DiscoveryDataSpec


def load_discovery(spec: DiscoveryDataSpec) -> DiscoveryDataset:
    """The data that a `data` block asks for, all in memory.

    A validation split counts as test: nothing is selected by truth here. True classes of unlabelled
    rows, where there are any, choose nothing but which rows `train_size` and `test_size` take, so
    that every class keeps its share. One new class is allowed; all its rows are one cluster, so
    measures of clusters then say nothing.

    Raises:
        InputError: no such data, something in them is wrong, or nothing is left to discover.
        RunError: a download failed.
    """
    collected = _collect(spec)
    train, test = collected.train, collected.test
    # Rows are chosen by their positions, which lead to both their classes and `hidden`.
    rows = Split(torch.arange(len(train)), train.y)
    if test is None:
        rows, held = _held_out(rows, spec)
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
    )


def _collect(spec: DiscoveryDataSpec) -> Collected:
    if spec.labelled is None or spec.unlabelled is None:
        collected = from_one_set(read_source(spec.name, spec.root, spec.size), spec)
        places = [spec.name]
    else:
        places = [spec.labelled, spec.unlabelled]
        fields = "data.labelled", "data.unlabelled"
        pools = [read_pool(*named, spec.size) for named in zip(places, fields, strict=True)]
        collected = from_two_sets(pools[0], pools[1], spec)
    if spec.size is not None and not any(Path(place).expanduser().is_dir() for place in places):
        raise InputError(
            f"data.size: fits the images of a folder; {' and '.join(places)} "
            f"{'are no folders' if spec.two_sets else 'is not a folder'}."
        )
    return collected


def _held_out(rows: Split, spec: DiscoveryDataSpec) -> tuple[Split, Split]:
    if not spec.test_size:
        return rows, rows.select(torch.arange(0))
    return hold_out(rows, spec.test_size, spec.split_seed, "test", "data.test_size")


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
    number = torch.full((max(order) + 2,), UNLABELLED)
    number[torch.tensor(order)] = torch.arange(len(order))
    return number[labels]


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
