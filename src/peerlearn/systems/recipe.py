"""What a published system is here: a typed configuration, its defaults, and how to build it."""

import importlib.resources
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from peerlearn import results
from peerlearn.cohort import Cohort
from peerlearn.engine.run_folder import RunFolder, read_config
from peerlearn.engine.settings import PeerSettings, TrainingSpec
from peerlearn.engine.shared_stages import SharedStages
from peerlearn.engine.trainer import Observer, Trainer
from peerlearn.engine.transports import leads_launch
from peerlearn.errors import InputError, unknown_name
from peerlearn.files import write_json
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue, Metric
from peerlearn.results import Results
from peerlearn.systems.overrides import apply_overrides
from peerlearn.transfer.spec import TransferSpec
from peerlearn.validation import validated

Reads = Literal["rows", "nodes", "graphs", "masks", "clusters"]
#: Keys of `data` that may say `seed`: every seed of a comparison then has a split of its own.
SPLIT_CHOICES = ("split_seed", "split_index", "fold_index")


class PeerSpec(PeerSettings):
    """One peer: its network, and what it does its own way."""

    model: str = Field(description="a name of `peerlearn ls models`, or python:package.module:f")
    arguments: dict[str, Any] = Field({}, description="keyword arguments of the model")

    @model_validator(mode="before")
    @classmethod
    def _model_alone(cls, given: Any) -> Any:
        return {"model": given} if isinstance(given, str) else given


class RecipeConfig(TrainingSpec):
    """The keys that every recipe understands, beside those of training itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str = Field(description="name of the recipe")
    seed: int = Field(0, ge=0, description="key of initial weights, batches and dropout")
    peers: dict[str, PeerSpec] = Field(min_length=1, description="the networks by name")
    transfer: TransferSpec = Field(TransferSpec(), description="who teaches whom; see TransferSpec")
    arm: str | None = Field(None, description="named overrides to apply; None: the first arm")
    arms: dict[str, dict[str, Any] | None] = Field(
        {}, description="named overrides that `compare` sets against each other"
    )

    metrics: ClassVar[Sequence[Metric]] = CLASSIFICATION

    @model_validator(mode="after")
    def _metric_is_measured(self) -> Self:
        Catalogue(self.metrics).selecting(self.evaluation.metric, f"recipe {self.recipe!r}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _splits_by_seed(cls, given: Any) -> Any:
        data = given.get("data") if isinstance(given, Mapping) else None
        if not isinstance(data, Mapping):
            return given
        named = {key: given.get("seed", 0) for key in SPLIT_CHOICES if data.get(key) == "seed"}
        return {**given, "data": {**data, **named}}

    @field_validator("peers", mode="before")
    @classmethod
    def _null_removes(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {name: peer for name, peer in given.items() if peer is not None}
        return given

    def dump(self) -> dict[str, Any]:
        """The resolved configuration as plain values, readable as a recipe file again."""
        return json.loads(self.model_dump_json(by_alias=True))


@dataclass(frozen=True)
class Recipe:
    """A published system.

    Attributes:
        name: as typed on the command line.
        summary: one line for `peerlearn ls`.
        config: its typed configuration.
        build: from a configuration to a trainer that is ready to run.
        restore: from a configuration and the info of its data to the untrained cohort, for
            recipes whose peers can be used without their data; None for the others.
        reads: what its peers read: images and vectors, the nodes of a graph, or graphs.
        system: folder of the system in `systems/`; None where it is called like the recipe.
    """

    name: str
    summary: str
    config: type[RecipeConfig]
    build: Callable[[Any], Trainer]
    restore: Callable[[Any, Any], Cohort] | None = None
    reads: Reads = "rows"
    system: str | None = None

    @property
    def metrics(self) -> Catalogue:
        """What its runs measure."""
        return Catalogue(self.config.metrics)

    def default_text(self) -> str:
        """The recipe's YAML, with its comments."""
        folder = importlib.resources.files("peerlearn.systems") / (self.system or self.name)
        return (folder / f"{self.name}.yaml").read_text(encoding="utf-8")

    def defaults(self) -> dict[str, Any]:
        """The recipe's YAML as a mapping."""
        return yaml.safe_load(self.default_text())

    def resolve(self, given: Mapping[str, Any], overrides: Mapping[str, Any]) -> Any:
        """The typed configuration: `given`, then the overrides, then those of the arm.

        Raises:
            InputError: lists every unknown key and every value that is not allowed.
        """
        config = apply_overrides(given, overrides)
        arms = config.get("arms") or {}
        if not isinstance(arms, Mapping):
            raise InputError(f"arms: expected a mapping of names to overrides; found {arms!r}")
        arm = config.get("arm") or next(iter(arms), None)
        if arm is not None:
            if arm not in arms:
                raise unknown_name("arm", str(arm), arms, "arm")
            config = apply_overrides(config, arms[arm] or {}, f"arms.{arm}")
        return validated(self.config, config | {"arm": arm})

    def completed(self, resolved: dict[str, Any]) -> dict[str, Any]:
        """A configuration that an older version resolved, with the options that came since.

        One that is not valid any more is returned as it is.
        """
        try:
            return validated(self.config, resolved).dump()
        except InputError:
            return resolved


def run_recipe(
    recipe: Recipe,
    config: Any,
    out: Path | None = None,
    resume: bool = False,
    observe: Observer | None = None,
    shared: Path | None = None,
) -> Results:
    """Train one arm with one seed and write its run folder.

    Args:
        recipe: the system.
        config: from `Recipe.resolve`.
        out: run folder; None writes nothing.
        resume: continue what the folder holds, or return its results if it is finished.
        observe: is told of every step and epoch.
        shared: folder of stages that other runs may have had before; None to train all of them.

    Returns:
        The content of `results.json`.

    Raises:
        InputError: the configuration, the data or the folder cannot be used.
        RunError: training or writing failed.
    """
    folder = RunFolder(out) if out is not None else None
    # Asked first: the networks and data of what is finished need not be made again.
    if folder is not None and resume and folder.finished(config.dump(), recipe.completed):
        return results.load(folder.results)
    trainer = recipe.build(config)
    if folder is not None:
        if leads_launch():
            folder.open(config.dump(), resume, recipe.completed)
        trainer.folder = folder
    if observe is not None:
        trainer.observe = observe
    if shared is not None:
        trainer.shared = SharedStages(shared)
    result = trainer.run(resume)
    measured = results.of_one_seed(
        config.recipe,
        config.data.short_name,
        config.seed,
        config.arm or config.recipe,
        result.block,
    )
    measured["selected"] = result.selected
    if folder is not None and trainer.transport.leads:
        if trainer.info is not None:
            write_json(folder.info, trainer.info.model_dump())
        results.save(folder.results, measured)
    return measured


def load_recipe_file(path: Path) -> dict[str, Any]:
    """A recipe file of the user.

    Raises:
        InputError: not a readable YAML mapping, or no `recipe:` key in it.
    """
    given = read_config(path)
    if "recipe" not in given:
        raise InputError(f"{path}: no key 'recipe'; name the system, such as recipe: dml")
    return given
