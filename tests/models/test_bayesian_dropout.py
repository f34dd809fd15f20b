"""Monte-Carlo dropout: draws in evaluation, none where a network is deterministic."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from peerlearn.errors import InputError
from peerlearn.models.bayesian import BayesianNetwork, mean_mode, with_dropout

X = torch.ones(4, 8)


def layers(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), *more, nn.ReLU(), nn.Linear(32, 3))


def test_it_draws_in_evaluation_and_not_where_it_is_deterministic() -> None:
    plain = layers()
    dropped = with_dropout(copy.deepcopy(plain), 0.5).eval()
    assert not torch.equal(dropped(X), dropped(X))
    for network in (dropped, copy.deepcopy(dropped)):
        with mean_mode(network):
            assert torch.equal(network(X), plain(X))
    many = torch.stack([dropped(X) for _ in range(4_000)]).mean(0)
    assert_close(many, plain(X), atol=0.03, rtol=0)


def test_dropout_layers_of_its_own_count_alone() -> None:
    own = with_dropout(layers(nn.Dropout(0.25)), 0.9).eval()
    hidden = own[:2](X)
    share = (torch.stack([own[:2](X) for _ in range(2_000)]) == 0).float().mean()
    assert share == pytest.approx(0.25, abs=0.02)
    assert torch.equal(own[3](hidden), own[3](hidden)), "the next layer drops nothing"
    with mean_mode(own):
        assert torch.equal(own(X), own(X))
        own.train()
        assert not torch.equal(own(X), own(X)), "it trains as any network with dropout"


def test_the_last_layer_may_drop_alone() -> None:
    deep = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    with_dropout(deep, 0.5, "last").eval()
    assert torch.equal(deep[:2](X), deep[:2](X))
    assert not torch.equal(deep(X), deep(X))


def test_a_peer_of_it_has_samples_and_no_widths() -> None:
    peer = BayesianNetwork(with_dropout(layers(), 0.5), test_samples=3).eval()
    assert peer(X).samples.shape == (3, 4, 3) and not list(peer.rhos())
    with pytest.raises(InputError, match="no Bayesian layers"):
        peer.kl()


@pytest.mark.parametrize("own", [False, True])
def test_its_mean_network_drops_nothing_in_evaluation(own: bool) -> None:
    plain = layers(*([nn.Dropout(0.5)] if own else [])).eval()
    peer = BayesianNetwork(with_dropout(copy.deepcopy(plain), 0.5), test_samples=2)
    mean = peer.mean_network().eval()
    assert torch.equal(mean(X), plain(X)) and torch.equal(mean(X), mean(X))
    assert {type(module) for module in mean.modules()} == {
        type(module) for module in plain.modules()
    }
    assert not torch.equal(peer.eval()(X).logits, peer(X).logits), "the peer itself still draws"


@pytest.mark.parametrize(
    ("network", "rate", "said"),
    [
        (nn.Linear(8, 3), 0.5, r"peers\.a\.bayesian: dropout: nothing to drop"),
        (layers(), 0.0, "nothing to drop"),
        (layers(), 1.0, r"dropout: found 1\.0"),
    ],
)
def test_what_drops_nothing_is_refused(network: nn.Module, rate: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_dropout(network, rate, field="peers.a.bayesian")
