"""Masks of BatchNorm's channels, and the two defences that learn them."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_backdoor import CLASSES, SIDE, clean_rows, images, poisoned, purified, read, state
from torch import Tensor, nn

from peerlearn.data.datasets import Split
from peerlearn.errors import RunError
from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.defences import anp, rnp
from peerlearn.systems.backdoor.defences.anp import AdversarialNeuronPruning
from peerlearn.systems.backdoor.defences.masks import (
    THRESHOLDS,
    first_masks,
    learn_masks,
    masked_logits,
    norm_layers,
    prune,
    pruned_part,
)
from peerlearn.systems.backdoor.defences.rnp import reachable, unlearn
from peerlearn.systems.backdoor.defences.tuning import accuracy, endless

SHORT = {"anp": {"iterations": 40, "lr": 0.05}, "rnp": {}}


@pytest.mark.parametrize("training", [True, False])
def test_masks_of_1_are_the_identity(training: bool) -> None:
    network = poisoned().network.train(training)
    network.drop.p = 0.0
    x = read(images(8, "some").x)
    ones = first_masks(norm_layers(network, "anp"))
    assert torch.equal(masked_logits(network, x, ones, ones), network(x).logits)


def test_masks_scale_and_shift_like_the_weights_themselves() -> None:
    network, x = poisoned().network, read(images(8, "some").x)
    layers = norm_layers(network, "anp")
    scales = {name: torch.rand(len(layer.weight)) for name, layer in layers.items()}
    shifts = {name: torch.rand(len(layer.weight)) for name, layer in layers.items()}
    before, found = state(network), masked_logits(network, x, scales, shifts)
    assert state(network) == before
    with torch.no_grad():
        for name, layer in layers.items():
            layer.weight.mul_(scales[name])
            layer.bias.mul_(shifts[name])
    assert torch.allclose(found, network(x).logits, atol=1e-5)


def test_a_batchnorm_may_be_the_network_itself() -> None:
    network, x = nn.BatchNorm1d(3).eval(), torch.ones(2, 3)
    found = masked_logits(network, x, {"": torch.tensor([1.0, 0.0, 0.5])})
    assert torch.allclose(found, torch.tensor([[1.0, 0.0, 0.5]]), atol=1e-4)


def test_masks_stay_between_0_and_1_and_are_learned_by_momentum() -> None:
    masks = {"": torch.tensor([1.0, 1.0, 0.5])}
    seen = []

    def loss(x: Tensor, y: Tensor) -> Tensor:
        seen.append(masks[""].detach().clone())
        return masks[""] @ torch.tensor([-1.0, 0.1, 1.0])

    learn_masks(masks, iter(3 * [(torch.ones(1), torch.ones(1))]), loss, lr=0.4)
    # Velocities of the second: 0.1, 0.19, 0.271.
    assert torch.allclose(seen[1], torch.tensor([1.0, 0.96, 0.1]))
    assert torch.allclose(seen[2], torch.tensor([1.0, 0.884, 0.0]))
    assert torch.allclose(masks[""], torch.tensor([1.0, 0.7756, 0.0]))
    assert not masks[""].requires_grad and masks[""].grad is None


def test_batches_go_on_epoch_after_epoch() -> None:
    clean = clean_rows(batch=48)  # two an epoch
    found = [y.tolist() for _, y in endless(clean, 5)]
    assert found == [y.tolist() for epoch in range(3) for _, y in clean.epoch(epoch)][:5]


def _random_masks(network: nn.Module) -> dict[str, Tensor]:
    generator = keyed_generator(3)
    masks = first_masks(norm_layers(network, "anp"))
    return {name: torch.rand(mask.shape, generator=generator) for name, mask in masks.items()}


def _pruned_at(threshold: float, masks: dict[str, Tensor]) -> nn.Module:
    network = poisoned().network
    with torch.no_grad():
        for name, layer in norm_layers(network, "anp").items():
            layer.weight[masks[name] <= threshold] = 0
    return network


@pytest.mark.parametrize("tolerance", [0.0, 0.1, 0.5])
def test_the_largest_threshold_within_the_tolerance_prunes(tolerance: float) -> None:
    network, clean = poisoned().network, clean_rows()
    masks, before = _random_masks(network), accuracy(network, clean.held_out())
    found = prune(network, norm_layers(network, "anp"), masks, clean, tolerance)
    assert [THRESHOLDS[n] for n in (0, 1, -1)] == [0, 0.05, 0.9] and len(THRESHOLDS) == 19
    within = [
        threshold
        for threshold in THRESHOLDS
        if accuracy(_pruned_at(threshold, masks), clean.held_out()) >= (1 - tolerance) * before
    ]
    assert found == max(within) and 0 < found < 0.9
    assert state(network) == state(_pruned_at(found, masks))


def test_where_no_threshold_will_do_nothing_is_pruned() -> None:
    network = poisoned().network
    masks = {name: 0 * mask for name, mask in _random_masks(network).items()}
    before = state(network)
    assert prune(network, norm_layers(network, "anp"), masks, clean_rows(), 0.1) is None
    assert state(network) == before


@pytest.mark.parametrize("method", ["anp", "rnp"])
def test_scales_of_the_network_that_came_are_pruned_and_nothing_else_changes(method: str) -> None:
    network = purified(method, **SHORT[method])
    before, after = poisoned().network.state_dict(), network.state_dict()
    pruned = channels = 0
    for name, now in after.items():
        scale = name.startswith("stages.") and name.endswith(".1.weight")
        kept = now != 0 if scale else torch.ones_like(now, dtype=torch.bool)
        assert torch.equal(now[kept], before[name][kept]), name
        pruned += int((~kept).sum())
        channels += len(now) if scale else 0
    assert pruned > 0
    assert pruned_part(network) == pruned / channels and pruned_part(poisoned().network) == 0


@pytest.mark.parametrize("method", ["anp", "rnp"])
def test_the_tolerance_is_kept_on_held_out_rows(method: str) -> None:
    clean = clean_rows()
    before = accuracy(poisoned().network, clean.held_out())
    for tolerance in (0.0, 0.2):
        network = purified(method, tolerance=tolerance, **SHORT[method])
        assert accuracy(network, clean.held_out()) >= (1 - tolerance) * before


@pytest.mark.parametrize(("module", "method"), [(anp, "anp"), (rnp, "rnp")])
def test_learned_masks_stay_in_their_range_and_some_fall(
    module: Any, method: str, monkeypatch: Any
) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(module, "prune", lambda n, layers, masks, *_: seen.extend(masks.values()))
    purified(method, **SHORT[method])
    masks = torch.cat(seen)
    assert masks.min() >= 0 and masks.max() == 1 and (masks < 0.9).any()


def _worst(**options: Any) -> tuple[dict[str, Tensor], dict[str, Tensor], nn.Module, Any]:
    network = poisoned().network.train()
    network.drop.p = 0.0
    batch = next(clean_rows().all())
    masks, defence = _random_masks(network), AdversarialNeuronPruning(**options)
    return *defence.worst(network, masks, *batch, keyed_generator(5)), network, (masks, batch)


def test_the_adversary_steps_up_the_sign_of_the_gradient() -> None:
    scales, shifts, network, (masks, (x, y)) = _worst(eps=0.3, steps=1)
    generator = keyed_generator(5)
    starts = [
        {n: torch.empty(m.shape).uniform_(-0.3, 0.3, generator=generator) for n, m in masks.items()}
        for _ in range(2)
    ]
    for start in starts:
        for each in start.values():
            each.requires_grad_()
    changed = {name: mask + starts[0][name] for name, mask in masks.items()}
    shifted = {name: 1 + starts[1][name] for name in masks}
    F.cross_entropy(masked_logits(network, x, changed, shifted), y).backward()
    for found, start in zip((scales, shifts), starts, strict=True):
        for name, each in start.items():
            assert torch.allclose(found[name], each + 0.3 * each.grad.sign(), atol=1e-6)


def test_more_steps_are_shorter_and_find_a_higher_loss_than_the_start() -> None:
    losses = []
    for steps in (1, 4):
        scales, shifts, network, (masks, (x, y)) = _worst(eps=0.2, steps=steps)
        changed = {name: mask + scales[name] for name, mask in masks.items()}
        shifted = {name: 1 + change for name, change in shifts.items()}
        with torch.no_grad():
            losses.append(float(F.cross_entropy(masked_logits(network, x, changed, shifted), y)))
            as_is = float(F.cross_entropy(masked_logits(network, x, masks), y))
        assert max(float(each.abs().max()) for each in scales.values()) <= 0.4 + 1e-6
        assert losses[-1] > as_is


def test_unlearning_stops_when_enough_is_forgotten() -> None:
    epochs = []
    for stop in (0.8, 0.3):
        network, clean = poisoned().network, clean_rows()
        epochs.append(unlearn(network, clean, 0.01, stop))
        logits = torch.cat([network(x).logits for x, _ in clean.all()])
        labels = torch.cat([y for _, y in clean.all()])
        assert float((logits.argmax(1) == labels).float().mean()) < stop + 0.1
    assert 1 <= epochs[0] < epochs[1] < 20
    assert unlearn(poisoned().network, clean_rows(), 1e-6, 0.3) == 20


def test_unlearning_climbs_by_sgd_that_slows_down() -> None:
    network, clean = poisoned().network, clean_rows(batch=96)
    network.drop.p = 0.0
    expected = copy.deepcopy(network).train()
    unlearn(network, clean, 1e-3, 0.0)
    optimiser = torch.optim.SGD(expected.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)
    for epoch in range(20):
        optimiser.param_groups[0]["lr"] = 1e-3 if epoch < 10 else 1e-4
        ((x, y),) = clean.epoch(epoch)
        optimiser.zero_grad()
        (-F.cross_entropy(expected(x).logits, y)).backward()
        optimiser.step()
    for found, wanted in zip(network.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)


def test_unlearning_that_runs_away_is_told() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))
    with pytest.raises(
        RunError, match=r"'rnp': unlearning ran away.*a lower unlearn_lr than 1e\+30"
    ):
        unlearn(network, clean_rows(), 1e30, 0.0)


def test_what_unlearning_can_reach_depends_on_the_most_frequent_class() -> None:
    rows = images(96, "clean")
    assert reachable(clean_rows(rows)) == pytest.approx(0.3)
    half = Split(rows.x, (rows.y == 0).long())  # three quarters are of class 0
    assert reachable(clean_rows(half)) == pytest.approx(0.9)
    many = Split(rows.x, torch.arange(96) % 12)
    assert reachable(clean_rows(many)) == 0.2
