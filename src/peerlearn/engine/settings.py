"""The typed configuration of training: what every recipe understands."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from peerlearn.data.corruption import CorruptionKind
from peerlearn.engine.optimisers import OptimiserSpec
from peerlearn.engine.precision import PrecisionName
from peerlearn.engine.updates import LearningRate
from peerlearn.metrics.own import OwnMetric
from peerlearn.validation import Spec, short_form

NoiseLevel = Annotated[float, Field(ge=0, le=1000)]
#: Far above any training; beyond lie slips of the hand.
MOST_EPOCHS, MOST_ROWS, MOST_THREADS = 1_000_000, 1 << 20, 1024


class EvaluationSpec(Spec):
    """What is measured, on which rows, and which weights are reported and kept."""

    select: Literal["best", "last", "mean_last"] = Field(
        "best",
        description="weights to report: each peer's best epoch on validation, the last epoch, or "
        "the mean over the last epochs",
    )
    metric: str = Field(
        "accuracy", description="what 'best' means; dice and iou where images are segmented"
    )
    metrics: tuple[OwnMetric, ...] = Field(
        (),
        description="functions of logits and targets of your own, python:package.module:function, "
        "that give further metrics of classifiers; see OwnMetric",
    )
    last_epochs: int = Field(
        5, ge=1, le=MOST_EPOCHS, description="epochs that mean_last averages over"
    )
    report: Literal["test", "val+test"] = Field(
        "test", description="rows to report on; val+test only where nothing is selected on val"
    )
    members: list[str] | None = Field(
        None,
        min_length=1,
        description="peers whose mean and ensemble are reported, such as the students of a "
        "teacher; None for all",
    )
    every: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] | Literal["auto"] = Field(
        1,
        description="epochs between validations; auto: as few as keep the rows that are validated, "
        "a forward of each taken for half a step, below a twentieth of those that train",
    )
    patience: int | None = Field(
        None,
        ge=1,
        le=MOST_EPOCHS,
        description="end a stage when no peer had a better epoch for so many epochs (early "
        "stopping); the learning rate goes on as planned for all of them, so a constant one, or "
        "steps, suit it best",
    )
    calibrate: Literal["none", "temperature"] = Field(
        "none",
        description="after training: temperature fits to validation rows, for each peer, a number "
        "that its logits are divided by; for rows, nodes and graphs that are classified",
    )
    flatness: bool = Field(False, description="probe the loss under growing weight noise")
    noise: tuple[NoiseLevel, ...] = Field(
        (),
        description="measure accuracy under Gaussian noise on what peers read, of these standard "
        "deviations in units of that of the data; such as [0, 0.25, 0.5, 1]",
    )
    ood: tuple[str, ...] = Field(
        (),
        description="data sets outside the distribution, by name or path, to be told from the rows "
        "reported on by how unsure peers are: their test rows, else all they have; for rows with "
        "one class each",
    )
    corruption: tuple[CorruptionKind, ...] = Field(
        (),
        description="measure accuracy, NLL and ECE on images made worse in five levels: noise, "
        "blur, contrast, pixelate; for images that are classified",
    )
    batch_size: int = Field(512, ge=1, le=MOST_ROWS, description="rows per forward when evaluating")

    @field_validator("ood", "corruption", mode="before")
    @classmethod
    def _one_alone(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    def model_post_init(self, _: Any) -> None:
        if self.report == "val+test" and self.select == "best":
            raise ValueError(
                "evaluation.report: 'val+test' with select 'best' would report on the rows that "
                "chose the weights; use select: last or mean_last"
            )


class TransportSpec(Spec):
    """How what peers say reaches each other; the kind alone is a short form.

    Kinds:
        mesh: at every step, in this process or among those that `torchrun` started together.
        snapshot: this process trains one peer; others, in processes of their own, are as they last
            published their weights, or what they say of public rows, in a folder that all of them
            see. Nobody waits for anybody.
    """

    kind: Literal["mesh", "snapshot"] = "mesh"
    folder: str | None = Field(None, description="of snapshots: where they are published")
    peer: str | None = Field(None, description="of snapshots: the peer that this process trains")
    every: int = Field(
        100, ge=1, le=1_000_000_000, description="of snapshots: steps after which it publishes"
    )
    publish: Literal["weights", "predictions"] = Field(
        "weights",
        description="of snapshots: what others learn from; predictions: logits on public rows, "
        "where weights must not leave their machine",
    )
    public: str | None = Field(
        None,
        description="of predictions: rows that all processes have, by the name of a data set or a "
        "path; their labels are not read",
    )
    public_batch: int | None = Field(
        None, ge=2, le=MOST_ROWS, description="of predictions: public rows a step; null: batch_size"
    )

    _kind_alone = short_form("kind")

    @model_validator(mode="after")
    def _belong_to_snapshots(self) -> Self:
        for name in ("folder", "peer"):
            given = getattr(self, name)
            if self.kind == "snapshot" and not given:
                raise ValueError(f"{name}: missing; kind 'snapshot' needs it")
            if self.kind != "snapshot" and given is not None:
                raise ValueError(f"{name}: found {given!r} with kind {self.kind!r}; use snapshot")
        if self.kind != "snapshot" and self.publishes_predictions:
            raise ValueError(f"publish: found 'predictions' with kind {self.kind!r}; use snapshot")
        if self.publishes_predictions and not self.public:
            raise ValueError("public: missing; publish 'predictions' needs it")
        for name in ("public", "public_batch"):
            if not self.publishes_predictions and (given := getattr(self, name)) is not None:
                raise ValueError(
                    f"{name}: found {given!r} with publish {self.publish!r}; use predictions"
                )
        return self

    @property
    def publishes_predictions(self) -> bool:
        """Whether peers are known elsewhere by what they say of public rows alone."""
        return self.publish == "predictions"

    def here(self, peers: Sequence[str]) -> list[str]:
        """Those of the peers whose networks this process has, and no other need have."""
        return [name for name in peers if name == self.peer or not self.publishes_predictions]


class TrainingSpec(Spec):
    """How a cohort trains: the keys `epochs`, `batch_size`, `lr`, ... of every recipe."""

    epochs: int = Field(30, ge=1, le=MOST_EPOCHS, description="passes over the training rows")
    batch_size: int = Field(128, ge=2, le=MOST_ROWS, description="rows per step")
    lr: float = Field(0.1, gt=0, description="base learning rate")
    optimiser: OptimiserSpec = Field(OptimiserSpec(), description="by its torch.optim name")
    lr_schedule: LearningRate = Field(LearningRate(), description="path of the learning rate")
    clip_norm: float | None = Field(None, gt=0, description="largest gradient norm of a peer")
    accumulate: int = Field(1, ge=1, le=MOST_ROWS, description="batches per optimiser step")
    ema: float | None = Field(None, gt=0, lt=1, description="decay of averaged weights")
    precision: PrecisionName = Field("auto", description="auto, fp32 or bf16")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps, ...")
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads; None leaves torch's choice"
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, le=1e6, description="longest time between checkpoints inside an epoch"
    )
    transport: TransportSpec = Field(TransportSpec(), description="see TransportSpec")
    evaluation: EvaluationSpec = Field(EvaluationSpec(), description="see EvaluationSpec")


class StepSettings(Spec):
    """How the weights of one peer, or in one stage, are stepped; null: as everywhere else."""

    lr: float | None = Field(None, gt=0, description="base learning rate of its own")
    optimiser: OptimiserSpec | None = Field(None, description="optimiser of its own")
    lr_schedule: LearningRate | None = Field(None, description="learning-rate path of its own")


class PeerSettings(StepSettings):
    """What one peer does its own way; what is left out is shared with the others."""

    weights: str | None = Field(
        None, description="file of initial weights: .safetensors, or a state_dict of torch.save"
    )
    frozen: bool = Field(
        False, description="teach only, as it is; a file in place of true: with these weights"
    )
    view: int = Field(
        0, ge=0, lt=8, description="number of the augmented view it trains on; 0 is shared by all"
    )
    groups: dict[str, StepSettings] = Field(
        {},
        description="parameters that are stepped their own way, by a pattern of their names, such "
        "as {'head.*': {lr: 0.01}}; the first that fits counts",
    )

    @model_validator(mode="before")
    @classmethod
    def _frozen_at(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("frozen"), str):
            if given.get("weights") is not None:
                raise ValueError("weights: named twice, here and by frozen; frozen: true is enough")
            return given | {"frozen": True, "weights": given["frozen"]}
        return given
