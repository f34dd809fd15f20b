"""What must hold of a training before it begins, and what to say where it breaks."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

from peerlearn.cohort import Cohort
from peerlearn.data.corruption import check_unit_images
from peerlearn.engine.precision import most_threads
from peerlearn.engine.probes import takes_no_noise
from peerlearn.engine.proving import check_proven
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.settings import TrainingSpec
from peerlearn.engine.snapshots import check_snapshots
from peerlearn.engine.stage import Plan, TrainingStage
from peerlearn.engine.task import Evaluator
from peerlearn.engine.teaching import Teaching
from peerlearn.engine.transports import Transport
from peerlearn.engine.updates import Steps
from peerlearn.errors import InputError, RunError, did_you_mean, unknown_name
from peerlearn.metrics.own import check_importable
from peerlearn.objectives.base import module_of
from peerlearn.transfer.graph import TransferGraph


def check_training(
    cohort: Cohort, plan: Plan, training: TrainingSpec, task: Evaluator | None
) -> None:
    """See that a training can be done as it was asked for.

    Raises InputError: names the option that does not fit the others.
    """
    spec = training.evaluation
    check_importable(spec.metrics)
    if spec.noise and task is not None and (found := takes_no_noise(task.example())):
        raise InputError(
            f"evaluation.noise: found {list(spec.noise)}, but peers read {found}, to which no "
            "noise is added; leave it out"
        )
    if spec.corruption and task is not None:
        normalisation = task.normalisation()  # which says where there is none
        check_unit_images(task.example(), normalisation)
    for own in spec.metrics:
        if task is None or own.called not in task.metrics:
            raise InputError(f"evaluation.metrics: nothing here measures {own.function!r}")
    if spec.select == "best" and not (task is not None and task.validates):
        raise InputError(
            "evaluation.select: 'best' needs validation rows; give some, or use 'last'"
        )
    if spec.select == "best" and cohort.trunk is not None:
        raise InputError(
            "evaluation.select: 'best' takes each peer's own best epoch, which peers on one "
            "trunk do not have; use 'last' or 'mean_last'"
        )
    if spec.patience is not None and spec.select != "best":
        raise InputError(
            f"evaluation.patience: found {spec.patience} with evaluation.select {spec.select!r}; "
            "it waits for a better epoch, so it needs select: best"
        )
    if spec.calibrate != "none":
        found = f"evaluation.calibrate: found {spec.calibrate!r}"
        if task is None or not task.calibration_rows():
            raise InputError(
                f"{found}; a temperature is fitted on validation rows, nodes or graphs with "
                "classes that are none of those reported on, and there are no such here (pixels of "
                "masks do not count). Allowed: none"
            )
        if spec.select == "mean_last":
            raise InputError(
                f"{found} with evaluation.select 'mean_last', which reports means over several "
                "networks; use best or last"
            )
    for number, stage in enumerate(plan.stages):
        if isinstance(stage, TrainingStage) and not plan.learners(number):
            raise InputError(
                f"peers: nobody trains in stage {stage.name!r}; leave frozen out of at least "
                "one of them"
            )
    _check_schedules(plan, training)
    _check_groups(cohort, plan)
    check_proven(_graphs(cohort, plan), task)
    if training.threads is not None and training.threads > most_threads():
        raise InputError(
            f"threads: {training.threads}; this machine has {os.cpu_count()} cores, allowed: up to "
            f"{most_threads()}"
        )
    for name in spec.members or ():
        if name not in cohort.names:
            raise unknown_name("peer", name, cohort.names, "evaluation.members")
    if training.transport.kind == "snapshot":
        check_snapshots(cohort, _graphs(cohort, plan), training)
    if training.accumulate > 1 and any(graph.sequential for graph in _graphs(cohort, plan)):
        raise InputError(
            f"accumulate: found {training.accumulate}; with transfer.update 'sequential' "
            "every batch is a step of its own, so it must be 1"
        )


def _check_schedules(plan: Plan, training: TrainingSpec) -> None:
    for number, stage in enumerate(plan.stages):
        if not isinstance(stage, TrainingStage):
            continue
        for name in plan.learners(number):
            schedule = Steps.settled(training, stage.steps, plan.peers.get(name)).lr_schedule
            if schedule.warmup > max(stage.epochs, 1):
                raise InputError(
                    f"lr_schedule.warmup: {schedule.warmup:g} epochs, but stage {stage.name!r} has "
                    f"{stage.epochs}; a number below 1 is a fraction of the stage"
                )


def _check_groups(cohort: Cohort, plan: Plan) -> None:
    for name, settings in plan.peers.items():
        names = [key for key, _ in cohort.peers[name].named_parameters()]
        for pattern in settings.groups:
            if not any(fnmatchcase(key, pattern) for key in names):
                shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
                raise InputError(
                    f"peers.{name}.groups.{pattern}: names no parameter of the peer."
                    f"{did_you_mean(pattern, names)} Names are {shown}"
                )


def check_transport(
    cohort: Cohort, plan: Plan, transport: Transport, training: TrainingSpec
) -> None:
    """See that a training can be spread over processes, where there are several.

    Raises InputError: names what cannot travel.
    """
    if transport.alone:
        return
    alone = "cannot be spread over several processes; run it in one"
    if cohort.trunk is not None:
        raise InputError(f"peers on a shared trunk {alone}")
    graphs = _graphs(cohort, plan)
    for why in (why for graph in graphs for why in graph.stays):
        raise InputError(f"{why}; such edges {alone}")
    if transport.parts > 1:
        _check_parts(cohort, graphs, transport.parts, training.accumulate)


def _check_parts(
    cohort: Cohort, graphs: Sequence[TransferGraph], parts: int, accumulate: int
) -> None:
    """See that processes which hold the same peers can share the batches of a step."""
    shares = f"{parts} processes for each peer share the batches of a step"
    fewer = f"start at most {len(cohort.names)} processes"
    if accumulate % parts:
        raise InputError(
            f"accumulate: found {accumulate}, but {shares}: make it a multiple of {parts}, and "
            f"batch_size as much smaller; or {fewer}"
        )
    for entry in (entry for graph in graphs for entry in graph.entries if entry.remembers):
        raise InputError(
            f"{entry.field}: knowledge {entry.options.knowledge!r} remembers the rows of every "
            f"batch, but {shares}; {fewer}"
        )
    for name, objective in cohort.objectives.items():
        module = module_of(objective)
        if module is not None and any(True for _ in module.buffers()):
            raise InputError(
                f"peers.{name}: its objective remembers what every batch says, but {shares}; "
                f"{fewer}"
            )


@contextmanager
def telling_where(where: str, folder: RunFolder | None) -> Iterator[None]:
    """A failure inside says where it was, and what there is to go on from."""
    try:
        yield
    except RunError as error:
        where = f"{error} ({where})"
        advice = "try a lower lr, clip_norm: 5, or precision: fp32"
        if folder is None or not folder.last.exists():
            raise RunError(f"{where}; no checkpoint was written yet; {advice}") from None
        raise RunError(f"{where}; last good checkpoint: {folder.last}; {advice}") from None


def _graphs(cohort: Cohort, plan: Plan) -> list[TransferGraph]:
    own = Teaching.of(cohort)
    return [own.within(stage).transfer for stage in plan.stages]
