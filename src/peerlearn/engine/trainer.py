"""The one training loop: stages of epochs of steps, with validation, checkpoints and resume."""

import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import Batch
from peerlearn.data.info import DataInfo
from peerlearn.engine.class_weights import learned_class_weights
from peerlearn.engine.evaluate import Rows, assessed, predict
from peerlearn.engine.interruption import Interruption
from peerlearn.engine.kept_inputs import KeptInputs
from peerlearn.engine.memory import keep_freed_memory
from peerlearn.engine.monitor import EpochMonitor
from peerlearn.engine.noise import noise_curves
from peerlearn.engine.outcome import TrainingResult, flatness_curves, mean_over_epochs
from peerlearn.engine.parts import joined_parts, learning_only, train_parts, weights_of
from peerlearn.engine.precision import Precision, resolve_device
from peerlearn.engine.run_folder import RunFolder, State
from peerlearn.engine.selection import TRUNK, Selection
from peerlearn.engine.settings import PeerSettings, Steps, TrainingSpec
from peerlearn.engine.shared_stages import SharedStages
from peerlearn.engine.sizes import peer_sizes
from peerlearn.engine.stage import Stage
from peerlearn.engine.steps import Clock, Stepper, StepResult
from peerlearn.engine.threads import threads
from peerlearn.engine.transports import LocalTransport, Transport, launched_transport
from peerlearn.engine.updates import PeerUpdate
from peerlearn.errors import InputError, RunError, unknown_name
from peerlearn.metrics.assessment import Assess, Assessment, ClassificationAssessment
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.metrics.discovery import METRICS as DISCOVERY
from peerlearn.metrics.segmentation import METRICS as SEGMENTATION
from peerlearn.randomness import preserved_rng

# Until the trainer is given what is measured together with who measures it.
_EVERY_METRIC = Catalogue((*SEGMENTATION, *CLASSIFICATION, *DISCOVERY))
SAVING_SHARE = 20  # epochs may be as short as milliseconds: save for a twentieth of the time
Observer = Callable[[dict[str, Any]], None]
Gallery = Callable[[Cohort, Precision], Mapping[str, NDArray[Any]]]
Examine = Callable[
    [Cohort, Precision, Sequence[Mapping[str, Any]]], Mapping[str, Mapping[str, float]]
]
Conclude = Callable[[Cohort, Precision], DataInfo]
Step = Callable[..., list[StepResult]]


@dataclass
class _Position:
    """Where a training stands: everything before it is done."""

    stage: int = 0
    epoch: int = 0
    step: int = 0


