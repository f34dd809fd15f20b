import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from peerlearn.errors import InputError
from peerlearn.metrics.flatness import SIGMAS, flatness, noised_weights


def small_network():
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    )
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return network


X = torch.randn(30, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def batches_for(network):
    """Batches of unequal size whose labels are what the network says: a minimum of the loss."""
    training = network.training
    network.eval()
    with torch.no_grad():
        y = network(X).argmax(1)
    network.train(training)
    return lambda: [(X[:20], y[:20]), (X[20:], y[20:])]


def ce(output, y):
    return cross_entropy(output.logits, y)


def everything(network):
    return (
        {name: value.clone() for name, value in network.state_dict().items()},
        [module.training for module in network.modules()],
        torch.random.get_rng_state(),
    )


def assert_untouched(network, before):
    state, modes, rng = everything(network)
    assert all(torch.equal(state[name], before[0][name]) for name in before[0])
    assert modes == before[1]
    assert torch.equal(rng, before[2])


def test_probe_leaves_weights_modes_statistics_and_rng_untouched():
    network = small_network().train()
    network[1].eval()  # a part that is kept frozen must stay so
    batches = batches_for(small_network())
    before = everything(network)
    flatness(network, batches, ce, draws=2)
    assert_untouched(network, before)
    assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())


def test_probe_leaves_everything_untouched_when_the_loss_raises():
    network = small_network().train()
    batches = batches_for(small_network())
    before = everything(network)
    calls = []

    def raises_under_noise(output, y):
        calls.append(torch.rand(1))
        network[1].running_mean.add_(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return ce(output, y)

    with pytest.raises(KeyboardInterrupt):
        flatness(network, batches, raises_under_noise)
    assert_untouched(network, before)


def test_loss_grows_with_sigma():
    network = small_network()
    probe = flatness(network, batches_for(network), ce, sigmas=(0, 0.01, 0.1, 0.5, 2.0))
    assert probe["sigma"] == [0, 0.01, 0.1, 0.5, 2.0]
    assert probe["std"][0] == 0
    assert probe["mean"][1] == pytest.approx(probe["mean"][0], rel=0.1)
    assert probe["mean"][2] < probe["mean"][3] < probe["mean"][4]
    assert probe["std"][1] < probe["std"][2] < probe["std"][4]


def test_without_noise_it_is_the_loss_in_evaluation_mode_over_all_rows():
    network = small_network().train()
    batches = batches_for(network)
    probe = flatness(network, batches, ce, sigmas=[0.0])
    y = torch.cat([y for _, y in batches()])
    network.eval()
    assert probe["mean"][0] == pytest.approx(ce(_Logits(network(X)), y).item(), rel=1e-6)


def test_noise_is_reproducible_and_follows_the_seed():
    network = small_network()
    batches = batches_for(network)
    torch.manual_seed(1)
    first = flatness(network, batches, ce, sigmas=[0.1], draws=3, seed=4)
    torch.manual_seed(2)
    assert flatness(network, batches, ce, sigmas=[0.1], draws=3, seed=4) == first
    assert flatness(network, batches, ce, sigmas=[0.1], draws=3, seed=5) != first


def test_noise_has_the_stated_scale_relative_to_each_tensor():
    class Reports(nn.Linear):
        def forward(self, x):
            return self.weight.mean() * 0 + self.weight.square().sum().expand(1, 1)

    layer = Reports(200, 100, bias=False)
    nn.init.constant_(layer.weight, 3.0)
    batches = [(torch.zeros(1), torch.zeros(1))]
    # E[Σ (3 + 0.5 · 3 ε)²] = Σ 9 (1 + 0.25)
    probe = flatness(layer, lambda: batches, lambda out, y: out.logits.mean(), [0.5], draws=4)
    assert probe["mean"][0] == pytest.approx(20_000 * 9 * 1.25, rel=0.01)
    assert 0 < probe["std"][0] < 0.02 * probe["mean"][0]


def test_arms_of_one_architecture_meet_the_same_noise():
    class Sees(nn.Linear):
        def forward(self, x):
            seen.append(self.weight.detach().clone())
            return x @ self.weight.T

    seen: list[torch.Tensor] = []
    for scale in (1.0, 4.0):
        layer = Sees(3, 2, bias=False)
        nn.init.constant_(layer.weight, scale)
        batches = [(torch.ones(1, 3), torch.zeros(1, dtype=torch.long))]
        flatness(layer, lambda b=batches: b, ce, sigmas=[0.1], draws=2)
    torch.testing.assert_close(seen[2:], [4 * weight for weight in seen[:2]])
    assert not torch.equal(seen[0], seen[1])


def test_only_convolution_and_linear_weights_are_noised_and_tied_ones_once():
    network = small_network()
    network.append(nn.Linear(3, 3))
    network.append(nn.Linear(3, 3))
    network[7].weight = network[6].weight
    assert list(noised_weights(network)) == ["0.weight", "5.weight", "6.weight"]


def test_default_scales_start_without_noise():
    assert SIGMAS[0] == 0
    assert list(SIGMAS) == sorted(SIGMAS)


def test_a_diverged_loss_is_reported_not_raised():
    network = small_network()
    nan = torch.tensor(math.nan)
    probe = flatness(network, batches_for(network), lambda out, y: nan, sigmas=[0.1], draws=2)
    assert math.isnan(probe["mean"][0])


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (small_network(), {"sigmas": [-0.1]}, "sigma = -0.1"),
        (small_network(), {"sigmas": [math.nan]}, "sigma = nan"),
        (small_network(), {"draws": 0}, "draws = 0"),
        (small_network(), {"batches": list}, "no row"),
        (nn.BatchNorm2d(1), {}, "BatchNorm2d has no convolution"),
    ],
)
def test_bad_input_is_named(network, options, message):
    arguments = {"batches": batches_for(small_network()), "loss": ce} | options
    with pytest.raises(InputError, match=message):
        flatness(network, **arguments)


class _Logits:
    def __init__(self, logits):
        self.logits = logits
