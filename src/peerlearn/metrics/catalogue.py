"""What metrics are called, what they are given in, and which way is better.

Whoever trains, chooses, compares or reports asks a catalogue; none of them knows a metric by name.
A metric that was measured of single classes is called `iou:road`; one of a set of rows outside the
distribution of the run's `auroc:mnist`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from peerlearn.errors import InputError, nearest


@dataclass(frozen=True)
class Metric:
    """One quantity that is measured of peers, their mean or their ensemble.

    Attributes:
        name: as in `results.json`.
        label: as the field writes it; empty for the name with spaces.
        better: which values are better; None where neither is, as of an entropy.
        unit: of its values; `%` for a fraction, which is stored in [0, 1] and shown in percent.
        decimals: usually shown.
        headline: whether it tells how good a peer is; the first of a catalogue that was measured
            heads the report and its tables.
        selects: whether weights can be chosen by it on validation.
        brief: place in the short tables of a terminal or a README; None where they leave it out.
        calibration: whether it tells how honest confidences are.
        compared: whether differences of it are drawn; off for what only describes.
    """

    name: str
    label: str = ""
    better: Literal["higher", "lower"] | None = None
    unit: str = ""
    decimals: int = 3
    headline: bool = False
    selects: bool = False
    brief: int | None = None
    calibration: bool = False
    compared: bool = True

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    @property
    def is_fraction(self) -> bool:
        """Whether it is shown in percent."""
        return self.unit == "%"

    @property
    def titled(self) -> str:
        """With its unit, for columns and axes: `accuracy, %`."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def beats(self, one: float, other: float) -> bool:
        """Whether a value is better than another; higher is, where nobody said."""
        return one < other if self.better == "lower" else one > other

    @property
    def described(self) -> dict[str, str | None]:
        """What a results file says of a metric that no catalogue knows; see `Catalogue.told`."""
        return {"label": self.label, "better": self.better, "unit": self.unit}

    def best(self, values: Mapping[str, float]) -> str:
        """Whose value is best, the first of equals."""
        pick = min if self.better == "lower" else max
        return pick(values, key=lambda name: values[name])


def fraction(name: str, label: str = "", **attributes: object) -> Metric:
    """A metric in [0, 1], of which more is better unless said otherwise."""
    common: dict[str, object] = {"better": "higher", "unit": "%", "decimals": 1}
    return Metric(name, label, **common | attributes)  # type: ignore[arg-type]


class Catalogue(dict[str, Metric]):
    """Metrics by name, those that tell most first.

    A name that is not in it, such as one from the file of another version, is a metric of which
    nothing more is known.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__((metric.name, metric) for metric in metrics)

    def __missing__(self, name: str) -> Metric:
        if ":" in name:
            base, _, part = name.partition(":")
            what, by, score = self[base].label.partition(" by ")
            return replace(self[base], name=name, label=f"{what} of {part}{by}{score}")
        return Metric(name)

    def told(self, described: object) -> "Catalogue":
        """These, and those that a results file describes itself, its `metrics`, by name."""
        known = [*self.values()]
        for name, said in described.items() if isinstance(described, Mapping) else ():
            said = said if isinstance(said, Mapping) else {}
            label, unit, better = (said.get(key) for key in ("label", "unit", "better"))
            unit = unit if isinstance(unit, str) else ""
            if name not in self:
                known.append(
                    Metric(
                        str(name),
                        label if isinstance(label, str) else "",
                        better if better in ("higher", "lower") else None,
                        unit,
                        1 if unit == "%" else 3,
                        brief=2,
                    )
                )
        return Catalogue(known)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """The names, each once, in the order of the catalogue; unknown ones come last."""
        places = {name: place for place, name in enumerate(self)}
        return sorted(dict.fromkeys(names), key=lambda name: places.get(name, len(self)))

    def main(self, names: Iterable[str]) -> str | None:
        """The name that tells most: the first headline, else the first that is there."""
        names = list(names)
        found = (name for name in self.ordered(names) if self[name].headline)
        return next(found, next(iter(names), None))

    @property
    def headlines(self) -> list[str]:
        """Names of the metrics that tell how good a peer is."""
        return [name for name, metric in self.items() if metric.headline]

    def selecting(self, name: str, of: str) -> Metric:
        """The metric by which weights shall be chosen.

        `of` is what does the measuring, for the error: "recipe 'dml'".

        Raises InputError: weights cannot be chosen by it; names those by which they can.
        """
        allowed = [metric.name for metric in self.values() if metric.selects]
        if name in allowed:
            return self[name]
        close = nearest(name, allowed)
        hint = f", did you mean {close!r}?" if close else ""
        raise InputError(
            f"evaluation.metric: {name!r} is not measured by {of}{hint}; "
            f"allowed: {', '.join(allowed)}"
        )

    @property
    def brief(self) -> list[str]:
        """Names of the metrics of short tables, in their order there."""
        places = {name: m.brief for name, m in self.items() if m.brief is not None}
        return sorted(places, key=lambda name: places[name])


def base_name(name: str) -> str:
    """What is measured, whichever class or set it is measured of: `iou:road` → `iou`."""
    return name.partition(":")[0]


def is_of_class(name: str) -> bool:
    """Whether the metric is that of one class, such as `iou:road`."""
    return ":" in name and not is_of_set(name)


def is_of_set(name: str) -> bool:
    """Whether the metric is of rows outside the distribution, such as `auroc:mnist`."""
    return ":" in name and base_name(name) in (metric.name for metric in OUT_OF_DISTRIBUTION)


ACCURACY = fraction("accuracy", headline=True, selects=True, brief=1)
NLL = Metric("nll", "NLL", "lower", selects=True, brief=3, calibration=True)
ECE = fraction("ece", "ECE", better="lower", brief=4, calibration=True)
BRIER = Metric("brier", "Brier score", "lower", calibration=True)
AGREEMENT = fraction("agreement", better=None)  # between two peers

OUT_OF_DISTRIBUTION = tuple(
    # Of three that say much the same, differences of one are drawn.
    fraction(f"{name}{ending}", f"{label} by {score}", better=better, compared=name == "auroc")
    for ending, score in (("", "entropy"), ("_mi", "mutual information"))
    for name, label, better in (
        ("auroc", "AUROC", "higher"),
        ("aupr", "AUPR", "higher"),
        ("fpr95", "FPR at 95 % recall", "lower"),
    )
)
"""Of telling rows of another set from those of the run, as `auroc:mnist` does."""

CLASSIFICATION = (
    ACCURACY,
    fraction("top5", "top-5 accuracy"),
    fraction("exact_match"),
    ECE,
    NLL,
    BRIER,
    fraction("adaptive_ece", "adaptive ECE", better="lower"),
    Metric("entropy"),
    fraction("f1"),
    Metric("aurc", "AURC", "lower", compared=False),  # not to crowd what is drawn of every run
    Metric("mutual_information", compared=False),
    fraction("corrupted_accuracy", "accuracy on corrupted rows"),
    Metric("corrupted_nll", "NLL on corrupted rows", "lower"),
    fraction("corrupted_ece", "ECE on corrupted rows", better="lower"),
    *OUT_OF_DISTRIBUTION,
)
"""Of classifiers, with one label a row or with several."""

COSTS = Catalogue(
    [
        Metric("train_s", "training time", unit="seconds"),
        Metric("forwards_per_step"),
        Metric("peak_rss_mb", "peak memory", unit="MB"),
    ]
)
"""Of a training."""
