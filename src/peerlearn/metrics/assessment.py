"""Everything that is measured on one set of outputs: peers, their mean, their ensemble, pairs."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from peerlearn.metrics.catalogue import is_of_class
from peerlearn.metrics.classification import (
    binned,
    ensemble_log_probs,
    ensemble_multilabel_logits,
    measured,
    row_scores,
    top1,
)
from peerlearn.metrics.confusion import confused
from peerlearn.metrics.own import OwnMetric, values
from peerlearn.metrics.peers import alike
from peerlearn.metrics.rows import labelled
from peerlearn.metrics.uncertainty import (
    Uncertainty,
    coverages,
    risk_curve,
    spoken,
    uncertainty,
)
from peerlearn.objectives.labels import labelled_rows

RowTensors = Mapping[str, Mapping[str, Tensor]]
"""What every row scored: who → score → float32 (rows,); see `peerlearn.row_scores`."""


class Assessment(Protocol):
    """Measures a cohort on rows that come batch by batch."""

    def add(self, logits: Mapping[str, Tensor], y: Tensor) -> None:
        """Count one batch: logits by peer in fp32 on the CPU, and targets.

        Logits of stochastic peers come with those of their `samples`, also by peer.
        """

    def result(self) -> dict[str, Any]:
        """Nested plain numbers, once every batch was added; see `assess_classification`."""


@runtime_checkable
class ScoresRows(Protocol):
    """An assessment that also knows what single rows scored."""

    def row_scores(self) -> RowTensors:
        """Of peers and of the ensemble, once every batch was added."""


class ClassificationAssessment:
    """`assess_classification` of all rows that were added; `brief` as there."""

    def __init__(
        self,
        *,
        members: Collection[str] | None = None,
        class_names: Sequence[str] = (),
        own: Sequence[OwnMetric] = (),
        brief: bool = False,
    ) -> None:
        self.members, self.class_names, self.own = members, class_names, own
        self.brief = brief
        self.logits: dict[str, list[Tensor]] = {}
        self.y: list[Tensor] = []
        self.epistemic: dict[str, list[Tensor]] = {}

    def add(self, logits: Mapping[str, Tensor], y: Tensor) -> None:
        for name, part in logits.items():
            self.logits.setdefault(name, []).append(part)
        self.y.append(y)
        if y.ndim == 1:  # all samples of all rows would be large: of each row one number is kept
            for who, found in epistemic(logits, self.members).items():
                self.epistemic.setdefault(who, []).append(found[labelled_rows(y)])

    def result(self) -> dict[str, Any]:
        logits, y = self._everything()
        about = self.members, self.class_names, self.own, self.brief
        found = assess_classification(logits, y, *about)
        members = [name for name in logits if self.members is None or name in self.members]
        return with_mutual_information(found, self._epistemic(), members)

    def row_scores(self) -> RowTensors:
        """Of the rows with a label; see `metrics.classification.row_scores`.

        And `mutual_information`, of stochastic peers and of the ensemble.
        """
        everyone = _checked(*self._everything(), self.members).everyone
        scores = {who: row_scores(*row) for who, row in everyone.items()}
        for who, found in self._epistemic().items():
            scores[who]["mutual_information"] = found.float()
        return scores

    def _epistemic(self) -> dict[str, Tensor]:
        return {who: torch.cat(parts) for who, parts in self.epistemic.items()}

    def _everything(self) -> tuple[dict[str, Tensor], Tensor]:
        return {name: torch.cat(parts) for name, parts in self.logits.items()}, torch.cat(self.y)


def assess_classification(
    logits: Mapping[str, Tensor],
    y: Tensor,
    members: Collection[str] | None = None,
    class_names: Sequence[str] = (),
    own: Sequence[OwnMetric] = (),
    brief: bool = False,
) -> dict[str, Any]:
    """Metrics of a cohort of classifiers on the rows that have a label.

    Args:
        logits: by peer (N, C), fp32.
        y: (N,) classes, −1 where unlabelled; or (N, C) of 0/1 for multi-label.
        members: peers whose mean and ensemble are measured; None for all.
        class_names: of the classes; their numbers where there are none.
        own: functions that give further metrics.
        brief: leave out what only reports show, all after `between_peers`.

    Returns:
        `peers` (metrics by peer), `mean_peer` (their mean), `ensemble` (of the mean
        probability), `between_peers` and `reliability` (by peer and for the ensemble). Where a
        row has one label also `selective`: the `risk` of peers and ensemble by `coverage`; and
        `confusion`: `classes`, their names, and `of` peers and ensemble the cells of `confused`.
    """
    rows, together, chosen = checked = _checked(logits, y, members)
    everyone = checked.everyone
    peers = {name: values(own, *row) | measured(*row) for name, row in rows.items()}
    block = {
        "peers": peers,
        "mean_peer": mean_metrics([peers[name] for name in chosen]),
        "ensemble": values(own, *together) | measured(*together),
        "between_peers": alike(rows),
    }
    if brief:
        return block
    block["reliability"] = {name: binned(*row) for name, row in everyone.items()}
    if y.ndim == 2:
        return block
    block["selective"] = {
        "coverage": coverages(),
        "risk": {name: risk_curve(*top1(*row)) for name, row in everyone.items()},
    }
    classes = together[0].shape[1]
    names = list(class_names) if len(class_names) == classes else list(map(str, range(classes)))
    cells = {name: confused(*row) for name, row in everyone.items()}
    return block | {"confusion": {"classes": names, "of": cells}}


def uncertainties(
    logits: Mapping[str, Tensor], members: Collection[str] | None = None
) -> dict[str, Uncertainty]:
    """How unsure peers and the ensemble of `members` are of single-label rows, by who.

    Of peers that are not stochastic only the total is known; its parts are those of one sample.
    """
    return _unsure(logits, members, logits)


def _unsure(
    logits: Mapping[str, Tensor], members: Collection[str] | None, of: Collection[str]
) -> dict[str, Uncertainty]:
    """Of the peers in `of`, and of the ensemble."""
    samples: Mapping[str, Tensor] = getattr(logits, "samples", {})
    said = {name: spoken(z, samples.get(name)) for name, z in logits.items()}
    together = [each for name, each in said.items() if members is None or name in members]
    found = {name: uncertainty([each]) for name, each in said.items() if name in of}
    return found | {"ensemble": uncertainty(together)}


def epistemic(
    logits: Mapping[str, Tensor], members: Collection[str] | None = None
) -> dict[str, Tensor]:
    """The mutual information of rows, float64 (N,), of stochastic peers and of the ensemble.

    Not of an ensemble of one peer that draws nothing.
    """
    drawn: list[str] = [*getattr(logits, "samples", {})]
    chosen = [name for name in logits if members is None or name in members]
    if len(chosen) > 1 or chosen[0] in drawn:
        drawn.append("ensemble")
    elif not drawn:
        return {}
    found = _unsure(logits, members, drawn)
    return {who: it.epistemic for who, it in found.items() if who in drawn}


def with_mutual_information(
    block: dict[str, Any], found: Mapping[str, Tensor], members: Sequence[str]
) -> dict[str, Any]:
    """A block with the mean of what was found of rows; of the mean peer, over those who have it."""
    for who, each in found.items():
        of = block["ensemble"] if who == "ensemble" else block["peers"][who]
        of["mutual_information"] = each.mean().item()
    measured = [block["peers"][name] for name in members]
    return block | {"mean_peer": mean_metrics(measured)}


class _Checked(NamedTuple):
    """Rows with a label: outputs that metrics take, and labels."""

    peers: dict[str, tuple[Tensor, Tensor]]
    ensemble: tuple[Tensor, Tensor]
    members: list[str]

    @property
    def everyone(self) -> dict[str, tuple[Tensor, Tensor]]:
        return self.peers | {"ensemble": self.ensemble}


def _checked(logits: Mapping[str, Tensor], y: Tensor, members: Collection[str] | None) -> _Checked:
    counted = labelled_rows(y)
    if not counted.all():
        logits, y = {name: z[counted] for name, z in logits.items()}, y[counted]
    combine: Callable[[list[Tensor]], Tensor]
    if y.ndim == 2:
        outputs, combine = dict(logits), ensemble_multilabel_logits
    else:
        outputs = {name: torch.log_softmax(z.double(), dim=-1) for name, z in logits.items()}
        combine = ensemble_log_probs
    rows = {name: labelled(output, y) for name, output in outputs.items()}
    chosen = [name for name in rows if members is None or name in members]
    return _Checked(rows, labelled(combine([outputs[name] for name in chosen]), y), chosen)


def mean_metrics(several: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every metric over `several` sets, of those that measured it.

    So of one class, and of what only stochastic peers have.
    """
    means = {}
    for name in dict.fromkeys(name for each in several for name in each):
        values = [each[name] for each in several if name in each]
        if is_of_class(name):
            values = [value for value in values if not math.isnan(value)] or values
        means[name] = sum(values) / len(values)
    return means
