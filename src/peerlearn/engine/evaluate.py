"""Outputs of a cohort for a whole split, without leaving a trace on the networks."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.cohort import forward_peers
from peerlearn.engine.precision import Precision
from peerlearn.errors import RunError
from peerlearn.metrics.assessment import Assessment, ScoresRows
from peerlearn.metrics.catalogue import Catalogue
from peerlearn.modes import evaluating
from peerlearn.randomness import preserved_rng, start_rng
from peerlearn.transfer.outputs import PeerOutput

#: Of a block: what every row scored. It goes to a file of its own, not to `results.json`.
ROW_SCORES = "row_scores"

#: Gives batches (x, targets), in the same order every time.
Rows = Callable[[], Iterable[tuple[Any, Any]]]


class Logits(dict[str, Tensor]):
    """Logits by peer of one batch, in fp32 on the CPU.

    Attributes:
        samples: of stochastic peers, the logits of all samples (S, rows, classes), for what is
            measured of more than their mean probability, such as the mutual information between
            a prediction and the weights.
    """

    def __init__(self, logits: Mapping[str, Tensor], samples: Mapping[str, Tensor]) -> None:
        super().__init__(logits)
        self.samples = dict(samples)

    @classmethod
    def of(cls, outputs: Mapping[str, PeerOutput]) -> "Logits":
        """Those of a batch."""
        samples = {name: output.samples for name, output in outputs.items()}
        return cls(
            {name: output.logits.float().cpu() for name, output in outputs.items()},
            {name: each.float().cpu() for name, each in samples.items() if each is not None},
        )

    def collected(self, collect: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> "Logits":
        """Those of all peers, from the entries that each process holds; see `Transport.collect`."""
        return Logits(collect(self), collect(self.samples))


#: Runs all peers of a cohort over rows, wherever they live and whatever they run on: what
#: `predict` yields.
Forward = Callable[[Rows], Iterator[tuple[Logits, Any]]]


def predict(
    peers: Mapping[str, nn.Module], rows: Rows, precision: Precision, trunk: nn.Module | None = None
) -> Iterator[tuple[Logits, Any]]:
    """Logits of every peer for every row, in eval mode and without gradients.

    What a stochastic peer draws is keyed by its name: the same in every evaluation and for every
    batch, so that draws of weights are the same networks for all rows, however large batches are.

    A trunk is in front of every peer, and `rows` gives batches `(x, y)` in a fixed order.

    Returns:
        For each batch, its `Logits` (rows, classes) in fp32 on the CPU by peer, and its targets.
        Those of stochastic peers are of the mean probability.
    """
    modules = nn.ModuleList([*peers.values(), *([trunk] if trunk is not None else [])])
    start_stream = partial(start_rng, 0, "evaluation")
    for x, y in rows():
        with preserved_rng(), evaluating(modules), torch.no_grad(), precision.autocast():
            outputs = forward_peers(peers, precision.place(x), trunk, before=start_stream)
        yield Logits.of(outputs), y.cpu() if isinstance(y, Tensor) else y


def sound(
    evaluate: Callable[[Forward], dict[str, Any]], forward: Forward, metrics: Catalogue
) -> dict[str, Any]:
    """What `evaluate` measures by `forward`, of peers whose outputs are numbers.

    An output of −∞ is a class that is left out. Metrics may be undefined where there is nothing to
    measure them on.

    Raises RunError: NaN or +∞ among the outputs of a peer, or a metric that weights are chosen by
    is infinite; names the peer and its metrics that are not finite.
    """
    broken: set[str] = set()

    def watched(rows: Rows) -> Iterator[tuple[Logits, Any]]:
        for logits, y in forward(rows):
            broken.update(name for name, z in logits.items() if not _are_numbers(z))
            yield logits, y

    try:
        block = evaluate(watched)
    except ValueError as error:  # some metrics refuse what is not finite
        if not broken:
            raise
        raise RunError(f"peer {min(broken)!r}: its outputs became NaN: {error}") from error
    for name, measured in block.get("peers", {}).items():
        odd = {metric: value for metric, value in measured.items() if not math.isfinite(value)}
        if name in broken:
            found = ", ".join(f"{metric} {value}" for metric, value in odd.items())
            raise RunError(f"peer {name!r}: its outputs became NaN" + (f": {found}" if odd else ""))
        for metric, value in odd.items():
            if math.isinf(value) and metrics[metric].selects:
                raise RunError(f"peer {name!r}: {metric} became {value}")
    return block


def _are_numbers(z: Tensor) -> bool:
    """Whether there is neither NaN nor +∞; either shows in the sum, which is quick to make."""
    return bool(z.sum().isfinite()) or not bool((z.isnan() | (z == math.inf)).any())


def assessed(
    batches: Iterable[tuple[Mapping[str, Tensor], Tensor]],
    assessment: Assessment,
    with_rows: bool = False,
) -> dict[str, Any]:
    """What is measured on batches of `predict`; see `concluded`."""
    for logits, y in batches:
        assessment.add(logits, y)
    return concluded(assessment, with_rows)


def concluded(assessment: Assessment, with_rows: bool) -> dict[str, Any]:
    """What was measured, and with `with_rows` also `ROW_SCORES`, if the assessment knows them."""
    block = assessment.result()
    if with_rows and isinstance(assessment, ScoresRows):
        block[ROW_SCORES] = assessment.row_scores()
    return block
