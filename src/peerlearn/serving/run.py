"""A finished run, opened for use and measured again: its networks with their selected weights."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.data.account import Account
from peerlearn.data.info import DataInfo
from peerlearn.engine.evaluate import ROW_SCORES, assessed, predict
from peerlearn.engine.places import begun_in, check_there
from peerlearn.engine.precision import Precision, PrecisionName, resolve_device, threads
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.selection import load_selected
from peerlearn.engine.unfinished import Unfinished
from peerlearn.errors import InputError, nearest
from peerlearn.importing import refuse_code, trusting
from peerlearn.randomness import preserved_rng
from peerlearn.reading.reader import Reader, UnreadableError
from peerlearn.results import Arm, Results, describe, load_run, of_one_seed
from peerlearn.systems.recipe import Recipe
from peerlearn.systems.registry import RECIPES, find_recipe
from peerlearn.tasks.config import as_meant
from peerlearn.validation import validated


@dataclass(frozen=True)
class TrainedRun:
    """A run: where it is, the system it belongs to, and what it was told and wrote.

    `config` has the paths of its files where they are now; `begun` is the folder in which the run
    was begun, None where that is not known. `networks` are those of a run whose peers were made in
    Python, made again; see `load`.
    `unfinished` says of one that was cut short how far it is, and of which epochs the weights are.
    """

    folder: Path
    recipe: Recipe
    config: Any
    results: Results
    trust: bool = False
    networks: Mapping[str, nn.Module] | None = None
    begun: Path | None = None
    unfinished: str = ""

    def trusted(self) -> AbstractContextManager[None]:
        """The context of all that makes networks: without trust no code is imported."""
        return nullcontext() if self.trust else trusting(())

    @property
    def arm(self) -> str:
        """Name of the one arm that the run trained."""
        return next(iter(self.results["arms"]))

    @property
    def peers(self) -> list[str]:
        """Names of the peers, in order."""
        return list(self.results["arms"][self.arm]["peers"])

    @property
    def members(self) -> list[str]:
        """Peers that make the ensemble."""
        return self.config.evaluation.members or self.peers

    @cached_property
    def info(self) -> DataInfo:
        """What the networks know of the data that they were trained on."""
        return self.recipe.task.Reader.info_type.load(RunFolder(self.folder).info)

    @cached_property
    def reader(self) -> Reader[Any]:
        """How the run reads data that it was not trained on."""
        return self.reader_told()

    def reader_told(self, **given: Any) -> Reader[Any]:
        """The same, told how to read; an option that is None was not given.

        Raises InputError: an option that is for runs of another kind.
        """
        made = self.recipe.task.Reader
        given = {name: value for name, value in given.items() if value is not None}
        for name in (each for each in given if each not in made.options):  # in the order typed
            others = (recipe.task.Reader.options for recipe in RECIPES.values())
            kind = next((options[name] for options in others if name in options), "take it")
            raise InputError(
                f"--{name} {given[name]}: for runs that {kind}; this one, of recipe "
                f"{self.recipe.name!r}, reads {self.info.content}"
            )
        return made(self.info, self.config, **given)

    @cached_property
    def cohort(self) -> Cohort:
        """See `restored`."""
        return self.restored()

    def restored(self) -> Cohort:
        """The peers with their selected weights, in evaluation mode.

        Raises InputError: weights that are not there.
        """
        task = self.recipe.task
        with self.trusted():
            if self.networks is None:
                cohort = task.restore(self.config, self.info)
            else:
                cohort = task.around(self.config, self.info, self.networks)
        load_selected(self.folder, cohort, self.has(cohort))
        return cohort.eval()

    def has(self, cohort: Cohort) -> dict[str, nn.Module]:
        """Peers of its cohort, but for those whose networks never were where the run was."""
        return {name: cohort.peers[name] for name in self.config.transport.here(cohort.names)}

    @property
    def best_peer(self) -> str:
        """The member of the ensemble that did best on validation, the first of equals.

        Raises InputError: nothing was validated on rows other than those reported on.
        """
        metric = self.config.evaluation.metric
        block, selected = self.results["arms"][self.arm], self.results.get("selected") or {}
        known = {name: each["value"] for name, each in selected.items()} | {
            name: each[metric]["mean"] for name, each in block.get("validation", {}).items()
        }
        values = {name: known[name] for name in self.members if name in known}
        if len(values) != len(self.members):
            raise InputError(
                f"{self.folder}: no peer is known to be best, for the run measured nothing on "
                f"rows other than those that it reports on; allowed: "
                f"{', '.join([*self.peers, 'ensemble'])}"
            )
        return self.config.measured[metric].best(values)

    def precision(self, name: PrecisionName | None = None, device: str | None = None) -> Precision:
        """Where and in which format to run: as in training, unless said otherwise.

        A run from a machine with another device goes where `auto` puts it.

        Raises InputError: a `device` that is not here.
        """
        name = name or self.config.precision
        try:
            return Precision.resolve(name, resolve_device(device or self.config.device))
        except InputError:
            if device is not None:
                raise
            return Precision.resolve(name, resolve_device("auto"))


def open_run(folder: str | Path, trust: bool = False) -> TrainedRun:
    """The run in `folder`, which may be a cell of a comparison, or not be finished yet.

    Args:
        folder: of the run.
        trust: allow code that its configuration names by `python:`, such as a function that makes a
            network. Without it a run folder is data, and nothing in it is run.

    Raises InputError: no such folder, no run in it that has saved an epoch, or a comparison, then
    it says what there is; or code that is not trusted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder.{_nearest_folder(folder)}")
    if (folder / "cells").is_dir():
        cells = ", ".join(map(str, _runs_below(folder / "cells")))
        raise InputError(
            f"{folder}: holds a comparison; name one of its runs: {cells or 'none is finished'}"
        )
    paths = RunFolder(folder)
    if not paths.config.exists():
        found = ", ".join(map(str, _runs_below(folder)))
        hint = f" Runs below it: {found}." if found else ""
        raise InputError(f"{folder}: holds no run (no config.yaml).{hint}")
    recipe, written = find_recipe(str(paths.config), trust)
    begun = begun_in(folder)
    if not trust:
        refuse_code(written, paths.config)
    with nullcontext() if trust else trusting(()):
        config = validated(recipe.config, as_meant(dict(written)), str(paths.config))
    if paths.results.exists():
        return TrainedRun(folder, recipe, config, load_run(paths.results), trust, begun=begun)
    so_far = Unfinished(paths)
    block: dict[str, Any] = {"peers": {name: {} for name in so_far.peers}}
    results = of_one_seed(
        recipe.name, config.data.short_name, config.seed, config.arm or recipe.name, block
    )
    results["selected"] = so_far.selected
    note = so_far.note
    return TrainedRun(folder, recipe, config, results, trust, begun=begun, unfinished=note)


