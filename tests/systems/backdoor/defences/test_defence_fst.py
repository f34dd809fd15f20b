"""Feature Shift Tuning against its definition."""

import copy

import torch
import torch.nn.functional as F
from tiny_backdoor import clean_rows, made, poisoned, purified

from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.defences.fst import reinitialise
from peerlearn.systems.backdoor.defences.tuning import MOMENTUM, WEIGHT_DECAY


def test_the_classifier_starts_anew_within_its_bound_and_other_layers_stay() -> None:
    network = poisoned().network
    before = copy.deepcopy(network.state_dict())
    layer = network.get_submodule("classifier")
    reinitialise(layer, keyed_generator(0))
    for name, now in network.state_dict().items():
        assert torch.equal(now, before[name]) is not name.startswith("classifier."), name
    assert 0.8 / 4 < layer.weight.abs().max() <= 1 / 4  # of 16 units
    assert layer.bias.abs().max() <= 1 / 4


def test_seeds_start_it_differently() -> None:
    weights = [purified("fst", clean_rows(seed=seed)).classifier.weight for seed in (0, 1)]
    assert not torch.allclose(*weights, atol=1e-2)


def test_the_classifier_keeps_its_norm_after_every_step() -> None:
    for epochs in (1, 3):
        norms = [
            network.classifier.weight.norm()
            for network in (poisoned().network, purified("fst", epochs=epochs, lr=0.1))
        ]
        assert torch.allclose(*norms, rtol=1e-5)


def test_one_step_is_that_of_the_definition() -> None:
    network = poisoned().network
    poisoned_Cd = network.classifier.weight.detach().clone()
    clean = clean_rows(batch=96)  # one step an epoch
    expected = copy.deepcopy(network).train()
    expected.drop.p = network.drop.p = 0.0
    reinitialise(expected.classifier, keyed_generator(clean.seed, "fst"))
    x, y = next(clean.epoch(0))
    loss = F.cross_entropy(expected(x).logits, y)
    (loss + 0.5 * (expected.classifier.weight * poisoned_Cd).sum()).backward()
    optimiser = torch.optim.SGD(
        expected.parameters(), 0.01, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    optimiser.step()
    with torch.no_grad():
        weight = expected.classifier.weight
        weight.mul_(poisoned_Cd.norm() / weight.norm())
    made("fst", alpha=0.5, epochs=1).purify(network, clean)
    for found, wanted in zip(network.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


def test_a_larger_alpha_pushes_further_away() -> None:
    before = poisoned().network.classifier.weight.flatten()
    angles = [
        F.cosine_similarity(
            purified("fst", alpha=a, epochs=20).classifier.weight.flatten(), before, 0
        )
        for a in (0.0, 1.0)
    ]
    assert angles[1] < angles[0] - 0.2