@dataclass
class Trainer:
    """Trains a cohort through its stages.

    After `run` every peer holds its selected weights. The caller's random generators, the
    networks' modes and the number of threads are as they were. On a CPU the process keeps memory
    that training frees (see `keep_freed_memory`).

    Args:
        cohort: the peers.
        stages: in order; validation selects weights within the last one.
        training: optimiser, precision, evaluation.
        validation: rows that select weights; None where nothing is selected.
        report: rows that are reported on; None reports nothing.
        assess: begins to measure a cohort from logits and targets.
        assess_quickly: the same for validation, where it may measure less; None for `assess`.
        peers: what single peers do their own way.
        seed: of dropout; batches and initial weights are keyed by their makers.
        folder: where to log and keep checkpoints; None keeps everything in memory.
        observe: is told of every step and epoch, for progress bars.
        probe: training rows for the flatness probe.
        info: what the trained networks must know of their data; None where nobody will ask.
        conclude: makes the `info` that tells of the trained peers too and replaces the first.
        gallery: makes arrays from the trained peers for people to look at, kept in the folder.
        examine: measures what needs more than logits, such as features or the records of all
            epochs: metrics by peer, which join those of `assess`.
        shared: stages that other runs may have had before; None where each trains all of its own.
    """

    cohort: Cohort
    stages: Sequence[Stage]
    training: TrainingSpec
    validation: Rows | None = None
    report: Rows | None = None
    assess: Assess = ClassificationAssessment
    assess_quickly: Assess | None = None
    peers: Mapping[str, PeerSettings] = field(default_factory=dict)
    seed: int = 0
    folder: RunFolder | None = None
    observe: Observer = lambda event: None
    probe: Rows | None = None
    info: DataInfo | None = None
    conclude: Conclude | None = None
    gallery: Gallery | None = None
    examine: Examine | None = None
    shared: SharedStages | None = None

    def __post_init__(self) -> None:
        if self.validation is None and self.training.evaluation.select == "best":
            raise InputError(
                "evaluation.select: 'best' needs validation rows; give some, or use 'last'"
            )
        if self.cohort.trunk is not None and self.training.evaluation.select == "best":
            raise InputError(
                "evaluation.select: 'best' takes each peer's own best epoch, which peers on one "
                "trunk do not have; use 'last' or 'mean_last'"
            )
        for number, stage in enumerate(self.stages):
            if not self._learners_of(number):
                raise InputError(
                    f"peers: nobody trains in stage {stage.name!r}; leave frozen out of at least "
                    "one of them"
                )
        for name in self.training.evaluation.members or ():
            if name not in self.cohort.names:
                raise unknown_name("peer", name, self.cohort.names, "evaluation.members")
        graphs = [stage.transfer or self.cohort.transfer for stage in self.stages]
        if self.training.accumulate > 1 and any(graph.sequential for graph in graphs):
            raise InputError(
                f"accumulate: found {self.training.accumulate}; with transfer.update 'sequential' "
                "every batch is a step of its own, so it must be 1"
            )
        self.device = resolve_device(self.training.device)
        self.precision = Precision.resolve(self.training.precision, self.device)
        self.selection = Selection(_EVERY_METRIC[self.training.evaluation.metric])
        self.updates: dict[str, PeerUpdate] = {}
        self.history: list[dict[str, Any]] = []
        self.tail: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.forwards = self.steps = 0
        self.unsaved: set[str] = set()
        self.saved, self.saving = time.perf_counter(), 0.0

    def run(self, resume: bool = False) -> TrainingResult:
        """Train, select, report.

        Args:
            resume: go on from the folder's last checkpoint, if it has one.

        Raises:
            RunError: a loss that is not finite, or a file that cannot be written.
            KeyboardInterrupt: after the interrupted step was finished and saved.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        with preserved_rng(), threads(self.training.threads), self._counted_forwards():
            self.precision.place(self.cohort)
            self.transport: Transport = launched_transport(self.cohort.names, self.device)
            self._check_transport()
            state = self.folder.load_last() if resume and self.folder is not None else None
            if state is None and self.folder is not None and self.transport.leads:
                self.folder.keep_metrics(0)  # of a start that never reached a checkpoint
            position = _Position(**state["position"]) if state else self._after_shared_stages()
            with Interruption() as interruption:
                while position.stage < len(self.stages):
                    self._run_stage(position, state, interruption)
                    self._share(position.stage)
                    position, state = _Position(position.stage + 1), None
            self._load_selected()
            return self._result()

    @contextmanager
    def stepping(self, stage: int = 0) -> Iterator[Step]:
        """Single steps of one stage in this process, as `run` makes them, for a loop of one's own.

        The cohort is put on its device and in the training modes of the stage; `begin` of the
        stage is not done. Edges, objectives, modes, random generators and the number of threads
        are as they were when the block ends; weights and the place of the cohort are not.

        Yields:
            `step(*batches)`: one optimiser step over one batch, or over several that accumulate.
            It returns losses, logits and targets of every batch. Random streams and schedules
            advance with every batch, and stay at the end of the stage once they are there.
        """
        at, transfer, objectives = self.stages[stage], self.cohort.transfer, self.cohort.objectives
        if at.transfer is not None:
            self.cohort.transfer = at.transfer
        if at.objectives is not None:
            self.cohort.objectives = dict(at.objectives)
        try:
            with preserved_rng(), threads(self.training.threads):
                self.precision.place(self.cohort)
                self.transport = LocalTransport(self.cohort.names)
                with self._learning(at, self._learners_of(stage)):
                    yield self._step(at)
        finally:
            self.cohort.transfer = transfer
            if at.objectives is not None:
                self.cohort.objectives = objectives

    def _step(self, stage: Stage) -> Step:
        """Steps of a stage that has been made ready, counted from its beginning."""
        number, per_epoch, stepper = 0, len(stage.loader), self.stepper

        def step(*batches: Batch) -> list[StepResult]:
            nonlocal number
            when = min(number / per_epoch, stage.epochs)
            for update in stepper.updates.values():
                update.set_rate(when, stage.epochs)
            clock = Clock(self.seed, stage.name, number, when / stage.epochs)
            number += len(batches)
            return stepper.step([self._place(batch) for batch in batches], clock)

        return step

    # One stage -------------------------------------------------------------------------------

    def _run_stage(
        self, position: _Position, state: State | None, interruption: Interruption
    ) -> None:
        stage = self.stages[position.stage]
        if stage.transfer is not None:
            self.cohort.transfer = stage.transfer
        if stage.objectives is not None:
            self.cohort.objectives = dict(stage.objectives)
        if state is not None:
            self._restore_cohort(state)
        if stage.begin is not None and position.epoch == position.step == 0:
            stage.begin(self.cohort)
        self.precision.place(self.cohort)
        learners = self._learners_of(position.stage)
        with self._learning(stage, learners):
            self.monitor = EpochMonitor(self.learners, self.device)
            if state is not None:
                self._restore_progress(state)
            while position.epoch < stage.epochs:
                self._run_epoch(stage, position, interruption)

    @contextmanager
    def _learning(self, stage: Stage, learners: Sequence[str]) -> Iterator[None]:
        """Optimisers, a stepper and training modes for the steps of a stage."""
        self.learners = [name for name in learners if name in self.transport.owned]
        with learning_only((self.cohort.peers[name] for name in learners), stage.parts):
            self.updates = self._updates(stage)
            self.stepper = Stepper(
                self.cohort,
                self.updates,
                self.precision,
                self.transport,
                {name: settings.view for name, settings in self.peers.items()},
                learners,
                trunk_learns=stage.trunk,
                kept=KeptInputs(stage.versions) if stage.versions and not stage.trunk else None,
            )
            with self._training_modes(stage, learners):
                yield

    @contextmanager
    def _training_modes(self, stage: Stage, learners: Sequence[str]) -> Iterator[None]:
        modes = [(part, part.training) for part in self.cohort.modules()]
        self.cohort.train()
        for name, peer in self.cohort.peers.items():
            if name in learners:
                train_parts(peer, stage.parts)
            else:
                peer.eval()
        if self.cohort.trunk is not None and not stage.trunk:
            self.cohort.trunk.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training

    def _run_epoch(self, stage: Stage, position: _Position, interruption: Interruption) -> None:
        began = time.perf_counter()
        per_epoch = len(stage.loader)
        batches = stage.loader.epoch(position.epoch, position.step)
        for micro_batches in _chunks(batches, self.training.accumulate):
            when = position.epoch + position.step / per_epoch
            for update in self.updates.values():
                update.set_rate(when, stage.epochs)
            number = position.epoch * per_epoch + position.step
            clock = Clock(self.seed, stage.name, number, when / stage.epochs)
            placed = [self._place(batch) for batch in micro_batches]
            for offset, result in enumerate(self.stepper.step(placed, clock)):
                self._watch(stage, position, number + offset, result)
            self.steps += 1
            position.step += len(micro_batches)
            self.observe({"event": "step", "stage": stage.name, "done": number + len(placed)})
            if self.transport.anywhere(interruption.requested or self._checkpoint_due()):
                self.seconds += time.perf_counter() - began
                self._check_losses(stage, position)
                self._save(position)
                began = time.perf_counter()
                if self.transport.anywhere(interruption.requested):
                    raise KeyboardInterrupt
        self._check_losses(stage, position)
        self._check_weights(stage, position)
        self.seconds += time.perf_counter() - began
        position.epoch, position.step = position.epoch + 1, 0
        self._end_epoch(stage, position, time.perf_counter() - began)

    def _end_epoch(self, stage: Stage, position: _Position, seconds: float) -> None:
        record: dict[str, Any] = {
            "event": "epoch",
            "stage": stage.name,
            "epoch": position.epoch,
            "of": stage.epochs,
            "seconds": round(seconds, 3),
            "lr": max(update.rate for update in self.updates.values()),
            "train": self.transport.collect(self.monitor.means()),
        }
        last_stage = position.stage == len(self.stages) - 1
        spec = self.training.evaluation
        final = position.epoch == stage.epochs
        due = stage.key is None and (final or position.epoch % spec.every == 0)
        if self.validation is not None and due:
            measured = self._measure(self.validation, quickly=True)
            record["val"] = measured["peers"] | {"ensemble": measured["ensemble"]}
            if spec.select == "best":
                self._offer(measured["peers"], position)
        if last_stage and self._in_tail(position.epoch, stage.epochs) and self.report is not None:
            self.tail.append(self._measure(self.report))
        self.history.append(record)
        if self.folder is not None and self.transport.leads:
            self.folder.log(record)
        self.monitor = EpochMonitor(self.learners, self.device)
        if final:
            self._finish_learning(position.stage)
        if final and not last_stage:
            self._save(_Position(position.stage + 1), fresh=True)
        elif final or self.transport.anywhere(self._worth_saving()):
            self._save(position)
        self.observe(record)

    # Pieces ----------------------------------------------------------------------------------

    def _updates(self, stage: Stage) -> dict[str, PeerUpdate]:
        modules: dict[str, nn.Module] = {name: self.cohort.peers[name] for name in self.learners}
        if self.cohort.trunk is not None and stage.trunk:
            modules[TRUNK] = self.cohort.trunk
        spec = self.training
        updates = {}
        for name, module in modules.items():
            updates[name] = PeerUpdate(
                module,
                Steps.settled(spec, stage.steps, self.peers.get(name)),
                spec.clip_norm,
                spec.ema,
                self.cohort.learned_for(name) if name in self.cohort.names else (),
            )
        return updates

    def _place(self, batch: Batch) -> Batch:
        views = tuple(self.precision.place(view) for view in batch.views)
        versions = batch.versions
        return Batch(
            views,
            batch.y.to(self.device, non_blocking=True),
            batch.index,
            None if versions is None else versions.to(self.device),
        )

    def assessment(self, quickly: bool = False) -> Assessment:
        """Begin to measure the cohort, as the configuration says."""
        assess = (quickly and self.assess_quickly) or self.assess
        return assess(members=self.training.evaluation.members)

    def _measure(self, rows: Rows, quickly: bool = False) -> dict[str, Any]:
        """Metrics of the peers as they would be reported now."""
        peers = {name: self._evaluated(name) for name in self.transport.owned}
        outputs = predict(peers, rows, self.precision, self._evaluated_trunk())
        everyone = ((self.transport.collect(logits), y) for logits, y in outputs)
        return assessed(everyone, self.assessment(quickly))

    def _evaluated(self, name: str) -> nn.Module:
        return self.updates[name].evaluated if name in self.updates else self.cohort.peers[name]

    def _evaluated_trunk(self) -> nn.Module | None:
        return self.updates[TRUNK].evaluated if TRUNK in self.updates else self.cohort.trunk

    def _learners_of(self, stage: int) -> list[str]:
        """Peers that train in a stage."""
        given = self.stages[stage].learners
        return [
            name
            for name in self.cohort.names
            if not (name in self.peers and self.peers[name].frozen)
            and (given is None or name in given)
        ]

    def _last_learns(self, stage: int) -> list[str]:
        """Peers that live here and train in a stage for the last time."""
        later = {
            n for number in range(stage + 1, len(self.stages)) for n in self._learners_of(number)
        }
        return [name for name in self.learners if name not in later]

    def _offer(self, measured: Mapping[str, Mapping[str, float]], position: _Position) -> None:
        for name in self._last_learns(position.stage):
            value = measured[name][self.selection.metric.name]
            if self.selection.offer(name, value, position.epoch, self._evaluated(name)):
                self.unsaved.add(name)

    def _finish_learning(self, stage: int) -> None:
        """Peers that will train no more hold from now on what they are selected for."""
        for name in self._last_learns(stage):
            if self.training.evaluation.select != "best":
                self.selection.keep(name, self._evaluated(name))
                self.unsaved.add(name)
            if stage < len(self.stages) - 1:
                self.cohort.peers[name].load_state_dict(self.selection.weights[name])
        trunk, averaged = self.cohort.trunk, self._evaluated_trunk()
        if trunk is None or averaged is None or averaged is trunk:
            return
        if not any(later.trunk for later in self.stages[stage + 1 :]):
            trunk.load_state_dict(averaged.state_dict())

    def _save_selected(self) -> None:
        if self.folder is not None:
            for name in sorted(self.unsaved):
                about = self.selection.best.get(name, {})
                self.folder.save_best(name, self.selection.weights[name], about)
        self.unsaved.clear()

    def _in_tail(self, epoch: int, epochs: int) -> bool:
        spec = self.training.evaluation
        return spec.select == "mean_last" and epoch > epochs - spec.last_epochs

    def _checkpoint_due(self) -> bool:
        """Whether an epoch has gone on for so long that it must not be lost."""
        if self.folder is None:
            return False
        return time.perf_counter() - self.saved > 60 * self.training.checkpoint_minutes

    def _worth_saving(self) -> bool:
        """Whether an epoch has ended and saving costs little beside what would be lost."""
        return time.perf_counter() - self.saved > SAVING_SHARE * self.saving

    def _watch(self, stage: Stage, position: _Position, number: int, result: Any) -> None:
        try:
            self.monitor.add(number, result)
        except RunError as error:
            raise self._lost(stage, position, error) from None

    def _check_losses(self, stage: Stage, position: _Position) -> None:
        try:
            self.monitor.check()
        except RunError as error:
            raise self._lost(stage, position, error) from None

    def _check_weights(self, stage: Stage, position: _Position) -> None:
        """A last step can break weights that no loss has seen yet; they must not be saved."""
        for name, update in self.updates.items():
            if not torch.stack([p.detach().isfinite().all() for p in update.parameters]).all():
                error = RunError(f"peer {name!r}: weights stopped being finite")
                raise self._lost(stage, position, error)

    def _lost(self, stage: Stage, position: _Position, error: RunError) -> RunError:
        where = f"{error} (stage {stage.name!r}, epoch {position.epoch + 1} of {stage.epochs})"
        advice = "try a lower lr, clip_norm: 5, or precision: fp32"
        if self.folder is None or not self.folder.last.exists():
            return RunError(f"{where}; no checkpoint was written yet; {advice}")
        return RunError(f"{where}; last good checkpoint: {self.folder.last}; {advice}")

    def _check_transport(self) -> None:
        if isinstance(self.transport, LocalTransport):
            return
        if self.cohort.trunk is not None:
            raise InputError("a shared trunk cannot be spread over several processes")
        graphs = [stage.transfer or self.cohort.transfer for stage in self.stages]
        if not all(graph.travels for graph in graphs):
            raise InputError(
                "transfer: features, relations, weighting and learned temperatures cannot be "
                "spread over several processes"
            )
        if any(len(self._learners_of(n)) < len(self.cohort.names) for n in range(len(self.stages))):
            raise InputError("peers that only teach cannot be spread over several processes")

    # State -----------------------------------------------------------------------------------

    def _save(self, position: _Position, fresh: bool = False) -> None:
        """Write the checkpoint; `fresh`: a new stage begins, so optimisers start anew."""
        if self.folder is None:
            return
        began = time.perf_counter()
        self._save_selected()
        collect = self.transport.collect
        peers = collect(
            {name: self.cohort.peers[name].state_dict() for name in self.transport.owned}
        )
        updates = {name: update.state_dict() for name, update in self.updates.items()}
        trunk = {TRUNK: updates.pop(TRUNK)} if TRUNK in updates else {}
        state: State = {
            "position": vars(position),
            "peers": peers,
            "transfer": self.cohort.transfer.state_dict(),
            "objectives": collect(
                {
                    name: objective.state_dict()
                    for name, objective in self.cohort.objective_modules.items()
                    if name in self.transport.owned
                }
            ),
            "updates": None if fresh else collect(updates) | trunk,
            "monitor": collect(self.monitor.state_dict()),
            "best": collect(
                {n: b for n, b in self.selection.best.items() if n in self.transport.owned}
            ),
            "history": self.history,
            "tail": self.tail,
            "seconds": self.seconds,
            "forwards": self.forwards,
            "steps": self.steps,
        }
        if self.cohort.trunk is not None:
            state[TRUNK] = self.cohort.trunk.state_dict()
        if self.transport.leads:
            self.folder.save_last(state)
        self.saved = time.perf_counter()
        self.saving = self.saved - began

    def _restore_cohort(self, state: State) -> None:
        for name in self.transport.owned:
            self.cohort.peers[name].load_state_dict(state["peers"][name])
        if self.cohort.trunk is not None:
            self.cohort.trunk.load_state_dict(state[TRUNK])
        begins = state["updates"] is None  # a stage, with optimisers and sums of its own
        stage = self.stages[state["position"]["stage"]]
        if not begins or stage.transfer is None:
            self.cohort.transfer.load_state_dict(state["transfer"])
        if not begins or stage.objectives is None:
            for name in set(self.transport.owned) & set(self.cohort.objective_modules):
                self.cohort.objective_modules[name].load_state_dict(state["objectives"][name])

    def _restore_progress(self, state: State) -> None:
        if state["updates"] is not None:
            for name, update in self.updates.items():
                update.load_state_dict(state["updates"][name])
            self.monitor.load_state_dict(state["monitor"])
        self.history, self.tail = state["history"], state["tail"]
        self.seconds, self.forwards, self.steps = (
            state["seconds"],
            state["forwards"],
            state["steps"],
        )
        self.selection.best = state["best"]
        assert self.folder is not None, "a state can only come from a folder"
        for name in self.selection.best:
            self.selection.weights[name] = self.folder.load_best(name)
        self.unsaved.clear()
        if self.transport.leads:
            self.folder.keep_metrics(len(self.history))

    def _load_selected(self) -> None:
        for name in self.transport.owned:
            if name not in self.selection.weights:  # of a peer that never trained
                self.selection.keep(name, self.cohort.peers[name])
                self.unsaved.add(name)
        if (trunk := self._evaluated_trunk()) is not None:
            self.selection.keep(TRUNK, trunk)
            self.unsaved.add(TRUNK)
        self._save_selected()
        self.selection.best = self.transport.collect(self.selection.best)
        self.selection.weights = self.transport.collect(self.selection.weights)
        for name, peer in self.cohort.peers.items():
            peer.load_state_dict(self.selection.weights[name])
        if self.cohort.trunk is not None:
            self.cohort.trunk.load_state_dict(self.selection.weights[TRUNK])

    # Stages of other runs ----------------------------------------------------------------------

    def _share(self, stage: int) -> None:
        """Keep what the parts that have trained, and the trunk, are at the end of a stage."""
        key = self.stages[stage].key
        if self.shared is None or key is None or not isinstance(self.transport, LocalTransport):
            return
        parts = joined_parts(each.parts for each in self.stages[: stage + 1])
        peers = self.cohort.peers
        state: State = {
            "peers": {name: weights_of(peers[name], parts) for name in self.learners},
            "history": self.history,
            "seconds": self.seconds,
            "forwards": self.forwards,
            "steps": self.steps,
        }
        if self.cohort.trunk is not None:
            state[TRUNK] = self.cohort.trunk.state_dict()
        self.shared.save(key, state)

    def _after_shared_stages(self) -> _Position:
        """Where training begins, once the last stage that another run has had is taken over."""
        for number in reversed(range(len(self.stages))):
            key = self.stages[number].key
            state = self.shared.load(key) if self.shared is not None and key is not None else None
            if state is None:
                continue
            for name, weights in state["peers"].items():
                peer = self.cohort.peers[name]
                peer.load_state_dict(peer.state_dict() | weights)
            if self.cohort.trunk is not None:
                self.cohort.trunk.load_state_dict(state[TRUNK])
            self.history, self.seconds = state["history"], state["seconds"]
            self.forwards, self.steps = state["forwards"], state["steps"]
            if self.folder is not None and self.transport.leads:
                for record in self.history:
                    self.folder.log(record)
            return _Position(number + 1)
        return _Position()

    # Pieces of the result ---------------------------------------------------------------------

    def _result(self) -> TrainingResult:
        block: dict[str, Any] = {}
        if self.conclude is not None:
            self.info = self.conclude(self.cohort, self.precision)
        if self.report is not None:
            peers = dict(self.cohort.peers)
            outputs = predict(peers, self.report, self.precision, self.cohort.trunk)
            block |= assessed(outputs, self.assessment())
            if self.tail:
                block |= mean_over_epochs(self.tail)
        if self.examine is not None:
            for name, found in self.examine(self.cohort, self.precision, self.history).items():
                block["peers"][name] |= found
        if self.training.evaluation.flatness and self.probe is not None:
            block["flatness"] = flatness_curves(self.cohort, self.probe, self.precision, self.seed)
        if self.training.evaluation.noise and self.report is not None:
            block["noise"] = noise_curves(
                self.cohort,
                self.report,
                self.precision,
                self.assessment,
                self.training.evaluation.noise,
                self.seed,
            )
        block["edges"] = list(self.cohort.transfer.edges())
        forwards = self.transport.collect({self.transport.owned[0]: self.forwards})
        block["cost"] = {
            "train_s": self.seconds,
            "forwards_per_step": sum(forwards.values()) / max(self.steps, 1),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        x = _first_batch(self.report or self.validation)
        names = self.info.class_names if self.info is not None else None
        if weights := learned_class_weights(self.cohort, x, self.precision, names):
            block["class_weights"] = weights
        block["sizes"] = peer_sizes(self.cohort, x, self.precision)
        if self.gallery is not None and self.folder is not None and self.transport.leads:
            self.folder.save_gallery(self.gallery(self.cohort, self.precision))
        return TrainingResult(block, self.history, self.selection.best)

    @contextmanager
    def _counted_forwards(self) -> Iterator[None]:
        """Count training forwards where they happen, at the networks."""

        def count(module: nn.Module, args: Any, output: Any) -> None:
            self.forwards += module.training

        handles = [peer.register_forward_hook(count) for peer in self.cohort.peers.values()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _first_batch(rows: Rows | None) -> Any:
    x, _ = next(iter(rows()), (None, None)) if rows is not None else (None, None)
    return x


def _chunks(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    iterator = iter(batches)
    while chunk := list(islice(iterator, size)):
        yield chunk
