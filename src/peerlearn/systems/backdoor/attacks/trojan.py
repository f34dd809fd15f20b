"""TrojanNN: a patch that excites two neurons of a trained network.

Liu, Ma, Aafer, Lee, Zhai, Wang, Zhang, "Trojaning Attack on Neural Networks", NDSS 2018.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.attacks.base import Trigger, Victims
from peerlearn.systems.backdoor.attacks.pixels import as_bytes, check_side
from peerlearn.systems.backdoor.attacks.shaping import ShapedAttack
from peerlearn.systems.backdoor.attacks.surrogate import last_linear, logits_of

ENOUGH = 1e-3
"""Mean squared distance from `value` at which the patch is done."""


class Trojan(ShapedAttack):
    """A square in the lower right corner is added, shaped by signs of gradients on a surrogate.

    The neurons are those inputs of its last linear layer that all classes together weigh most,
    sum over classes of |W|. The published trigger has the shape of an apple, and sums beyond 255
    wrap around in published code; here it is a square, and they are cut off.
    """

    kind: Literal["trojan"] = "trojan"
    neurons: int = Field(2, ge=1, le=1 << 20, description="how many neurons are excited")
    value: float = Field(100.0, gt=0, description="what they are to be")
    size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="side of the square in pixels; None: a quarter of the shorter side"
    )
    eps: float = Field(
        0.3, gt=0, le=1, description="largest way of a pixel from its start, of its range"
    )
    step: float = Field(0.1, gt=0, le=1, description="change of a pixel in one step, of its range")
    steps: int = Field(1000, ge=1, le=1_000_000, description="most steps")

    def check(self, shape_CHW: tuple[int, ...]) -> None:
        check_side(self.side(shape_CHW), shape_CHW)

    def side(self, shape_CHW: tuple[int, ...]) -> int:
        """Side of the square."""
        return self.size or max(1, min(shape_CHW[1:]) // 4)

    def trigger(self, victims: Victims) -> Trigger:
        patch_Css = self.patch(victims)
        side = patch_Css.shape[-1]

        def change(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            shown = x_NCHW.float()
            shown[..., -side:, -side:] += patch_Css
            return as_bytes(shown)

        return Trigger(change)

    def patch(self, victims: Victims) -> Tensor:
        """What is added, float (C, side, side) in 0 to 255: the best of all steps."""
        surrogate, shape = self.surrogate(victims), victims.train.sample_shape
        layer, side = last_linear(surrogate, self.kind), self.side(shape)
        chosen_K = self.strongest(layer)
        start = torch.rand(shape[0], side, side, generator=keyed_generator(victims.seed, "trojan"))
        low, high = (start - self.eps).clamp(min=0), (start + self.eps).clamp(max=1)
        patch = best = start
        least = torch.inf
        for _ in range(self.steps):
            patch = patch.detach().requires_grad_()
            image = torch.zeros(1, *shape)
            image[..., -side:, -side:] = 255 * patch
            cost = (inputs_of(surrogate, layer, image)[:, chosen_K] - self.value).square().mean()
            if float(cost.detach()) < least:
                least, best = float(cost.detach()), patch.detach()
            if least < ENOUGH:
                break
            (gradient,) = torch.autograd.grad(cost, patch)
            patch = (patch.detach() - self.step * gradient.sign()).clamp(low, high)
        return 255 * best

    def strongest(self, layer: nn.Linear) -> Tensor:
        """The neurons that are excited, (K,)."""
        if self.neurons > layer.in_features:
            raise InputError(
                f"neurons: found {self.neurons}; the last layer of the surrogate reads "
                f"{layer.in_features}"
            )
        return layer.weight.abs().sum(0).topk(self.neurons).indices


def inputs_of(network: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer reads when a network reads images, (B, features)."""
    read: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    try:
        logits_of(network, x)
    finally:
        hook.remove()
    return read[-1]
