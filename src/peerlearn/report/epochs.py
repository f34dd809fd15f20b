"""From which epochs the weights are that peers hold, in words."""

from collections.abc import Mapping
from typing import Any

from peerlearn.metrics.catalogue import Catalogue
from peerlearn.report.words import joined
from peerlearn.results import Arm


def told_epochs(arms: Mapping[str, Arm], metrics: Catalogue) -> list[str]:
    """Sentences about every arm of which it is known; see `Arm.epochs`.

    ```
    Weights by accuracy on validation: a of epoch 12 of 15, b of epoch 14 of 15.
    ```
    """
    sentences = []
    for arm, block in arms.items():
        if known := block.get("epochs"):
            named = [name for each in block.get("validation", {}).values() for name in each]
            by = f" by {metrics[named[0]].label}" if named else ""
            whose = "" if len(arms) == 1 else f" of {arm}"
            which = ", ".join(f"{peer} of {_epochs(found)}" for peer, found in known.items())
            sentences.append(f"Weights{whose}{by} on validation: {which}.")
            sentences += _why_not_others(known)
    return list(dict.fromkeys(sentences))


def _why_not_others(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    first = {peer: _numbers(found["from"])[0] for peer, found in known.items() if "from" in found}
    said = []
    if late := {peer: epoch for peer, epoch in first.items() if epoch > 1}:
        which = joined(f"{epoch} of {peer}" for peer, epoch in late.items())
        if len(set(late.values())) == 1:
            which = f"{min(late.values())} of {joined(late)}"
        said.append(f"Epochs before {which} do not count: edges have not their full weight there.")
    if never := [peer for peer in known if peer not in first]:
        said.append(
            f"No epoch of {joined(never)} has edges of full weight, so the last one counts; an "
            "earlier transfer.weight_schedule would open them."
        )
    return said


def _epochs(found: Mapping[str, Any]) -> str:
    chosen, of = _numbers(found["selected"]), sorted(set(_numbers(found["of"])))
    length = f"{of[0]}" if len(of) == 1 else f"{of[0]} to {of[-1]}"
    return f"epoch{'s' if len(chosen) > 1 else ''} {joined(map(str, chosen))} of {length}"


def _numbers(summary: Mapping[str, Any]) -> list[int]:
    """Of every seed."""
    return [int(value) for value in summary.get("values") or [summary["mean"]]]
