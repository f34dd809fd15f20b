"""The one training loop: stages of epochs of steps, with validation, checkpoints and resume."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.calibration import calibrate, uncalibrate
from peerlearn.engine.checkpoint import Checkpoints, Progress
from peerlearn.engine.checks import check_training, check_transport, telling_where
from peerlearn.engine.evaluate import Logits, Rows, predict, sound
from peerlearn.engine.loop import Loop, chunks
from peerlearn.engine.posteriors import posterior_record, what_is_odd
from peerlearn.engine.precision import Precision, keep_freed_memory, resolve_device, threads
from peerlearn.engine.proving import open_edges, proving
from peerlearn.engine.result import TrainingResult, of_an_epoch, training_result
from peerlearn.engine.run_folder import RunFolder, State
from peerlearn.engine.selection import Selection
from peerlearn.engine.settings import PeerSettings, TrainingSpec
from peerlearn.engine.shared_stages import SharedStages, stage_keys, trained_until
from peerlearn.engine.snapshots import one_learns
from peerlearn.engine.spreading import transport_of
from peerlearn.engine.stage import Plan, Procedure, Stage, TrainingStage
from peerlearn.engine.stage_run import StageRun, running
from peerlearn.engine.steps import StepResult
from peerlearn.engine.task import Evaluator, Purpose, RowEvaluator, Trained
from peerlearn.engine.teaching import Teaching
from peerlearn.engine.transports import LocalTransport, Transport
from peerlearn.engine.validating import epochs_between
from peerlearn.membership import TRUNK
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.modes import counted_forwards
from peerlearn.randomness import preserved_rng

Observer = Callable[[dict[str, Any]], None]
Step = Callable[..., list[StepResult]]


@dataclass
class Trainer:
    """Trains a cohort through its stages.

    After `run` every peer holds its selected weights. The caller's random generators, the
    networks' modes and the number of threads are as they were. On a CPU the process keeps memory
    that training frees (see `keep_freed_memory`).

    Args:
        cohort: the peers.
        stages: in order; a peer's weights are selected within the last one that it trains in.
        training: optimiser, precision, evaluation.
        task: measures the cohort; None measures nothing.
        peers: what single peers do their own way.
        seed: of dropout; batches and initial weights are keyed by their makers.
        folder: where to log and keep checkpoints; None keeps everything in memory.
        observe: is told of every step and epoch, for progress bars.
        shared: stages that other runs may have had before; None where each trains all of its own.
    """

    cohort: Cohort
    stages: Sequence[Stage]
    training: TrainingSpec
    task: Evaluator | None = None
    peers: Mapping[str, PeerSettings] = field(default_factory=dict)
    seed: int = 0
    folder: RunFolder | None = None
    observe: Observer = lambda event: None
    shared: SharedStages | None = None

    def __post_init__(self) -> None:
        if (transport := self.training.transport).kind == "snapshot":
            self.peers = one_learns(self.peers, self.cohort.names, transport)
        check_training(self.cohort, self.plan, self.training, self.task)
        named = transport.public
        self.public = (self.task or RowEvaluator()).public_rows(named) if named else None
        metrics = self.task.metrics if self.task is not None else Catalogue(CLASSIFICATION)
        self.device = resolve_device(self.training.device)
        self.precision = Precision.resolve(self.training.precision, self.device)
        self.selection = Selection(metrics[self.training.evaluation.metric])
        self.progress = Progress()
        self.current: StageRun | None = None
        self.averages = Teaching.averages(self.cohort, self.stages)
        self.transport: Transport = LocalTransport(self.cohort.names)

    def run(self, resume: bool = False) -> TrainingResult:
        """Train, select, report.

        Args:
            resume: go on from the folder's last checkpoint, if it has one.

        Raises:
            RunError: a loss or an output that is not finite, or a file that cannot be written.
            Interrupted: by a signal (a KeyboardInterrupt), after its step was finished and saved.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        spread = self.training, self.cohort.names, self.precision, self.public, self.seed
        with (
            preserved_rng(),
            threads(self.training.threads),
            self.shared or nullcontext(),  # others wait for what is trained of it
            Teaching.kept(self.cohort) as own,
            # Before anything is put on a device: of several, each process takes one of its own.
            transport_of(*spread, self._note) as self.transport,
        ):
            uncalibrate(self.cohort)
            check_transport(self.cohort, self.plan, self.transport, self.training)
            self.precision.place(self.cohort)
            checkpoints = Checkpoints(self.folder, self.transport, self.training.checkpoint_minutes)
            state = checkpoints.load() if resume else None
            loop = Loop(own, checkpoints, self._keys(), self.transport)
            self._start(state, loop.keys)
            counted = self.cohort.peers.values(), self.progress.count, self.averages
            with loop.interruption, counted_forwards(*counted):
                while self.progress.stage < len(self.stages):
                    self._run_stage(self.stages[self.progress.stage], state, loop)
                    self.progress.next_stage()
                    state = None
                loop.stop_if_asked("its last epoch")
            self.transport.stepped(self.cohort, self.progress.steps, last=True)
            own.put_into(self.cohort)
            self.selection.settle(self.cohort, self.transport, self.folder)
            return self._result()

    @contextmanager
    def stepping(self, stage: int = 0) -> Iterator[Step]:
        """Single steps of one stage in this process, as `run` makes them, for a loop of one's own.

        The cohort is put on its device and in the training modes of the stage; procedures before
        it are not done. Edges, objectives, modes, random generators and the number of threads
        are as they were when the block ends; weights and the place of the cohort are not.

        Yields:
            `step(*batches)`; see `Stepper.in_turn`. It returns losses, logits and targets of every
            batch.
        """
        with preserved_rng(), threads(self.training.threads), Teaching.kept(self.cohort) as own:
            own.within(self.stages[stage]).put_into(self.cohort)
            self.transport = LocalTransport(self.cohort.names)
            with self._running(stage) as run:
                yield run.stepper.in_turn(len(run.stage.loader))

    # One stage -------------------------------------------------------------------------------

    def _keys(self) -> dict[int, str]:
        """Of the stages that may be another run's, by number."""
        if self.shared is None or type(self.transport) is not LocalTransport:
            return {}
        built = self.cohort, self.plan, self.training, self.precision, self.seed
        return stage_keys(*built, self.shared.data)

    def _start(self, state: State | None, keys: Mapping[int, str]) -> None:
        """Begin where the checkpoint ends, or after the last stage that another run has had."""
        taken = None
        if state is not None:
            assert self.folder is not None, "a state can only come from a folder"
            self.progress = Progress(**state["progress"])
            if not self.transport.leads:
                self.progress.forwards = 0  # which are those of all processes
            self.selection.restore(self.folder, state["selected"], self.cohort)
            self._within_its_last_epochs()
        elif self.shared is not None:
            taken = self.shared.take_over(self.cohort, keys)
            self.progress = taken or self.progress
        if self.folder is not None and self.transport.leads:
            self.folder.keep_metrics(0 if state is None else len(self.progress.history))
            for record in taken.history if taken is not None else ():
                self.folder.log(record)

    def _within_its_last_epochs(self) -> None:
        """A run that has got more epochs since has other last ones, where their mean counts."""
        stage, at = self.stages[self.progress.stage], self.progress
        if isinstance(stage, TrainingStage):
            at.only_last(at.epoch - stage.epochs + self.training.evaluation.last_epochs)

    def _run_stage(self, stage: Stage, state: State | None, loop: Loop) -> None:
        number = self.progress.stage
        loop.own.within(stage).put_into(self.cohort)
        if state is not None:
            loop.checkpoints.restore_cohort(state, self.cohort, loop.own)
        if isinstance(stage, Procedure):
            self.precision.place(self.cohort)
            self._gather_peers()
            stage.run(self.cohort, self.precision)
            self._finish_learning(number)
        else:
            with self._running(number) as run:
                if state is not None:
                    loop.checkpoints.restore_run(state, run)
                self.transport.begin(self.cohort)
                while not self._over(stage):
                    self._run_epoch(run, loop)
            if self.shared is not None and number in loop.keys:
                trained, key = trained_until(self.stages, number), loop.keys[number]
                self.shared.keep(key, self.cohort, trained, run.learners, self.progress)

    @contextmanager
    def _running(self, number: int) -> Iterator[StageRun]:
        stage, learners = self.stages[number], self.plan.learners(number)
        assert isinstance(stage, TrainingStage), f"{stage.name} has no steps"
        self.precision.place(self.cohort)
        settings = (self.training, self.peers, self.seed, self.precision, self.transport)
        try:
            with running(stage, self.cohort, learners, *settings) as self.current:
                yield self.current
        finally:
            self.current = None

    def _gather_peers(self) -> None:
        """Have all peers here as they are where they live, for what every process does alike."""
        if not self.transport.alone:
            peers, owned = self.cohort.peers, self.transport.owned
            states = self.transport.collect({name: peers[name].state_dict() for name in owned})
            for name in states.keys() - set(owned):
                peers[name].load_state_dict(states[name])
            Teaching.of(self.cohort).gather(self.transport)

    def _over(self, stage: TrainingStage) -> bool:
        """Whether the stage has had its epochs, or `evaluation.patience` is at its end."""
        at, patience = self.progress, self.training.evaluation.patience
        if at.epoch >= stage.epochs or patience is None or not self.plan.last_learners(at.stage):
            return at.epoch >= stage.epochs
        when = self.cohort.transfer, at.epoch, stage.epochs
        goes_on = self.selection.may_improve(self._last_here(at.stage), patience, *when)
        return at.epoch >= patience and not self.transport.anywhere(goes_on)

    def _run_epoch(self, run: StageRun, loop: Loop) -> None:
        began, stage, at = time.perf_counter(), run.stage, self.progress
        per_epoch, where = len(stage.loader), stage.where(at.epoch + 1)
        for batches in chunks(stage.loader.epoch(at.epoch, at.step), self.training.accumulate):
            when, number = at.epoch + at.step / per_epoch, at.epoch * per_epoch + at.step
            results = run.stepper.step(number, when, batches)
            with telling_where(where, self.folder):
                for result in results:
                    run.monitor.add(result.step, result)
            at.steps += 1
            at.step += len(batches)
            self.transport.stepped(self.cohort, at.steps)
            self.observe(run.step_event(at.epoch, at.step))
            if loop.save_step():
                at.seconds += time.perf_counter() - began
                with telling_where(where, self.folder):
                    run.monitor.check()
                self._save(loop)
                began = time.perf_counter()
                loop.stop_if_saved(where)
        with telling_where(where, self.folder):
            run.monitor.check()
            run.check_weights()
        seconds = time.perf_counter() - began
        at.seconds += seconds
        at.epoch, at.step = at.epoch + 1, 0
        self._end_epoch(run, seconds, loop)
        loop.stop_if_saved(where)

    def _end_epoch(self, run: StageRun, seconds: float, loop: Loop) -> None:
        stage, at, spec = run.stage, self.progress, self.training.evaluation
        rates = {name: update.rate for name, update in run.updates.items()}
        record: dict[str, Any] = {
            "event": "epoch",
            "stage": stage.name,
            "epoch": at.epoch,
            "of": stage.epochs,
            "seconds": round(seconds, 3),
            "lr": max(self.transport.collect(rates).values()),
            "train": self.transport.collect(run.monitor.means(self.transport.summed)),
        } | self.transport.told()
        last_stage, measured = at.stage == len(self.stages) - 1, dict[str, Any]()
        every = epochs_between(spec.every, stage, self.task)
        due = not stage.shared and (at.epoch == stage.epochs or at.epoch % every == 0)
        if self.task is not None and self.task.validates and due:
            measured = self._measure("validation", stage)
            record["val"] = measured["peers"] | {"ensemble": measured["ensemble"]}
            record |= open_edges(self.cohort.transfer)
            if spec.select == "best":
                able = {name: self._evaluated(name) for name in self._last_here(at.stage)}
                when = self.cohort.transfer, at.epoch, stage.epochs
                self.selection.offer(measured["peers"], able, *when)
        record |= posterior_record(self._evaluated_here(), self.cohort, self.transport, measured)
        if (final := self._over(stage)) and at.epoch < stage.epochs:
            record["stopped"] = "patience"
        in_tail = spec.select == "mean_last" and at.epoch > stage.epochs - spec.last_epochs
        if last_stage and in_tail and (measured := self._measure("report", stage)):
            at.tail.append(of_an_epoch(measured))
        at.history.append(record)
        if self.folder is not None and self.transport.leads:
            self.folder.log(record)
        run.begin_epoch()
        if final:
            self._finish_learning(at.stage)
            for text in what_is_odd(record):
                self._note(text)
        if final and not last_stage:  # the next one begins, with new optimisers
            begun = replace(at, stage=at.stage + 1, epoch=0, step=0)
            loop.checkpoints.save(self.cohort, loop.own, self.selection, begun, None)
        elif final or loop.save_epoch():
            self._save(loop)
        self.observe(record)

    # Who learns, and which weights count -------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """Who trains in which stage."""
        return Plan(self.stages, self.cohort.names, self.peers)

    def _last_here(self, stage: int) -> list[str]:
        """Peers that live here and train in a stage for the last time."""
        return [name for name in self.plan.last_learners(stage) if name in self.transport.owned]

    def _finish_learning(self, stage: int) -> None:
        """Peers that will train no more hold from now on what they are selected for."""
        best = self.training.evaluation.select == "best" and self.current is not None
        for name in self._last_here(stage):
            if not best:
                self.selection.keep(name, self._evaluated(name))
            if stage < len(self.stages) - 1:
                self.cohort.peers[name].load_state_dict(self.selection.weights[name])
        trunk, averaged = self.cohort.trunk, self._evaluated_trunk()
        if trunk is None or averaged is None or averaged is trunk:
            return
        if not self.plan.trunk_trains_after(stage):
            trunk.load_state_dict(averaged.state_dict())

    # Evaluation ------------------------------------------------------------------------------

    def _measure(self, purpose: Purpose, stage: TrainingStage) -> dict[str, Any]:
        """Metrics of the peers as they would be reported now; a validation moves edges."""
        assert self.task is not None, "asked where there is a task"
        evaluate = partial(self.task.evaluate, purpose=purpose)
        with telling_where(stage.where(self.progress.epoch), self.folder):
            if purpose == "validation" and self.cohort.transfer.proves:
                return proving(evaluate, self.forward, self.task.metrics, self.cohort.transfer)
            return sound(evaluate, self.forward, self.task.metrics)

    def forward(self, rows: Rows) -> Iterator[tuple[Logits, Tensor]]:
        """Logits of all peers as they are evaluated, batch by batch; see `predict`."""
        peers = self._evaluated_here()
        for logits, y in predict(peers, rows, self.precision, self._evaluated_trunk()):
            yield logits.collected(self.transport.collect), y

    def _evaluated_here(self) -> dict[str, nn.Module]:
        return {name: self._evaluated(name) for name in self.transport.owned}

    def _evaluated(self, name: str) -> nn.Module:
        """The peer, or the average of its weights where it has one."""
        updates = self.current.updates if self.current is not None else {}
        return updates[name].evaluated if name in updates else self.cohort.peers[name]

    def _evaluated_trunk(self) -> nn.Module | None:
        updates = self.current.updates if self.current is not None else {}
        return updates[TRUNK].evaluated if TRUNK in updates else self.cohort.trunk

    def _result(self) -> TrainingResult:
        trained = Trained(self.cohort, self.precision, self.forward, self.progress.history)
        of_all = self.transport.total(self.progress.forwards)
        settings = self.training.evaluation
        with telling_where("final evaluation", self.folder):
            found = calibrate(self.cohort, self.task, settings, self.forward)
            self.selection.note_temperatures(found, self.transport.owned, self.folder)
            known = of_all, self.selection.best, self.seed, found
            result = training_result(trained, self.task, settings, self.progress, *known)
        if result.pictures and self.folder is not None and self.transport.leads:
            self.folder.save_gallery(result.pictures)
        return result

    def _note(self, text: str) -> None:
        self.observe({"event": "note", "text": text})

    # Saving and failing ------------------------------------------------------------------------

    def _save(self, loop: Loop) -> None:
        loop.checkpoints.save(self.cohort, loop.own, self.selection, self.progress, self.current)