def evaluate_run(
    run: TrainedRun,
    data: str | None = None,
    precision: PrecisionName | None = None,
    device: str | None = None,
) -> Results:
    """Metrics of every peer, their mean and their ensemble, in the layout of `results.json`.

    Without `data` the rows are those that the run itself reported on, and on the same machine the
    numbers are the same. With `data` they are its test split, read as the training data were: with
    the mean and standard deviation of those, or the columns of features that those had. Where
    `data` are the run's own at another place, they are measured as without: a part that was held
    out of train for test then counts, and no row that was trained on.

    Args:
        run: from `open_run`.
        data: a name or a path as `data.name` takes; None for the run's own.
        precision: number format of forwards; None as in training.
        device: where to run; None as in training.

    Raises InputError: data that cannot be read or do not fit the networks.
    """
    how = run.precision(precision, device)
    spec = run.config.data if data is None else run.config.data.named(data)
    with run.trusted(), preserved_rng(), threads(run.config.threads):
        own = run.config if data is None else _moved(run, data)
        block = _on_own_data(run, own, how) if own else _on_other_data(run, str(data), how)
    seed, folder = run.config.seed, str(run.folder)
    measured = of_one_seed(run.recipe.name, spec.short_name, seed, run.arm, block, folder)
    return _with_the_runs_own(measured, run)


def _with_the_runs_own(measured: Results, run: TrainedRun) -> Results:
    """With what the run knows of its networks whatever they are measured on."""
    own, block = run.results["arms"][run.arm], measured["arms"][run.arm]
    kept = {key: own[key] for key in ("validation", "epochs", "members", "sizes") if key in own}
    # What calibration changed was measured on the run's rows; what it is holds for all.
    known = {who: each.get("temperature") for who, each in own.get("calibration", {}).items()}
    calibration = {who: {"temperature": each} for who, each in known.items() if each is not None}
    further = {"calibration": calibration} if calibration else {}
    measured["arms"][run.arm] = cast(Arm, kept | further | dict(block))
    if "selected" in run.results:
        measured["selected"] = run.results["selected"]
    return describe(measured, run.config.own_metrics)


def _moved(run: TrainedRun, data: str) -> Any:
    """The run's configuration with its own data at another place; None where `data` are others."""
    folder = RunFolder(run.folder)
    if not folder.knows_data:  # of an older version: nobody knows what they were
        return None
    config = run.config.model_copy(update={"data": run.config.data.named(data)})
    try:
        task = run.recipe.task.load(config, run.info)
    except InputError:  # such as a file of test rows alone; what reads it says what is wrong
        return None
    return None if folder.data_changes(task.fingerprint) else config


def _on_own_data(run: TrainedRun, config: Any, precision: Precision) -> dict[str, Any]:
    check_there(config.dump(), run.begun, run.recipe.task.catalogue)
    task = run.recipe.task.load(config, run.info)
    run.reader.account += task.account
    if said := RunFolder(run.folder).data_changes(task.fingerprint):
        note = f"warning: the data of the run changed since it was trained: {'; '.join(said)}"
        run.reader.account += Account(notes=(note,))
    if run.networks is not None:
        cohort = run.cohort
    else:
        cohort = task.cohort()
        load_selected(run.folder, cohort, run.has(cohort))
    precision.place(cohort)
    peers = run.has(cohort)
    block = task.evaluate(lambda rows: predict(peers, rows, precision, cohort.trunk), "report")
    return {name: found for name, found in block.items() if name != ROW_SCORES}


def _on_other_data(run: TrainedRun, name: str, precision: Precision) -> dict[str, Any]:
    cohort, rows = run.cohort, run.reader.test_rows(name)
    precision.place(cohort)
    outputs = predict(run.reader.ready(run.has(cohort)), rows, precision, cohort.trunk)
    try:
        return assessed(outputs, run.reader.assessment())
    except UnreadableError as error:
        raise InputError(f"--data {name}: {error}") from error


def _runs_below(folder: Path) -> Iterator[Path]:
    """Finished runs below `folder`, in the order of their names."""
    for path in sorted(folder.glob("**/results.json")):
        if not (path.parent / "cells").is_dir():
            yield path.parent


def _nearest_folder(folder: Path) -> str:
    if not folder.parent.is_dir():
        return ""
    match = nearest(folder.name, [p.name for p in folder.parent.iterdir() if p.is_dir()])
    return f" Did you mean {folder.parent / match}?" if match else ""
