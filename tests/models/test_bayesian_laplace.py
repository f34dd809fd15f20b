"""Laplace's approximation against the Hessian that it is the diagonal of."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from peerlearn.errors import InputError
from peerlearn.models.bayesian import BayesianNetwork, to_bayesian
from peerlearn.models.bayesian.laplace import (
    UNKNOWN_STD,
    fit_laplace,
    read_for_laplace,
    wait_for_laplace,
)
from peerlearn.models.bayesian.posterior import mean_field_layers
from peerlearn.transfer.outputs import OutputForm

PRIOR_STD = 0.7


def peer(form: OutputForm = "softmax") -> BayesianNetwork:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 3))
    drawn = to_bayesian(net, "last", std=UNKNOWN_STD, prior_std=PRIOR_STD)
    return BayesianNetwork(wait_for_laplace(drawn), test_samples=4, form=form)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_precision_is_the_hessians_diagonal_and_the_priors(form: OutputForm) -> None:
    net, x = peer(form).train(), torch.randn(20, 5)
    y = torch.randint(3, (20,))
    ((_, layer),) = mean_field_layers(net)
    phi = net.network[:2](x).detach()

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        logits = F.linear(phi, weight, bias)
        if form == "softmax":
            return F.cross_entropy(logits, y, reduction="sum")
        labels = F.one_hot(y, 3).float()
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")

    of = (layer.weight.detach(), layer.bias.detach())
    hessian = torch.autograd.functional.hessian(loss, of)
    fit_laplace(net, [x[:7], x[7:]], form)
    for number, name in enumerate(("weight", "bias")):
        size = of[number].numel()
        diagonal = hessian[number][number].reshape(size, size).diagonal()
        expected = (diagonal + PRIOR_STD**-2).rsqrt().view(of[number].shape)
        assert_close(layer.std(name), expected, rtol=1e-4, atol=1e-6)
    assert net.training, "it is as it was"


def test_before_it_is_fitted_draws_are_means_and_nothing_moves_the_widths() -> None:
    net = peer().eval()
    x = torch.randn(6, 5)
    samples = net(x).samples
    assert samples is not None and torch.equal(samples[0], samples[3])
    assert not any(rho.requires_grad for rho in net.rhos())
    fit_laplace(net, [x])
    drawn = net(x).samples
    assert drawn is not None and not torch.equal(drawn[0], drawn[3])


def test_a_last_convolution_is_refused_by_name() -> None:
    net = to_bayesian(nn.Sequential(nn.Conv2d(1, 2, 1)), "last", std=UNKNOWN_STD)
    with pytest.raises(InputError, match=r"peers\.a\.bayesian: posterior 'laplace'.*Conv2d"):
        wait_for_laplace(net, "peers.a.bayesian")


class Scaled(nn.Module):
    """Logits that are not what the last linear layer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.layer(x)


class Twice(Scaled):
    """A layer that a forward goes through twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.layer(-x)


@pytest.mark.parametrize("made", [Scaled, Twice])
def test_a_last_layer_that_does_not_give_the_logits_is_refused(made: type[Scaled]) -> None:
    drawn = wait_for_laplace(to_bayesian(made(), "last", std=UNKNOWN_STD))
    net = BayesianNetwork(drawn, test_samples=4)
    with pytest.raises(InputError, match=r"peers\.a\.bayesian: .* not what layer gives"):
        read_for_laplace(net, torch.randn(2, 5), "peers.a.bayesian")
    with pytest.raises(InputError, match="not what layer gives"):
        fit_laplace(net, [torch.randn(2, 5)])
