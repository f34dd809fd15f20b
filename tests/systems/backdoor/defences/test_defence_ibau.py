"""Implicit Backdoor Adversarial Unlearning against its definition."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tiny_backdoor import SIDE, clean_rows, made, poisoned, state
from torch import Tensor

from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.defences import ibau
from peerlearn.systems.backdoor.defences.ibau import (
    first_order,
    hyper_gradient,
    inner_loss,
    universal,
)

STEP = 0.1


class Smooth:
    """A small smooth game with δ of 3 numbers, in double precision: one tanh layer."""

    def __init__(self) -> None:
        generator = keyed_generator(0)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.x, self.y = drawn(6, 3), torch.arange(6) % 2
        self.weights = [drawn(4, 3).requires_grad_(), drawn(2, 4).requires_grad_()]

    def told(self, delta: Tensor) -> Tensor:
        return ((self.x + delta) @ self.weights[0].T).tanh() @ self.weights[1].T

    def inner(self, delta: Tensor) -> Tensor:
        """Regularised so strongly that it has one minimum."""
        return 3 * delta.square().sum() - F.cross_entropy(self.told(delta), 1 - self.y)

    def outer(self, delta: Tensor) -> Tensor:
        return F.cross_entropy(self.told(delta), self.y) + 0.01 * self.weights[0].square().sum()

    def best(self) -> Tensor:
        """The fixed point of gradient descent on `inner`."""
        delta = torch.zeros(3, dtype=torch.float64)
        for _ in range(80):
            delta.requires_grad_()
            (gradient,) = torch.autograd.grad(self.inner(delta), delta)
            delta = (delta - STEP * gradient).detach()
        return delta


def finite_differences(game: Smooth, value: Callable[[], Tensor]) -> list[Tensor]:
    """The gradient of a value in all weights, by central differences."""
    found = []
    for weight in game.weights:
        gradient = torch.zeros_like(weight).detach()
        for n in range(weight.numel()):
            ends = []
            for change in (1e-5, -1e-5):
                with torch.no_grad():
                    weight.view(-1)[n] += change
                ends.append(value().item())
                with torch.no_grad():
                    weight.view(-1)[n] -= change
            gradient.view(-1)[n] = (ends[0] - ends[1]) / 2e-5
        found.append(gradient)
    return found


def test_the_hyper_gradient_is_that_of_the_loss_where_delta_follows_the_weights() -> None:
    game = Smooth()
    found = hyper_gradient(game.inner, game.outer, game.best(), game.weights, 200, STEP)
    wanted = finite_differences(game, lambda: game.outer(game.best()))
    for each, other in zip(found, wanted, strict=True):
        assert torch.allclose(each, other, atol=1e-7)


def test_first_order_holds_delta_fixed_and_the_implicit_part_is_the_rest() -> None:
    game = Smooth()
    delta = game.best()
    fixed = first_order(game.outer, delta, game.weights)
    wanted = finite_differences(game, lambda: game.outer(delta))
    full = hyper_gradient(game.inner, game.outer, delta, game.weights, 200, STEP)
    for each, other, whole in zip(fixed, wanted, full, strict=True):
        assert torch.allclose(each, other, atol=1e-7)
        assert not torch.allclose(each, whole, atol=1e-3), "there is nothing implicit to see"


def test_few_iterations_are_the_first_terms_of_the_series() -> None:
    game = Smooth()
    delta = game.best().requires_grad_()

    def moved(d: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(game.inner(d), d, create_graph=True)
        return d - STEP * gradient

    jacobian = torch.autograd.functional.jacobian(moved, delta)
    (direct,) = torch.autograd.grad(game.outer(delta), delta)
    for iterations in (1, 3):
        found = hyper_gradient(game.inner, game.outer, delta, game.weights, iterations, STEP)
        powers = [torch.linalg.matrix_power(jacobian.T, k) @ direct for k in range(iterations)]
        v = torch.stack(powers).sum(0)
        implicit = torch.autograd.grad(moved(delta), game.weights, grad_outputs=v)
        fixed = first_order(game.outer, delta, game.weights)
        for each, one, other in zip(found, fixed, implicit, strict=True):
            assert torch.allclose(each, one + other, atol=1e-10)


def test_the_inner_loss_is_small_where_delta_changes_what_is_said() -> None:
    network, x = poisoned().network, next(clean_rows().all())[0]
    told = network(x).logits.argmax(1)
    loss, delta = inner_loss(network, x), torch.full((1, SIDE, SIDE), 0.5)
    expected = 0.001 * 144 * 0.25 - F.cross_entropy(network(x + delta).logits, told)
    assert torch.allclose(loss(delta), expected)


def test_delta_is_one_for_all_images_and_fools_many() -> None:
    network, batches = poisoned().network, [x for x, _ in clean_rows().all()]
    delta = universal(network, batches)
    assert delta.shape == (1, SIDE, SIDE) and not delta.requires_grad
    before, after = (
        torch.cat([network(x + d).logits.argmax(1) for x in batches])
        for d in (torch.zeros_like(delta), delta)
    )
    assert (before != after).float().mean() > 0.5
    (gradient,) = torch.autograd.grad(
        inner_loss(network, batches[0])(zero := torch.zeros_like(delta).requires_grad_()), zero
    )
    assert torch.allclose(universal(network, batches[:1]), -10 * gradient)


@pytest.mark.parametrize(("portion", "changed"), [(0.01, 1), (0.25, 24), (1.0, 96)])
def test_a_part_of_every_batch_has_delta_and_one_image_at_least(
    portion: float, changed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, clean = poisoned().network, clean_rows(batch=96)
    monkeypatch.setattr(ibau, "universal", lambda *_: torch.full((1, SIDE, SIDE), 9.0))
    seen: list[Tensor] = []
    network.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    made("ibau", rounds=1, steps=1, portion=portion, order="first").purify(network, clean)
    x, _ = next(clean.epoch(0))
    rows = (seen[-1] != x).flatten(1).any(1)
    assert rows.tolist() == [True] * changed + [False] * (96 - changed)
    assert torch.allclose(seen[-1][rows], x[rows] + 9)


def test_statistics_stay_and_unused_weights_too() -> None:
    network = poisoned().network
    network.unused = torch.nn.Linear(2, 2)
    before = state(network)
    made("ibau", rounds=1, steps=3, lr=1e-2).purify(network, clean_rows())
    after = state(network)
    for name in before:
        stays = "running" in name or "tracked" in name or "unused" in name
        assert (after[name] == before[name]) is stays, name
