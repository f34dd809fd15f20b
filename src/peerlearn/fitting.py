"""`peerlearn.fit`: train any cohort on data at hand, without a recipe."""

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset as TorchDataset

from peerlearn.cohort import Cohort
from peerlearn.data.catalogue import IN_PYTHON
from peerlearn.data.given import Given, read_given
from peerlearn.data.spec import AugmentSpec, DataSpec
from peerlearn.engine.continuing import check_begun
from peerlearn.engine.result import TrainingResult
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.settings import PeerSettings, TrainingSpec
from peerlearn.engine.trainer import Observer
from peerlearn.errors import InputError, did_you_mean
from peerlearn.objectives.base import Objective, PlainLoss
from peerlearn.systems.fit.recipe import FIT
from peerlearn.systems.running import run_task
from peerlearn.tasks.classification.given import GivenConfig, GivenTask, named_class
from peerlearn.tasks.graphs.data.geometric import is_data
from peerlearn.validation import validated


def fit(
    cohort: Cohort,
    data: Any,
    epochs: int = 30,
    *,
    augment: AugmentSpec | Mapping[str, Any] | None = None,
    peers: Mapping[str, Mapping[str, Any]] | None = None,
    labelled_per_batch: int = 0,
    workers: int | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    resume: bool = False,
    observe: Observer | None = None,
    **training: Any,
) -> TrainingResult:
    """Train a cohort; afterwards every peer holds the weights that did best on validation.

    ```python
    result = peerlearn.fit(cohort, "digits", epochs=30, lr=0.05)
    result.block["mean_peer"]["accuracy"]
    peerlearn.fit(cohort, (X, y)); peerlearn.fit(cohort, {"train": train_set, "test": test_set})
    ```

    Arrays are normalised by the mean and standard deviation of train; whole numbers (N, L) other
    than uint8 are ids of tokens and stay whole numbers. Items of a torch `Dataset` are read one by
    one whenever they are needed, so that transforms draw anew, keyed by the seed, and are given to
    the networks as they come; those by name become the arguments of `forward`. What is missing of
    validation and test is held out of train, a tenth each.

    Args:
        cohort: the peers, with their initial weights.
        data: `(X, y)` of arrays, tensors, lists or pandas; a map-style torch `Dataset` or a
            `DataLoader` (whose batch size, `collate_fn` and workers are taken; rows are shuffled
            by seed); `(train, test)`, `(train, val, test)` or a mapping of such parts by name;
            arrays by name, `x_train, y_train` and optionally `x_val, y_val, x_test, y_test`; the
            name or path that `--data` takes; or a peerlearn `Dataset`.
        epochs: passes over the training rows.
        augment: random changes of training images; none by default.
        peers: what single peers do their own way, by name: `lr`, `optimiser`, `lr_schedule`,
            `view`.
        labelled_per_batch: labelled rows in every batch, where some rows have no label.
        workers: processes that read and augment training rows which are not in memory, and give
            the same batches as none; rows to evaluate are read in this process. None: those of
            the `DataLoader`, or none.
        seed: keys batches, augmentation and dropout.
        folder: run folder, which `peerlearn report`, `peerlearn.load(folder, networks={...})` and,
            where nothing needs the networks, other commands read; None keeps all in memory.
        resume: continue what `folder` holds; refused where that is no run.
        observe: is told what begins (`facts`: lines by a word), and of every step and epoch.
        **training: any field of `TrainingSpec`: `batch_size`, `lr`, `optimiser`, `precision`, ...

    Raises InputError: an unknown field, a value that is not allowed, or data that cannot be used;
    RunError: a loss that is not finite, or a file that cannot be written.
    """
    _refuse_graphs(data)
    if resume:
        check_begun(None if folder is None else Path(folder), "resume", "folder")
    _check_names(training)
    validated(TrainingSpec, {"epochs": epochs} | training)
    settings = {
        name: validated(PeerSettings, own, f"peers.{name}") for name, own in (peers or {}).items()
    }
    if strangers := settings.keys() - set(cohort.names):
        raise InputError(
            f"peers: {sorted(strangers)} not in the cohort ({', '.join(cohort.names)})"
        )
    augmentation = validated(AugmentSpec, augment or {}, "augment")
    given = read_given(data)
    config = _config(
        cohort,
        given,
        _loaded(given, {"epochs": epochs} | training),
        peers={name: own.model_dump(exclude_unset=True) for name, own in settings.items()},
        augment=augmentation,
        labelled_per_batch=labelled_per_batch,
        workers=workers,
        seed=seed,
    )
    task = GivenTask(config, given.data, cohort)
    run = None if folder is None else RunFolder(Path(folder))
    with nullcontext() if run is None else run.held():
        return run_task(task, config, run, resume, observe)[0]


def _check_names(training: Mapping[str, Any]) -> None:
    """InputError for a name that is neither an argument of `fit` nor a field of `TrainingSpec`."""
    own = [name for name in inspect.signature(fit).parameters if name != "training"]
    allowed = sorted([*own, *TrainingSpec.model_fields])
    for name in training:
        if name not in TrainingSpec.model_fields:
            # `out` is what recipes and the command line call it.
            hint = " Did you mean 'folder'?" if name == "out" else did_you_mean(name, allowed)
            raise InputError(f"{name}: unknown key.{hint} Allowed: {', '.join(allowed)}.")


def _refuse_graphs(data: Any) -> None:
    """Point to the recipes that train on graphs, whose batches are made in another way."""
    one = is_data(data)
    if not one and not (isinstance(data, list | TorchDataset) and _holds_graphs(data)):
        return
    recipe, what = ("gml-node", "one graph") if one else ("gml-graph", "graphs")
    raise InputError(
        f"data: found {what} of torch-geometric, which recipes train on: "
        f'peerlearn.recipe("{recipe}", {{"peers.NAME.model": "python:my_module:function"}}, '
        "data=data).run(). The function makes a network whose forward takes x, edge_index "
        "and, for graphs, batch"
    )


def _holds_graphs(data: Any) -> bool:
    try:
        return len(data) > 0 and is_data(data[0])
    except (TypeError, NotImplementedError):  # of iterable data sets
        return False


def _loaded(given: Given, training: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of training, and where it is silent what data loaders said of batches."""
    settled, said = dict(training), given.loading
    if said.batch_size is not None:
        settled.setdefault("batch_size", said.batch_size)
    evaluation = settled.get("evaluation", {})
    if said.evaluation is not None and isinstance(evaluation, Mapping):
        settled["evaluation"] = {"batch_size": said.evaluation} | dict(evaluation)
    return settled


def _config(
    cohort: Cohort,
    given: Given,
    training: Mapping[str, Any],
    *,
    peers: Mapping[str, Mapping[str, Any]],
    workers: int | None,
    **more: Any,
) -> GivenConfig:
    """The configuration of a run, as its folder keeps it."""
    workers = given.loading.workers if workers is None else workers
    named = {name: {"model": named_class(cohort.peers[name])} for name in cohort.names}
    return validated(
        GivenConfig,
        {
            "recipe": FIT.name,
            "data": DataSpec(name=given.name or IN_PYTHON, workers=workers or 0),
            "peers": {name: named[name] | dict(peers.get(name, {})) for name in named},
            "transfer": cohort.transfer.spec.model_dump(by_alias=True, exclude_unset=True),
            "objective": ", ".join(dict.fromkeys(map(_name_of, cohort.objectives.values()))),
            **more,
            **training,
        },
    )


def _name_of(objective: Objective) -> str:
    return str(objective) if isinstance(objective, PlainLoss) else type(objective).__name__
