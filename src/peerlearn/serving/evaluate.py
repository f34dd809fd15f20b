"""Measure a finished run again, on its own data or on other data of the same kind."""

from typing import Any

from peerlearn.engine.evaluate import assessed, predict
from peerlearn.engine.precision import Precision, PrecisionName, threads
from peerlearn.engine.selection import load_selected
from peerlearn.errors import InputError
from peerlearn.randomness import preserved_rng
from peerlearn.reading.reader import UnreadableError
from peerlearn.results import Results, of_one_seed
from peerlearn.serving.run import TrainedRun


def evaluate_run(
    run: TrainedRun,
    data: str | None = None,
    precision: PrecisionName | None = None,
    device: str | None = None,
) -> Results:
    """Metrics of every peer, their mean and their ensemble, in the layout of `results.json`.

    Without `data` the rows are those that the run itself reported on, and on the same machine the
    numbers are the same. With `data` they are its test split, read as the training data were: with
    the mean and standard deviation of those, or the columns of features that those had.

    Args:
        run: from `open_run`.
        data: a name or a path as `data.name` takes; None for the run's own.
        precision: number format of forwards; None as in training.
        device: where to run; None as in training.

    Raises:
        InputError: data that cannot be read or do not fit the networks.
    """
    how = run.precision(precision, device)
    spec = run.config.data if data is None else run.config.data.named(data)
    with preserved_rng(), threads(run.config.threads):
        block = _on_own_data(run, how) if data is None else _on_other_data(run, data, how)
    seed, folder = run.config.seed, str(run.folder)
    return of_one_seed(run.recipe.name, spec.short_name, seed, run.arm, block, folder)


def _on_own_data(run: TrainedRun, precision: Precision) -> dict[str, Any]:
    task = run.recipe.task.load(run.config)
    cohort = task.cohort()
    load_selected(run.folder, cohort)
    precision.place(cohort)
    peers = dict(cohort.peers)
    return task.evaluate(lambda rows: predict(peers, rows, precision, cohort.trunk), "report")


def _on_other_data(run: TrainedRun, name: str, precision: Precision) -> dict[str, Any]:
    cohort = run.cohort
    rows = run.reader.test_rows(name)
    precision.place(cohort)
    peers = run.reader.ready(dict(cohort.peers))
    outputs = predict(peers, rows, precision, cohort.trunk)
    try:
        return assessed(outputs, run.reader.assessment())
    except UnreadableError as error:
        raise InputError(f"--data {name}: {error}") from error
