"""Fine-tuning with sharpness-aware minimisation against its definition."""

import copy
from collections.abc import Callable

import pytest
import torch
from tiny_backdoor import clean_rows, poisoned, state
from torch import Tensor

from peerlearn.systems.backdoor.defences.ft_sam import perturbation, sharpness_aware
from peerlearn.systems.backdoor.defences.tuning import cross_entropy


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_perturbation_has_the_radius_and_its_direction(adaptive: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in ((3, 2), (4,))]
    gradients = [torch.randn(shape, generator=generator) for shape in ((3, 2), (4,))]
    found = perturbation(weights, gradients, 2.0, adaptive)
    scale = [weight.abs() if adaptive else torch.ones_like(weight) for weight in weights]
    relative = torch.cat([(e / s).flatten() for e, s in zip(found, scale, strict=True)])
    assert relative.norm() == pytest.approx(2.0, rel=1e-5)
    # What is best under that radius, to first order: the gradient in scaled coordinates.
    best = torch.cat([(s * g).flatten() for s, g in zip(scale, gradients, strict=True)])
    assert torch.allclose(relative, 2 * best / best.norm(), atol=1e-6)


def test_no_gradient_perturbs_nothing() -> None:
    for adaptive in (True, False):
        (found,) = perturbation([torch.ones(3)], [torch.zeros(3)], 2.0, adaptive)
        assert torch.equal(found, torch.zeros(3))


class Watch(torch.optim.SGD):
    """Keeps the weights and gradients that it steps with."""

    def step(self, closure: object = None) -> None:
        weights = self.param_groups[0]["params"]
        self.weights = [weight.detach().clone() for weight in weights]
        self.gradients = [weight.grad.clone() for weight in weights]
        super().step()


def stepped() -> tuple[list[Tensor], Watch, list[list[Tensor]], torch.nn.Module]:
    """Weights before a step, its optimiser, the weights of both passes, and the network after."""
    network = poisoned().network.train()
    network.drop.p = 0.0
    before = [weight.detach().clone() for weight in network.parameters()]
    optimiser = Watch(network.parameters(), 0.01)
    passes: list[list[Tensor]] = []
    ce = cross_entropy(network)

    def loss() -> Tensor:
        passes.append([weight.detach().clone() for weight in network.parameters()])
        return ce(*next(clean_rows().all()))

    sharpness_aware(network, 2.0, True)(optimiser, loss)
    return before, optimiser, passes, network


def test_weights_are_back_exactly_before_the_step() -> None:
    before, optimiser, _, _ = stepped()
    for found, wanted in zip(optimiser.weights, before, strict=True):
        assert torch.equal(found, wanted)


def test_the_gradient_is_that_of_the_perturbed_weights() -> None:
    before, optimiser, passes, _ = stepped()
    ce, twin = _twin(passes[0])
    gradients = torch.autograd.grad(ce(*next(clean_rows().all())), list(twin.parameters()))
    wanted = perturbation(before, gradients, 2.0, True)
    assert len(passes) == 2
    for first, second, w, e in zip(*passes, before, wanted, strict=True):
        assert torch.equal(first, w)
        assert torch.allclose(second, w + e, atol=1e-6)
    ce, twin = _twin(passes[1])
    gradients = torch.autograd.grad(ce(*next(clean_rows().all())), list(twin.parameters()))
    for found, gradient in zip(optimiser.gradients, gradients, strict=True):
        assert torch.allclose(found, gradient, atol=1e-6)


def _twin(weights: list[Tensor]) -> tuple[Callable[[Tensor, Tensor], Tensor], torch.nn.Module]:
    network = poisoned().network.train()
    network.drop.p = 0.0
    with torch.no_grad():
        for weight, value in zip(network.parameters(), weights, strict=True):
            weight.copy_(value)
    return cross_entropy(network), network


def test_statistics_are_of_the_first_pass_alone() -> None:
    _, _, _, network = stepped()
    expected = poisoned().network.train()
    expected(next(clean_rows().all())[0])
    found, wanted = (copy.deepcopy(each.state_dict()) for each in (network, expected))
    for name in wanted:
        if "running" in name or "tracked" in name:
            assert torch.equal(found[name], wanted[name]), name
    assert state(network) != state(poisoned().network)
