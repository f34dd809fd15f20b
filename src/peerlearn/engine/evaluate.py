"""Outputs of a cohort for a whole split, without leaving a trace on the networks."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.cohort import forward_peers
from peerlearn.engine.modes import evaluating
from peerlearn.engine.precision import Precision

Rows = Callable[[], Iterable[tuple[Any, Tensor]]]


def predict(
    peers: Mapping[str, nn.Module],
    rows: Rows,
    precision: Precision,
    trunk: nn.Module | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Logits of every peer for every row, in eval mode and without gradients.

    Args:
        peers: networks by name.
        rows: gives batches `(x, y)` in a fixed order.
        precision: where and in which format to run.
        trunk: shared module in front of every peer.

    Returns:
        Logits (rows, classes) in fp32 on the CPU by peer, and the targets.
    """
    collected: dict[str, list[Tensor]] = {name: [] for name in peers}
    targets = []
    modules = nn.ModuleList([*peers.values(), *([trunk] if trunk is not None else [])])
    with evaluating(modules), torch.no_grad():
        for x, y in rows():
            with precision.autocast():
                placed = precision.place(x)
                shared = trunk(placed) if trunk is not None else placed
                for name, output in forward_peers(peers, shared).items():
                    collected[name].append(output.logits.float().cpu())
            targets.append(y.cpu())
    return {name: torch.cat(parts) for name, parts in collected.items()}, torch.cat(targets)
