"""Layers of bayesian-torch as those of here: stand-ins that hold what theirs hold, and theirs."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl
from torch.testing import assert_close

from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.models.bayesian import (
    BayesianNetwork,
    adopt,
    kl_divergence,
    mean_mode,
    posterior,
    to_deterministic,
)

X = torch.randn(4, 4, 6, 6, generator=torch.Generator().manual_seed(0))


class LinearReparameterization(nn.Module):
    """Holds what bayesian-torch's layer of this name holds; others here do so for theirs."""

    kind = "weight"
    shape: tuple[int, ...] = (3, 144)

    def __init__(self, bias: bool = True, centre: float = 0.0, width: float = 0.3) -> None:
        super().__init__()
        self.dnn_to_bnn_flag = True
        generator = torch.Generator().manual_seed(1)
        for name, shape in ((self.kind, self.shape), ("bias", self.shape[:1])):
            prior = "bias" if name == "bias" else "weight"
            if name == "bias" and not bias:
                self.mu_bias = self.rho_bias = None
                continue
            mean = torch.randn(shape, generator=generator)
            self.register_parameter(f"mu_{name}", nn.Parameter(mean))
            self.register_parameter(f"rho_{name}", nn.Parameter(0.1 * mean - 3))
            self.register_buffer(f"prior_{prior}_mu", torch.full(shape, centre), persistent=False)
            self.register_buffer(f"prior_{prior}_sigma", torch.full(shape, width), persistent=False)


class Conv2dFlipout(LinearReparameterization):
    kind, shape = "kernel", (6, 2, 3, 3)
    in_channels, out_channels = 4, 6
    stride, padding, dilation, groups = 2, (1, 1), 1, 2


class ConvTranspose1dReparameterization(LinearReparameterization):
    kind, shape = "kernel", (4, 4, 3)
    in_channels, out_channels = 4, 4
    stride, padding, dilation, groups, output_padding = 2, 0, 1, 1, 1


class LSTMReparameterization(LinearReparameterization):
    kind, shape = "kernel", (3, 4, 2)


def net(**options) -> nn.Sequential:
    made = [Conv2dFlipout(**options), nn.Flatten(), LinearReparameterization(**options)]
    made[2].mu_weight.data, made[2].rho_weight.data = (
        made[2].mu_weight[:, :54],
        made[2].rho_weight[:, :54],
    )
    for name in ("mu", "sigma"):
        key = f"prior_weight_{name}"
        made[2].register_buffer(key, getattr(made[2], key)[:, :54], persistent=False)
    return nn.Sequential(*made)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("centre", [0.0, 0.2])
def test_layers_have_their_weights_priors_and_a_kl_that_is_a_sum(bias: bool, centre: float) -> None:
    before = net(bias=bias, centre=centre)
    network = BayesianNetwork(before, test_samples=3)
    names = ["weight", *(["bias"] if bias else [])]
    assert [name for name, _ in posterior(network)] == [
        f"{place}.{name}" for place in (0, 2) for name in names
    ]
    expected = sum(
        torch_kl(Normal(g.mean, g.std), Normal(torch.tensor(centre), 0.3)).sum()
        for _, g in posterior(network)
    )
    assert_close(network.kl(), expected)
    assert (network.network[0].method, network.network[2].method) == (
        "flipout",
        "reparameterisation",
    )
    if centre:
        other = BayesianNetwork(net(bias=bias, centre=-1.0))
        other.load_state_dict(network.state_dict(), strict=True)
        assert_close(other.kl(), network.kl())


def test_parameters_are_the_very_same_and_train() -> None:
    network = net()
    held = list(network.parameters())
    adopted = BayesianNetwork(network)
    assert {id(p) for p in adopted.parameters()} == {id(p) for p in held}
    (adopted(X).logits.square().sum() + adopted.kl()).backward()
    assert all(p.grad is not None and p.grad.any() for p in held)


def test_whole_draws_and_means_are_as_of_layers_from_here() -> None:
    network = BayesianNetwork(net(), test_samples=5).eval()
    assert network(X).samples.shape == (5, 4, 3)
    plain = network.mean_network()
    assert type(plain[0]) is nn.Conv2d and (plain[0].stride, plain[0].groups) == ((2, 2), 2)
    with mean_mode(network):
        assert_close(plain(X), network.network(X))
    transposed = adopt(ConvTranspose1dReparameterization())
    assert to_deterministic(transposed)(X[:, :, 0]).shape == (4, 4, 14)


def test_what_cannot_be_adopted_is_named() -> None:
    asked = net()
    asked[2].dnn_to_bnn_flag = False
    with pytest.raises(InputError, match="2: LinearReparameterization returns its KL beside"):
        adopt(asked)
    assert isinstance(asked[0], Conv2dFlipout), "nothing was replaced"
    with pytest.raises(InputError, match="the layer: LSTMReparameterization; allowed: linear"):
        adopt(LSTMReparameterization())
    uneven = Conv2dFlipout()
    uneven.prior_bias_sigma.fill_(1.0)
    with pytest.raises(InputError, match="the layer: priors of several widths"):
        adopt(uneven)
    with pytest.raises(InputError, match="adopt for layers of bayesian-torch"):
        kl_divergence(net())
    plain = nn.Linear(2, 2)
    assert adopt(plain) is plain


@pytest.mark.parametrize("kind", ["Reparameterization", "Flipout"])
def test_networks_that_bayesian_torch_converted(kind: str) -> None:
    reason = "bayesian-torch is not installed: pip install --no-deps bayesian-torch"
    theirs = pytest.importorskip("bayesian_torch.models.dnn_to_bnn", reason=reason)
    plain = build_model("cnn", (1, 8, 8), 3, {"width": 0.25}).eval()
    network = copy.deepcopy(plain)
    options = {"prior_mu": 0.0, "prior_sigma": 0.2, "posterior_mu_init": 0.0}
    options |= {"posterior_rho_init": -4.0, "type": kind, "moped_enable": True, "moped_delta": 0.1}
    theirs.dnn_to_bnn(network, options)
    mean = theirs.get_kl_loss(network).item()
    adopted = BayesianNetwork(network).eval()
    x: Tensor = torch.randn(4, 1, 8, 8)
    assert_close(adopted.mean_network()(x).logits, plain(x).logits)
    expected = sum(
        torch_kl(Normal(g.mean, g.std), Normal(0.0, 0.2)).sum() for _, g in posterior(adopted)
    )
    assert_close(adopted.kl(), expected)
    assert 0 < mean < adopted.kl().item() / 10, "theirs is a mean of every tensor"
    assert all(layer.method in ("flipout", "reparameterisation") for layer in _layers(adopted))


def _layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if hasattr(module, "random_names")]
