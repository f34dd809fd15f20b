"""What a report is about: the arms of one comparison, or of runs that belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from peerlearn.metrics.catalogue import Catalogue, Metric
from peerlearn.report.statistics import Contrast, is_finite
from peerlearn.report.words import TOGETHER, main_difference, number
from peerlearn.results import Arm, Measured, Summary

if TYPE_CHECKING:
    from peerlearn.report.section import Pages

Epochs = Sequence[dict[str, Any]]
"""The epoch events of one `metrics.jsonl`."""


@dataclass(frozen=True)
class Experiment:
    """Arms side by side; what was not measured or is not there to be read is empty."""

    folders: tuple[Path, ...]  # as given
    recipe: str
    title: str  # of the recipe, in words
    data: str
    seeds: tuple[int, ...]
    arms: dict[str, Arm]
    metrics: Catalogue
    pages: "Pages"  # what the recipe's task adds to the report
    differences: list[Contrast]  # without those that are not finite
    epochs: dict[str, dict[int, Epochs]]  # by arm and seed
    config: dict[str, str]  # the text of config.yaml, by a title
    env: dict[str, Any]  # env.json of the first run
    commands: tuple[str, ...]  # what to type to get the same results
    galleries: dict[str, Path]  # `gallery.npz` of the first seed of every arm that has one
    made_by: Sequence[Mapping[str, Any]] = ()  # see `peerlearn.provenance`
    account: tuple[str, ...] = ()  # what was read of the data and left out, in sentences

    @property
    def peers(self) -> tuple[str, ...]:
        """Names of all peers, in the order in which the arms name them."""
        return tuple(dict.fromkeys(peer for arm in self.arms.values() for peer in arm["peers"]))

    @property
    def members(self) -> list[str]:
        """Who was measured: mean_peer, ensemble, and every peer."""
        together = [w for w in TOGETHER if any(measured(arm, w) for arm in self.arms.values())]
        return [*together, *self.peers]

    @property
    def main(self) -> Contrast | None:
        """The difference that answers its question; None where nothing was compared."""
        return main_difference(self.differences, self.metrics)

    @property
    def main_arms(self) -> list[str]:
        """The main arm and the one it is compared with; else the first arm."""
        main = self.main
        return [main.arm, main.against] if main else list(self.arms)[:1]

    @property
    def shown_galleries(self) -> dict[str, Path]:
        """Galleries of the main arms; the first there is where nothing was compared."""
        arms = self.main_arms if self.main else list(self.galleries)[:1]
        return {arm: self.galleries[arm] for arm in arms if arm in self.galleries}

    def tells_little(self, name: str) -> bool:
        """Whether nobody learns from a metric here which arm is better.

        No direction is better, as of an entropy; or all are at its ceiling.
        """
        metric = self.metrics[name]
        if metric.better is None or not metric.compared:
            return True
        if metric.headline or not (metric.is_fraction and metric.better == "higher"):
            return False
        values = (
            measured(arm, who).get(name) for arm in self.arms.values() for who in self.members
        )
        ceiling = number(1.0, metric)
        return all(number(value["mean"], metric) == ceiling for value in values if value)

    def main_metric(self, names: Sequence[str]) -> Metric | None:
        """The metric among `names` that tells most."""
        name = self.metrics.main(names)
        return None if name is None else self.metrics[name]


def measured(arm: Arm, who: str) -> Measured:
    """The values of one member in one arm that are finite, by metric."""
    if who in TOGETHER:
        block = arm["mean_peer"] if who == "mean_peer" else arm["ensemble"]
    else:
        block = arm["peers"].get(who, {})
    return {metric: value for metric, value in block.items() if is_value(value)}


def is_value(value: Any) -> TypeGuard[Summary]:
    """Whether this is a metric over seeds with a finite mean."""
    return isinstance(value, dict) and is_finite(value.get("mean"))


def spread(value: Summary) -> float | None:
    """Its standard deviation; None where there is one seed."""
    return value.get("std") if len(value.get("values") or ()) > 1 else None


def mean_and_std(value: Summary) -> tuple[float, float]:
    """Over seeds; 0 for a deviation that is not known."""
    return float(value["mean"]), float(value.get("std") or 0.0)
