"""Fine-Pruning: units that sleep on clean rows are cut from the classifier, then the rest is tuned.

Liu, Dolan-Gavitt, Garg, "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural
Networks", RAID 2018, arXiv 1805.12185.

Shape suffixes: B rows of a batch, N all rows, C classes, d units that the classifier reads.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from peerlearn.modes import evaluating
from peerlearn.systems.backdoor.defences.base import Batches, CleanRows, Defence
from peerlearn.systems.backdoor.defences.tuning import accuracy, is_within, last_linear, output


class FinePruning(Defence):
    """Zero columns of the last linear layer, those of the least active units first.

    Pruned is a step at a time for as long as the accuracy on held-out rows stays within the
    tolerance; the last mask that kept it holds. The recipe fine-tunes afterwards, where columns may
    grow again, from 0 and by what clean rows say.
    """

    tunes: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = False

    method: Literal["fp"] = "fp"
    tolerance: float = Field(
        0.1, ge=0, lt=1, description="part of the held-out accuracy that pruning may cost"
    )
    step: float = Field(
        0.01, gt=0, le=1, description="part of all units that is pruned at once, one at least"
    )

    def change(self, network: nn.Module, clean: CleanRows) -> None:
        layer = last_linear(network, clean, self.method)
        rows, total_d = 0, torch.zeros_like(layer.weight[0])
        for inputs_Bd, _ in inputs(network, layer, clean.all()):
            rows += len(inputs_Bd)
            total_d += inputs_Bd.sum(0)
        least_first = (total_d / rows).argsort(stable=True)
        before = accuracy(network, clean.held_out())
        held = list(inputs(network, layer, clean.held_out()))
        x_Nd, y_N = (torch.cat(parts) for parts in zip(*held, strict=True))
        with torch.no_grad():
            pruned_Cd, units = layer.weight.clone(), len(total_d)
            size = max(1, round(self.step * units))
            for first in range(0, units, size):
                pruned_Cd[:, least_first[first : first + size]] = 0
                logits_NC = nn.functional.linear(x_Nd, pruned_Cd, layer.bias)
                found = int((logits_NC.argmax(1) == y_N).sum()) / len(y_N)
                if not is_within(found, before, self.tolerance):
                    break
                layer.weight.copy_(pruned_Cd)


def inputs(network: nn.Module, layer: nn.Linear, batches: Batches) -> Batches:
    """What a layer reads of every batch (B, d), and the labels; in evaluation mode."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        for x, y_B in batches:
            with evaluating(network), torch.no_grad():  # not around the yield: it would leak
                output(network, x)
            yield seen[-1], y_B
            seen.clear()
    finally:
        handle.remove()
