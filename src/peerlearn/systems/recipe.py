"""What a published system is here: a task with its defaults.

To name and describe systems must cost nothing: what trains is imported when a recipe is asked for
its task, and how it is run is in `peerlearn.systems.running`.
"""

import importlib.resources
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peerlearn.errors import InputError, unknown_name
from peerlearn.metrics.catalogue import Catalogue
from peerlearn.plain_yaml import parse_yaml
from peerlearn.systems.overrides import apply_overrides, taken_back

if TYPE_CHECKING:
    from peerlearn.engine.trainer import Trainer
    from peerlearn.tasks.config import RecipeConfig
    from peerlearn.tasks.contract import Task
    from peerlearn.tasks.kept_data import DataKeeper


@dataclass(frozen=True)
class Recipe:
    """A published system.

    Attributes:
        name: as typed on the command line.
        title: heading of reports.
        summary: one line for `peerlearn ls`.
        find_task: imports its task, and torch with it, and gives the class.
        system: folder of the system in `systems/`; None where it is called like the recipe.
        text: its YAML; None for the file of its name in that folder.
        own_data: last lines of a comparison, which say how to go on with data of one's own.
    """

    name: str
    title: str
    summary: str
    find_task: "Callable[[], type[Task[Any, Any, Any]]]"
    system: str | None = None
    text: str | None = None
    own_data: tuple[str, ...] = ()

    @property
    def task(self) -> "type[Task[Any, Any, Any]]":
        """What its cohorts are asked to do."""
        return self.find_task()

    @property
    def config(self) -> "type[RecipeConfig]":
        """Its typed configuration."""
        return self.task.Config

    @property
    def metrics(self) -> Catalogue:
        """What its runs measure."""
        return Catalogue(self.config.metrics)

    def build(self, config: Any, kept: "DataKeeper | None" = None) -> "Trainer":
        """A trainer that is ready to run; `kept` as in `Task.load`.

        Raises InputError: data, networks or edges that cannot be used, or do not fit each other;
        all that is wrong at once.
        """
        from peerlearn.tasks.contract import trainer_of

        return trainer_of(self.task.load(config, kept=kept))

    def default_text(self) -> str:
        """The recipe's YAML, with its comments."""
        if self.text is not None:
            return self.text
        folder = importlib.resources.files("peerlearn.systems") / (self.system or self.name)
        return (folder / f"{self.name}.yaml").read_text(encoding="utf-8")

    def defaults(self) -> dict[str, Any]:
        """The recipe's YAML as a mapping."""
        return parse_yaml(self.default_text(), f"recipe {self.name}")

    def lost(self, given: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, str]:
        """Overrides that the arm takes back, each with the key that the arm sets after it.

        Call it with what `resolve` takes.
        """
        config = apply_overrides(given, overrides)
        arms = config.get("arms") or {}
        arm = config.get("arm") or next(iter(arms), None)
        return taken_back(given, overrides, arms[arm] or {}) if arm is not None else {}

    def check_kept(self, given: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
        """InputError where the arm takes an override back; after `resolve`."""
        for key, of_arm in self.lost(given, overrides).items():
            raise InputError(
                f"{key}: the arm sets {of_arm} after it, so that it would be lost; leave it out, "
                "train another arm (arm=NAME), or write it into the arm in a file of your own"
            )

    def resolve(self, given: Mapping[str, Any], overrides: Mapping[str, Any]) -> Any:
        """The typed configuration: `given`, then the overrides, then those of the arm.

        Raises InputError: lists every unknown key and every value that is not allowed.
        """
        config = apply_overrides(given, overrides)
        arms = config.get("arms") or {}
        if not isinstance(arms, Mapping):
            raise InputError(f"arms: expected a mapping of names to overrides; found {arms!r}")
        arm = config.get("arm") or next(iter(arms), None)
        if arm is not None:
            if not isinstance(arm, str):
                raise InputError(f"arm: expected the name of an arm; found {arm!r}")
            if arm not in arms:
                raise unknown_name("arm", arm, arms, "arm")
            config = apply_overrides(config, arms[arm] or {}, f"arms.{arm}")
        from peerlearn.validation import validated  # pydantic, as task does

        return validated(self.config, config | {"arm": arm})
