"""Adversarial Neuron Pruning: what small changes of neurons wake, the backdoor, is pruned.

Wu, Wang, "Adversarial Neuron Pruning Purifies Backdoored Deep Models", NeurIPS 2021, arXiv
2110.14430.

Shape suffixes: B rows of a batch, C channels.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.modes import frozen_statistics
from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.defences.base import CleanRows, Defence
from peerlearn.systems.backdoor.defences.masks import (
    first_masks,
    learn_masks,
    masked_logits,
    norm_layers,
    prune,
)
from peerlearn.systems.backdoor.defences.tuning import endless


class AdversarialNeuronPruning(Defence):
    """Learn masks m of BatchNorm's channels against changes δ of scales and ξ of biases.

    min over m of α CE(m g, b) + (1 − α) CE((m + δ) g, (1 + ξ) b), with δ and ξ from U(±ε) and then
    up the sign of the gradient of CE, ε / steps a step. Channels of small m are pruned. The network
    normalises by the batch meanwhile, and remembers nothing of it.
    """

    prunes: ClassVar[bool] = True

    method: Literal["anp"] = "anp"
    eps: float = Field(0.4, gt=0, description="ε, how far neurons are changed, relative")
    steps: int = Field(1, ge=1, description="steps of the adversary for a step of the masks")
    alpha: float = Field(0.2, ge=0, le=1, description="α, part of the loss of unchanged neurons")
    iterations: int = Field(
        400, ge=1, description="batches; the authors of BackdoorBench have 2000"
    )
    lr: float = Field(0.01, gt=0, description="learning rate of the masks")
    tolerance: float = Field(
        0.1, ge=0, lt=1, description="part of the held-out accuracy that pruning may cost"
    )

    def change(self, network: nn.Module, clean: CleanRows) -> None:
        layers = norm_layers(network, self.method)
        masks = first_masks(layers)
        generator = keyed_generator(clean.seed, "anp")

        def loss(x: Tensor, y_B: Tensor) -> Tensor:
            scales, shifts = self.worst(network, masks, x, y_B, generator)
            scales = {name: mask + scales[name] for name, mask in masks.items()}
            shifts = {name: 1 + change for name, change in shifts.items()}
            as_is = F.cross_entropy(masked_logits(network, x, masks), y_B)
            changed = F.cross_entropy(masked_logits(network, x, scales, shifts), y_B)
            return self.alpha * as_is + (1 - self.alpha) * changed

        network.train()
        with frozen_statistics(network):
            learn_masks(masks, endless(clean, self.iterations), loss, self.lr)
        prune(network, layers, masks, clean, self.tolerance)

    def worst(
        self,
        network: nn.Module,
        masks: Mapping[str, Tensor],
        x: Tensor,
        y_B: Tensor,
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """δ and ξ by the name of a layer, (C,) each."""

        def drawn(mask_C: Tensor) -> Tensor:
            start = torch.empty(mask_C.shape).uniform_(-self.eps, self.eps, generator=generator)
            return start.to(mask_C.device).requires_grad_()

        changes = [{name: drawn(mask) for name, mask in masks.items()} for _ in ("δ", "ξ")]
        fixed = {name: mask.detach() for name, mask in masks.items()}
        for _ in range(self.steps):
            scales = {name: fixed[name] + change for name, change in changes[0].items()}
            shifts = {name: 1 + change for name, change in changes[1].items()}
            ce = F.cross_entropy(masked_logits(network, x, scales, shifts), y_B)
            every = [change for each in changes for change in each.values()]
            gradients = torch.autograd.grad(ce, every)
            with torch.no_grad():
                for change, gradient in zip(every, gradients, strict=True):
                    change.add_(self.eps / self.steps * gradient.sign())
        scales, shifts = ({name: c.detach() for name, c in each.items()} for each in changes)
        return scales, shifts
