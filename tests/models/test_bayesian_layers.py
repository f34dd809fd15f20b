"""Mean-field layers: what they draw, their divergence, and what they keep of torch's own."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from peerlearn import models
from peerlearn.errors import InputError
from peerlearn.models.bayesian import (
    METHODS,
    BayesianLinear,
    frozen_noise,
    mean_mode,
    posterior,
    to_bayesian,
)
from peerlearn.models.bayesian import kl_divergence as kl
from peerlearn.randomness import seeded_rng

LAYERS = {
    "linear": (nn.Linear(5, 3), (4, 5)),
    "linear of sequences": (nn.Linear(5, 3, bias=False), (4, 2, 5)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (3, 4, 9)),
    "conv2d": (nn.Conv2d(4, 6, 3, padding=2, dilation=2, padding_mode="reflect"), (3, 4, 7, 6)),
    "conv3d": (nn.Conv3d(2, 3, (1, 2, 3)), (2, 2, 4, 4, 4)),
    "depthwise": (
        nn.Conv2d(4, 4, 3, padding="same", groups=4, padding_mode="circular"),
        (2, 4, 5, 5),
    ),
    "replicated": (nn.Conv1d(3, 2, 3, padding=2, padding_mode="replicate"), (2, 3, 6)),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (2, 4, 5)),
    "transposed 2d": (nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1), (2, 4, 5, 4)),
    "transposed 3d": (nn.ConvTranspose3d(2, 3, 2), (2, 2, 3, 3, 3)),
}


def made(name: str, **start) -> tuple[nn.Module, nn.Module, Tensor]:
    """A layer of torch, the Bayesian one of it, and rows."""
    layer, shape = LAYERS[name]
    with seeded_rng(0):
        return layer, to_bayesian(copy.deepcopy(layer), **start), torch.randn(shape)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", METHODS)
def test_without_spread_a_layer_is_the_one_it_was_made_of(name: str, method: str) -> None:
    layer, bayesian, x = made(name, std=1e-9, method=method)
    for mode in (True, False):
        assert_close(bayesian.train(mode)(x), layer(x), rtol=1e-5, atol=1e-6)
    _, wide, _ = made(name, std=0.3, method=method)
    assert (wide(x) - layer(x)).abs().max() > 1e-3
    with mean_mode(wide):
        assert torch.equal(wide(x), layer(x))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["linear", "conv2d", "transposed 1d"])
def test_every_way_to_draw_has_the_mean_and_variance_of_drawn_weights(
    name: str, method: str
) -> None:
    layer, bayesian, x = made(name, std=0.2, method=method)
    x = x[:1]
    variances = {key: torch.full_like(value, 0.04) for key, value in layer.named_parameters()}
    expected = torch.func.functional_call(layer, variances, (x.square(),))
    with seeded_rng(1):
        draws = torch.stack([bayesian(x) for _ in range(1500)])
    error = (expected / len(draws)).sqrt()
    assert ((draws.mean(0) - layer(x)).abs() < 5 * error).all()
    assert_close(draws.var(0).mean(), expected.mean(), rtol=0.05, atol=0)


def test_rows_of_a_batch_have_noise_of_their_own_but_with_whole_weights() -> None:
    x = torch.ones(2, 5)
    for method, alike in (("reparameterisation", True), ("local", False), ("flipout", False)):
        _, bayesian, _ = made("linear", std=0.5, method=method)
        one, two = bayesian(x)
        assert torch.equal(one, two) is alike, method
        one, two = bayesian.eval()(x)
        assert torch.equal(one, two), "in evaluation weights are drawn whole"


def test_flipout_has_gradients_of_lower_variance_than_one_draw_for_a_batch() -> None:
    with seeded_rng(0):
        x, target = torch.randn(128, 10), torch.randn(128, 5)
        nets = {method: nn.Linear(10, 5) for method in ("reparameterisation", "flipout")}
        for method, net in nets.items():
            net.load_state_dict(nets["flipout"].state_dict())
            to_bayesian(net, std=0.3, method=method)
        spread = {}
        for method, net in nets.items():
            grads = []
            for _ in range(200):
                (grad,) = torch.autograd.grad((net(x) - target).square().mean(), [net.weight])
                grads.append(grad)
            spread[method] = torch.stack(grads).var(0).mean().item()
    assert spread["flipout"] < 0.2 * spread["reparameterisation"]


@pytest.mark.parametrize("prior", ["fixed", "empirical", "tied"])
def test_kl_is_the_sum_that_torch_has(prior: str) -> None:
    net = to_bayesian(nn.Sequential(nn.Linear(20, 10), nn.Linear(10, 3)), prior=prior)
    before = {name: gaussian.mean.detach().clone() for name, gaussian in posterior(net)}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    expected = 0.0
    for name, gaussian in posterior(net):
        centre = {"fixed": torch.zeros(()), "empirical": before[name], "tied": gaussian.mean}
        reference = Normal(centre[prior].expand_as(gaussian.mean), 0.1)
        expected += kl_divergence(Normal(gaussian.mean, gaussian.std), reference).sum().item()
    with torch.autocast("cpu", torch.bfloat16):
        found = kl(net)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-5)
    (grad,) = torch.autograd.grad(found, [net[0].weight])
    assert grad.any() != (prior == "tied"), "a tied prior holds only the spread"


def test_a_state_has_the_prior_and_weights_fit_by_their_own_names() -> None:
    plain = nn.Linear(4, 2)
    one = to_bayesian(copy.deepcopy(plain), prior="empirical", prior_std=0.3)
    other = to_bayesian(nn.Linear(4, 2), prior="empirical", prior_std=0.1)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.weight_prior_mean, plain.weight)
    assert kl(other).item() == pytest.approx(kl(one).item())
    assert plain.state_dict().keys() <= one.state_dict().keys()
    with torch.no_grad():
        other.weight.add_(1)
    moved = kl(other).item()
    other.centre_prior()
    assert kl(other).item() < moved


def test_within_frozen_noise_all_forwards_see_the_same_weights() -> None:
    net = to_bayesian(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)), std=0.5)
    x = torch.randn(3, 5)
    with frozen_noise(net):
        first = net(x)
        assert torch.equal(net(x), first)
        assert_close(net(x[:1]), first[:1])
    with frozen_noise(net):
        assert not torch.equal(net(x), first)


def test_an_embedding_draws_every_place_anew_but_with_whole_weights() -> None:
    ids = torch.tensor([[1, 1, 2]])
    table = nn.Embedding(4, 3, padding_idx=0)
    for method, alike in (("reparameterisation", True), ("local", False)):
        drawn = to_bayesian(copy.deepcopy(table), std=0.5, method=method)
        (rows,) = drawn(ids)
        assert torch.equal(rows[0], rows[1]) is alike
        assert not torch.equal(rows[0], table(ids)[0, 0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prior", ["fixed", "empirical", "tied"])
def test_the_row_of_padding_has_no_posterior(method: str, prior: str) -> None:
    table = nn.Embedding(4, 3, padding_idx=1)
    drawn = to_bayesian(copy.deepcopy(table), std=0.5, method=method, prior=prior)
    ids = torch.tensor([[0, 1, 2], [1, 1, 3]])
    for mode in (True, False):
        rows = drawn.train(mode)(ids)
        assert not rows[ids == 1].any() and rows[ids != 1].abs().min() > 0
    (gaussian,) = dict(posterior(drawn)).values()
    assert gaussian.mean.shape == gaussian.std.shape == (3, 3)
    divergence = kl(drawn)
    centre = {"fixed": 0.0, "empirical": gaussian.mean.detach(), "tied": gaussian.mean}[prior]
    expected = kl_divergence(Normal(gaussian.mean, 0.5), Normal(centre, 0.1)).sum()
    assert_close(divergence, expected)
    (rows.square().sum() + divergence).backward()
    for parameter in (drawn.weight, drawn.weight_rho):
        assert parameter.grad.isfinite().all()
        assert not parameter.grad[1].any() and parameter.grad[[0, 2, 3]].any()


SMALL = {
    "mlp": {"hidden": [4]},
    "cnn": {"width": 0.1},
    "resnet20": {"width": 2},
    "wide_resnet": {"depth": 10, "widen": 1, "width": 2},
    "mobilenet": {"width": 0.05},
    "vgg11_bn": {"width": 0.05},
    "preact_resnet18": {"width": 2},
    "googlenet": {"width": 0.05},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMALL)
def test_built_in_networks_have_finite_gradients_and_states(name: str, method: str) -> None:
    with seeded_rng(0):
        made = [models.build_model(name, (1, 8, 8), 3, SMALL[name]) for _ in range(2)]
        net, other = (to_bayesian(each, method=method, prior="empirical") for each in made)
        loss = net(torch.randn(4, 1, 8, 8)).logits.logsumexp(1).sum() + kl(net)
    loss.backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    other.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(kl(other), kl(net))


@pytest.mark.parametrize("info", models.MODELS.describe(), ids=lambda info: info.name)
def test_every_built_in_network_becomes_bayesian(info) -> None:
    with torch.device("meta"):
        net = models.build_model(info.name, (1, 8, 8) if info.name == "mlp" else (3, 32, 32), 10)
        layers = sum(type(m) in (nn.Linear, nn.Conv2d) for m in net.modules())
        weights = {name for name, _ in posterior(to_bayesian(net)) if name.endswith("weight")}
    assert len(weights) == layers > 0


def test_the_last_layer_alone() -> None:
    net = to_bayesian(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), "last")
    assert [name for name, _ in posterior(net)] == ["2.weight", "2.bias"]
    assert isinstance(net[2], BayesianLinear)
    without = to_bayesian(nn.Sequential(nn.Linear(8, 2)), biases=False)
    assert [name for name, _ in posterior(without)] == ["0.weight"]


def _tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    return net


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (nn.Sequential(nn.LSTM(3, 4)), r"0: LSTM has weights of its own"),
        (nn.Sequential(nn.MultiheadAttention(4, 2)), r"0: MultiheadAttention reads its weights"),
        (
            torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
            "the network itself: ParametrizedLinear computes its weights from others",
        ),
        (_tied(), r"1\.weight: is 0\.weight too"),
        (nn.Sequential(nn.Linear(3, 3), Own()), r"1: Own has weights of its own \(scale\)"),
        (nn.Sequential(nn.Linear(3, 3).requires_grad_(False)), "0 is frozen"),
        (nn.Embedding(3, 2, max_norm=1), "the layer has max_norm"),
        (nn.Embedding(3, 2, sparse=True), "the layer has sparse gradients"),
        (nn.ReLU(), "no layer to make Bayesian"),
    ],
)
def test_what_cannot_have_a_posterior_is_named(net: nn.Module, said: str) -> None:
    with pytest.raises(InputError, match=said):
        to_bayesian(net)
    assert not any(name.endswith("_rho") for name, _ in net.named_parameters())


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ({"std": 0}, "bayesian.std: found 0; allowed: above 0"),
        ({"prior_std": -1.0}, "bayesian.prior_std: found -1.0"),
        ({"prior": "flat"}, "bayesian.prior: unknown prior 'flat'"),
        ({"method": "flip"}, "bayesian.method: unknown method 'flip'. Did you mean 'flipout'"),
    ],
)
def test_wrong_options_are_named(start: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        to_bayesian(nn.Linear(2, 2), **start)


def test_a_network_without_posteriors_has_no_divergence() -> None:
    with pytest.raises(InputError, match="no Bayesian layers"):
        kl(nn.Linear(2, 2))


@pytest.mark.parametrize("name", LAYERS)
def test_local_has_the_gradients_of_its_formula(name: str) -> None:
    _, bayesian, x = made(name, std=0.3)
    x.requires_grad_()
    with seeded_rng(3):
        out = bayesian(x)
    means = dict(bayesian.named_parameters(recurse=False))
    variances = [
        nn.functional.softplus(means[f"{key}_rho"]).square() if f"{key}_rho" in means else None
        for key in ("weight", "bias")
    ]
    with seeded_rng(3):
        mean = bayesian.op(x, bayesian.weight, bayesian.bias)
        expected = mean + bayesian.op(x.square(), *variances).sqrt() * torch.randn_like(mean)
    assert_close(out, expected, rtol=1e-5, atol=1e-6)
    asked = [x, *means.values()]
    for found, wanted in zip(
        torch.autograd.grad(out.square().sum(), asked),
        torch.autograd.grad(expected.square().sum(), asked),
        strict=True,
    ):
        assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["linear", "conv2d", "transposed 2d"])
def test_in_bf16_all_ways_give_what_the_layer_gives_and_gradients(name: str, method: str) -> None:
    layer, bayesian, x = made(name, std=0.1, method=method)
    with torch.autocast("cpu", torch.bfloat16):
        out = bayesian(x)
        assert out.dtype == layer(x).dtype == torch.bfloat16
    out.float().square().sum().backward()
    for key, parameter in bayesian.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


def test_weights_are_drawn_alike_in_every_memory_format_and_local_noise_is_as_wide() -> None:
    plain, net, x = made("conv2d", std=0.3)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    with seeded_rng(1):
        expected = net.eval()(x)
    with seeded_rng(1):
        found = last.eval()(x.contiguous(memory_format=torch.channels_last))
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), seeded_rng(2):
        x = torch.ones(300, 4, 7, 6).contiguous(memory_format=torch.channels_last)
        out = last.train()(x).float()
        assert out.is_contiguous(memory_format=torch.channels_last)
        inside = out[:, :, 3, 3]
        assert_close(inside.mean(0), plain(x[:1])[0, :, 3, 3].float(), rtol=0, atol=0.6)
        assert inside.std(0).mean().item() == pytest.approx(0.3 * (36 + 1) ** 0.5, rel=0.05)
    assert torch.corrcoef(inside.T).sub(torch.eye(6)).abs().max() < 0.25
