"""Measure a finished run again, on its own data or on other data of the same kind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from peerlearn.data import Dataset, evaluation_batches, load_dataset
from peerlearn.data.facts import DataFacts
from peerlearn.engine.evaluate import Rows, predict
from peerlearn.engine.precision import Precision, PrecisionName
from peerlearn.engine.selection import load_selected
from peerlearn.engine.threads import threads
from peerlearn.errors import InputError
from peerlearn.metrics.assessment import assess_classification
from peerlearn.randomness import preserved_rng
from peerlearn.serving.run import TrainedRun
from peerlearn.systems.recipe import one_seed


def evaluate_run(
    run: TrainedRun,
    data: str | None = None,
    precision: PrecisionName | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Metrics of every peer, their mean and their ensemble, in the layout of `results.json`.

    Without `data` the rows are those that the run itself reported on, and on the same machine the
    numbers are the same. With `data` they are its test split, normalised by the mean and standard
    deviation that the networks were trained with.

    Args:
        run: from `open_run`.
        data: a name or a path as `data.name` takes; None for the run's own.
        precision: number format of forwards; None as in training.
        device: where to run; None as in training.

    Raises:
        InputError: data that cannot be read or do not fit the networks.
    """
    how = run.precision(precision, device)
    with preserved_rng(), threads(run.config.threads):
        block = _on_own_data(run, how) if data is None else _on_other_data(run, data, how)
    return {
        "schema": 1,
        "recipe": run.recipe.name,
        "run": str(run.folder),
        "data": data or run.config.data.name,
        "seeds": [run.config.seed],
        "arms": {run.arm: one_seed(block)},
        "differences": [],
    }


def _on_own_data(run: TrainedRun, precision: Precision) -> dict[str, Any]:
    trainer = run.recipe.build(run.config)
    if trainer.report is None:
        raise InputError(f"{run.folder}: recipe {run.recipe.name!r} reports on no rows")
    load_selected(run.folder, trainer.cohort)
    precision.place(trainer.cohort)
    peers = dict(trainer.cohort.peers)
    return trainer.assess(*predict(peers, trainer.report, precision, trainer.cohort.trunk))


def _on_other_data(run: TrainedRun, name: str, precision: Precision) -> dict[str, Any]:
    cohort = run.cohort
    # How many rows and labels to train on says nothing of the test split of other data.
    spec = run.config.data
    size = spec.size if Path(name).is_dir() else None
    other = spec.model_copy(update={"name": name, "train_size": None, "labels": None, "size": size})
    rows = rows_of(load_dataset(other), name, run.facts, run.config.evaluation.batch_size)
    precision.place(cohort)
    peers = dict(cohort.peers)
    return assess_classification(*predict(peers, rows, precision, cohort.trunk))


def rows_of(data: Dataset, name: str, facts: DataFacts, batch_size: int) -> Rows:
    """The test rows of `data` as the networks of a run with those `facts` read them.

    Classes are matched by name where both sides have names.

    Args:
        data: other data.
        name: as typed, for messages.
        facts: of the data that the networks were trained on.
        batch_size: rows a batch.

    Raises:
        InputError: rows of another shape or type, or classes that the networks do not know.
    """
    own = DataFacts.from_dataset(data)
    for what in ("sample_shape", "dtype", "multilabel"):
        found, expected = getattr(own, what), getattr(facts, what)
        if found != expected:
            raise InputError(
                f"--data {name}: {what} {found}, but the run was trained on {what} {expected}"
            )
    test = data.test
    if own.class_names != facts.class_names:
        place = _places(own, facts, name)
        if not facts.multilabel:
            test = test.with_labels(place[test.y])
    return lambda: evaluation_batches(test, batch_size, facts.mean, facts.std)


def _places(own: DataFacts, facts: DataFacts, name: str) -> torch.Tensor:
    """(C,): which class of the run every class of other data is."""
    if _numbered(own) or _numbered(facts):
        if own.classes > facts.classes or (own.classes != facts.classes and facts.multilabel):
            raise InputError(
                f"--data {name}: {own.classes} classes, but the run was trained on {facts.classes}"
            )
        return torch.arange(own.classes)
    unknown = [label for label in own.class_names if label not in facts.class_names]
    if unknown or facts.multilabel:
        raise InputError(
            f"--data {name}: classes {_some(unknown or own.class_names)} are not those that the "
            f"run was trained on: {_some(facts.class_names)}"
        )
    return torch.tensor([facts.class_names.index(label) for label in own.class_names])


def _numbered(facts: DataFacts) -> bool:
    """Whether the classes have no names of their own."""
    return facts.class_names == tuple(map(str, range(facts.classes)))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown}, …" if len(names) > 10 else shown
