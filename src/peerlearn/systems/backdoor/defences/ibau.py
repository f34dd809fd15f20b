"""Implicit Backdoor Adversarial Unlearning: a minimax game with one change of all images.

Zeng, Chen, Park, Mao, Jin, Jia, "Adversarial Unlearning of Backdoors via Implicit Hypergradient",
ICLR 2022, arXiv 2110.03735. Fixed-point iterations: Grazzi, Franceschi, Pontil, Salzo, "On the
Iteration Complexity of Hypergradient Computation", ICML 2020, arXiv 2006.16218.

Shape suffixes: B rows of a batch.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.systems.backdoor.defences.base import CleanRows, Defence
from peerlearn.systems.backdoor.defences.tuning import endless, output

DECAY = 0.001
"""Weight of ‖δ‖² in the inner loss."""
INNER_LR, INNER_STEP = 10.0, 0.1
"""Learning rate that finds δ, and the size of the step Φ that the hyper-gradient looks through."""


class AdversarialUnlearning(Defence):
    """Alternate: find a δ that changes what is said of all images; unlearn to follow it.

    Inner, a step for every batch: min over δ of −CE(f(x + δ), argmax f(x)) + 0.001 ‖δ‖².
    Outer, for the same batches: a step of Adam down CE, with δ added to a part of the batch, along
    the hyper-gradient, which knows that δ follows the weights. The network is in evaluation mode
    throughout; δ is in units of what the network reads.
    """

    method: Literal["ibau"] = "ibau"
    rounds: int = Field(5, ge=1, description="times that δ is found anew")
    steps: int = Field(
        50,
        ge=1,
        description="batches of a round, of as many passes as that takes",
    )
    lr: float = Field(1e-3, gt=0, description="learning rate of Adam")
    portion: float = Field(
        0.01, gt=0, le=1, description="part of a batch that δ is added to, one image at least"
    )
    order: Literal["full", "first"] = Field(
        "full",
        description="first: the gradient at a δ that is held fixed, without the implicit part",
    )
    iterations: int = Field(5, ge=1, description="K, fixed-point iterations of the implicit part")

    def change(self, network: nn.Module, clean: CleanRows) -> None:
        network.eval()
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        optimiser = torch.optim.Adam(weights, self.lr)
        stream = endless(clean, self.rounds * self.steps)
        for _ in range(self.rounds):
            batches = list(islice(stream, self.steps))
            delta = universal(network, [x for x, _ in batches])
            for x, y_B in batches:
                changed = max(1, int(self.portion * len(x)))

                def outer(d: Tensor, x: Tensor = x, y_B: Tensor = y_B, n: int = changed) -> Tensor:
                    return F.cross_entropy(
                        output(network, torch.cat([x[:n] + d, x[n:]])).logits, y_B
                    )

                if self.order == "first":
                    gradients = first_order(outer, delta, weights)
                else:
                    gradients = hyper_gradient(
                        inner_loss(network, batches[0][0]), outer, delta, weights, self.iterations
                    )
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.grad = gradient
                optimiser.step()


def first_order(
    outer: Callable[[Tensor], Tensor], delta: Tensor, weights: Sequence[Tensor]
) -> list[Tensor]:
    """∂L/∂θ at a δ that is held fixed."""
    loss = outer(delta)
    return list(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))


def inner_loss(network: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss of δ on some images: what is small when δ changes what the network says of them."""
    with torch.no_grad():
        said_B = output(network, x).logits.argmax(1)

    def loss(delta: Tensor) -> Tensor:
        ce = F.cross_entropy(output(network, x + delta).logits, said_B)
        return DECAY * delta.square().sum() - ce

    return loss


def universal(network: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """One δ for all images, of the shape of an image; from 0, a step down the gradient a batch."""
    delta = torch.zeros_like(batches[0][0])
    for x in batches:
        delta.requires_grad_()
        (gradient,) = torch.autograd.grad(inner_loss(network, x)(delta), delta)
        delta = (delta - INNER_LR * gradient).detach()
    return delta


def hyper_gradient(
    inner: Callable[[Tensor], Tensor],
    outer: Callable[[Tensor], Tensor],
    delta: Tensor,
    weights: Sequence[Tensor],
    iterations: int,
    step: float = INNER_STEP,
) -> list[Tensor]:
    """dL/dθ of L(θ, δ(θ)), where δ(θ) is the fixed point of Φ(δ) = δ − step ∇_δ inner(δ).

    v ← (∂Φ/∂δ)ᵀ v + ∂L/∂δ, from 0; then ∂L/∂θ + (∂Φ/∂θ)ᵀ v. With many iterations v is
    (I − ∂Φ/∂δ)⁻ᵀ ∂L/∂δ, as the implicit function theorem has it.

    Args:
        inner, outer: losses as functions of δ, differentiable in δ and in the weights.
        delta: where both are looked at.
        weights: θ.
        iterations: K; each costs a backward pass through the gradient of `inner`.
    """
    delta = delta.detach().requires_grad_()
    direct_delta, *direct = torch.autograd.grad(
        outer(delta), [delta, *weights], allow_unused=True, materialize_grads=True
    )
    (gradient,) = torch.autograd.grad(inner(delta), delta, create_graph=True)
    moved = delta - step * gradient
    v = torch.zeros_like(delta)
    for _ in range(iterations):
        (through,) = torch.autograd.grad(moved, delta, grad_outputs=v, retain_graph=True)
        v = through + direct_delta
    implicit = torch.autograd.grad(
        moved, weights, grad_outputs=v, allow_unused=True, materialize_grads=True
    )
    return [one + other for one, other in zip(direct, implicit, strict=True)]
