"""Outputs of a cohort for a whole split, without leaving a trace on the networks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.cohort import forward_peers
from peerlearn.engine.modes import evaluating
from peerlearn.engine.precision import Precision
from peerlearn.metrics.assessment import Assessment

Rows = Callable[[], Iterable[tuple[Any, Tensor]]]
#: Runs all peers of a cohort over rows, wherever they live: what `predict` yields.
Forward = Callable[[Rows], Iterator[tuple[dict[str, Tensor], Tensor]]]


def predict(
    peers: Mapping[str, nn.Module],
    rows: Rows,
    precision: Precision,
    trunk: nn.Module | None = None,
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Logits of every peer for every row, in eval mode and without gradients.

    Args:
        peers: networks by name.
        rows: gives batches `(x, y)` in a fixed order.
        precision: where and in which format to run.
        trunk: shared module in front of every peer.

    Returns:
        For each batch, its logits (rows, classes) in fp32 on the CPU by peer, and its targets.
    """
    modules = nn.ModuleList([*peers.values(), *([trunk] if trunk is not None else [])])
    for x, y in rows():
        with evaluating(modules), torch.no_grad(), precision.autocast():
            placed = precision.place(x)
            shared = trunk(placed) if trunk is not None else placed
            outputs = forward_peers(peers, shared)
        yield {name: output.logits.float().cpu() for name, output in outputs.items()}, y.cpu()


def assessed(
    batches: Iterable[tuple[Mapping[str, Tensor], Tensor]], assessment: Assessment
) -> dict[str, Any]:
    """What is measured on batches of `predict`."""
    for logits, y in batches:
        assessment.add(logits, y)
    return assessment.result()
