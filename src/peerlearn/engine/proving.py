"""Validation rows as those on which edges prove themselves: no forward beside the one there is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from peerlearn.engine.evaluate import Forward, Logits, Rows, sound
from peerlearn.engine.task import Evaluator
from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import Catalogue
from peerlearn.transfer.graph import TransferGraph


def proving(
    evaluate: Callable[[Forward], dict[str, Any]],
    forward: Forward,
    metrics: Catalogue,
    transfer: TransferGraph,
) -> dict[str, Any]:
    """What `sound` measures on validation rows, by which edges are opened and shut in passing.

    Raises RunError: as `sound`. InputError: labels that are not one class a row.
    """
    seen: list[tuple[Mapping[str, Tensor], Any]] = []

    def watched(rows: Rows) -> Iterator[tuple[Logits, Any]]:
        for logits, y in forward(rows):
            seen.append((logits, y))
            yield logits, y

    measured = sound(evaluate, watched, metrics)
    if seen:
        names = seen[0][0]
        logits = {name: torch.cat([each[name] for each, _ in seen]) for name in names}
        transfer.prove(logits, torch.cat([y for _, y in seen]))
    return measured


def open_edges(transfer: TransferGraph) -> dict[str, Any]:
    """What the record of a validation says of edges that must be proven; empty without such."""
    return {"open": transfer.open_edges()} if transfer.proves else {}


def share_of_validations(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`open_edges`: by learner and teacher, after which share of all validations an edge was open.

    Empty where no edge had to be proven; of stages, the edges of the last one.
    """
    told = [record["open"] for record in history if "open" in record]
    told = [each for each in told if each.keys() == told[-1].keys()]
    shares = {
        learner: {
            teacher: sum(each[learner].get(teacher, 0) for each in told) / len(told)
            for teacher in teachers
        }
        for learner, teachers in (told[-1] if told else {}).items()
    }
    return {"open_edges": shares} if shares else {}


def check_proven(transfers: Sequence[TransferGraph], task: Evaluator | None) -> None:
    """See that edges which must be proven meet validation rows whose labels may be read.

    Raises InputError: there are none, or a class is not what their labels say of a row.
    """
    if not any(graph.proves for graph in transfers):
        return
    if task is None or not task.validates:
        why = "there are no validation rows on which edges could prove themselves"
    elif not (why := task.unprovable) and not task.chooses:
        why = "edges would prove themselves on rows that are reported on"
    if why:
        raise InputError(f"transfer.proven: {why}; allowed: none")
