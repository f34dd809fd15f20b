"""A network with posteriors as a peer: several draws, one output."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.testing import assert_close

from peerlearn import Cohort
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.models.bayesian import (
    BayesianNetwork,
    Variational,
    kl_divergence,
    mean_mode,
    to_bayesian,
    to_deterministic,
    with_dropout,
)
from peerlearn.modes import evaluating
from peerlearn.objectives.base import Classification, PeerView
from peerlearn.randomness import seeded_rng
from peerlearn.transfer.outputs import as_peer_output

X = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network(**options) -> BayesianNetwork:
    with seeded_rng(0):
        net = build_model("cnn", (1, 8, 8), 3, {"width": 0.25})
        return BayesianNetwork(to_bayesian(net, std=0.2), **options)


def test_its_output_is_the_mean_probability_over_draws() -> None:
    net = network(train_samples=2, test_samples=5)
    for mode, draws in ((True, 2), (False, 5)):
        output = net.train(mode)(X)
        assert output.samples is not None and output.samples.shape == (draws, 6, 3)
        assert_close(output.logits.softmax(1), output.samples.softmax(-1).mean(0))
        assert output.features["pooled"].shape[0] == 6
    only = network().train()(X)
    assert only.samples is not None and torch.equal(only.samples[0], only.logits)


class Dropping(nn.Module):
    """Reads its own mode, as networks do that call functions of dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.mask = nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) + (1000.0 if self.training else 0.0)


def test_names_and_modes_are_those_of_the_network() -> None:
    net = Dropping()
    before = net.state_dict()
    to_bayesian(net.head)
    wrapped = BayesianNetwork(net)
    assert wrapped.state_dict().keys() == net.state_dict().keys() > before.keys()
    assert dict(wrapped.named_parameters()).keys() == dict(net.named_parameters()).keys()
    assert wrapped.get_submodule("head") is net.head
    for copied in (wrapped, copy.deepcopy(wrapped)):
        with evaluating(copied):
            assert not copied.network.training and copied(torch.zeros(2, 4)).logits.max() < 500
        assert copied.network.training and copied(torch.zeros(2, 4)).logits.min() > 500
    other = copy.deepcopy(wrapped)
    with torch.no_grad():
        other.network.head.weight.add_(1)
    assert torch.equal(other.get_parameter("head.weight"), net.head.weight + 1)
    assert next(wrapped.to(torch.float64).parameters()).dtype == net.head.weight.dtype


def test_deterministic_is_one_pass_with_the_means() -> None:
    net = network().eval()
    net.deterministic = True
    one = net(X)
    assert one.samples is None and torch.equal(net(X).logits, one.logits)
    net.deterministic = False
    assert not torch.equal(net(X).logits, one.logits)


def test_labels_that_are_independent_have_mean_probabilities_of_their_own() -> None:
    output = network(form="sigmoid", test_samples=4).eval()(X)
    assert output.samples is not None
    assert_close(output.logits.sigmoid(), output.samples.sigmoid().mean(0))


def test_peers_of_a_cohort_learn_from_each_other_and_no_gradient_leaks() -> None:
    cohort = Cohort({"a": network(), "b": build_model("cnn", (1, 8, 8), 3, {"width": 0.25})})
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    outputs = cohort(X)
    cohort.losses(outputs, y, progress=1.0)["a"].total.backward()
    a, b = cohort.peers["a"], cohort.peers["b"]
    assert all(rho.grad is not None and rho.grad.any() for rho in a.rhos())
    assert not any(p.grad is not None and p.grad.any() for p in b.parameters())
    before = a.kl().item()
    assert before > 0 and a.kl().requires_grad


def test_posteriors_pay_for_leaving_their_prior_once_an_epoch_whatever_the_batch() -> None:
    net, y = network(), torch.tensor([0, 1, 2, 0, 1, 2])
    net.deterministic = True

    def extra(rows: int, progress: float = 1.0, **options) -> float:
        objective = Variational(rows=600, **options)
        view = PeerView.of(net(X[:rows]), y[:rows], peer=net, progress=progress)
        return (objective.loss(view) - Classification().loss(view)).item()

    share = net.kl().item() / 600
    assert extra(6) == pytest.approx(share, rel=1e-4)
    assert extra(2) == pytest.approx(share, rel=1e-4)
    assert extra(6, kl_weight=0.1) == pytest.approx(share / 10, rel=1e-3)
    assert extra(6, progress=1 / 6) == pytest.approx(share / 2, rel=1e-4)
    assert extra(6, progress=0.0) == 0
    assert extra(6, progress=0.0, warm_up=0) == pytest.approx(share, rel=1e-4)


def test_a_cohort_trains_by_it() -> None:
    peers = {"a": network(), "b": BayesianNetwork(to_bayesian(build_model("mlp", (1, 8, 8), 3)))}
    cohort = Cohort(peers, objective=Variational(rows=60, warm_up=0, kl_weight=0.1))
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    optimiser = torch.optim.Adam(cohort.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = cohort.loss(X, y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 0}, "rows: found 0"),
        ({"rows": 5, "kl_weight": -1}, "kl_weight: found -1"),
        ({"rows": 5, "warm_up": 2}, "warm_up: found 2"),
    ],
)
def test_wrong_options_of_the_objective_are_named(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Variational(**options)


def test_what_the_objective_needs_is_said() -> None:
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    for net, progress, said in (
        (plain, 1.0, "no Bayesian layers"),
        (network(), None, "warm_up follows the training"),
        (None, 1.0, "needs the peer itself"),
    ):
        output = as_peer_output((net or plain)(X), "a")
        with pytest.raises(InputError, match=said):
            Variational(rows=6).loss(PeerView.of(output, y, peer=net, progress=progress))


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet8", "mobilenet"])
def test_built_in_networks_without_spread_are_what_they_were(name: str) -> None:
    plain = build_model(name, (1, 8, 8), 3).eval()
    net = BayesianNetwork(to_bayesian(copy.deepcopy(plain), std=1e-9), test_samples=1).eval()
    assert_close(net(X).logits, plain(X).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train_samples": 0}, "bayesian.train_samples: found 0"),
        ({"test_samples": True}, "bayesian.test_samples: found True"),
    ],
)
def test_wrong_options_are_named(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        network(**options)


def test_a_network_without_posteriors_is_refused() -> None:
    with pytest.raises(InputError, match="no Bayesian layers"):
        BayesianNetwork(nn.Linear(2, 2))


@pytest.mark.parametrize("prior", ["fixed", "empirical", "tied"])
@pytest.mark.parametrize("biases", [True, False])
def test_the_mean_network_is_the_one_it_was_made_of(prior: str, biases: bool) -> None:
    plain = build_model("resnet8", (1, 8, 8), 3, {"width": 2}).eval()
    net = BayesianNetwork(to_bayesian(copy.deepcopy(plain), prior=prior, biases=biases)).eval()
    back = net.mean_network()
    assert [type(m) for m in back.modules()] == [type(m) for m in plain.modules()]
    assert list(back.state_dict()) == list(plain.state_dict())
    assert torch.equal(back(X).logits, plain(X).logits)
    back.classifier.weight.data.zero_()
    assert net.network.classifier.weight.any(), "it is a copy"
    assert net.kl() > 0


def test_what_holds_bayesian_networks_holds_those_of_their_means() -> None:
    net = nn.Sequential(nn.Identity(), BayesianNetwork(to_bayesian(nn.Linear(3, 2))))
    back = to_deterministic(net)
    assert type(back[1]) is nn.Linear and isinstance(net[1], BayesianNetwork)
    assert torch.equal(back[1].weight, net[1].network.weight)
    assert to_bayesian(back, std=0.1)[1].weight_rho.shape == (2, 3), "and can be made so again"


def test_one_layer_is_a_network_too() -> None:
    net = BayesianNetwork(to_bayesian(nn.Linear(3, 2), std=0.5)).eval()
    x = torch.randn(4, 3)
    with mean_mode(net):
        assert torch.equal(net(x).samples[0], net.mean_network()(x))
    assert not torch.equal(net(x).logits, net(x).logits)
    assert torch.equal(kl_divergence(net), net.kl())


def twice() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)


def behind() -> nn.Module:
    head = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    return nn.Sequential(nn.Linear(4, 4), head)


def pruned() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4))
    prune.l1_unstructured(net[0], "weight", amount=2)
    return net


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (lambda: nn.Linear(2, 2), {"which": "bogus"}, r"which.*'bogus'.*all, last"),
        (lambda: nn.Linear(2, 2), {"layers": "last"}, r"option.*'layers'.*prior"),
        (lambda: nn.LSTM(2, 2), {}, r"which='last'"),
        (lambda: nn.LSTM(2, 2), {"field": "peers.a.bayesian"}, r"layers: last"),
        (twice, {}, r"0.weight is 2.weight too"),
        (behind, {"which": "last"}, r"the last layer with weights is 1 .*; 0, before it"),
        (Tied, {"which": "last"}, r"embed.weight is out.weight too"),
        (lambda: to_bayesian(nn.Linear(2, 2)), {}, r"is Bayesian already"),
        (pruned, {}, r"0 computes its weights from others .*weight_orig"),
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 2)), {"which": "last"}, r"is 1 \(LSTM"),
    ],
)
def test_what_cannot_be_converted_is_named_with_a_way_out(network, options, message) -> None:
    with pytest.raises(InputError, match=message):
        to_bayesian(network(), **options)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.again(x))


@pytest.mark.parametrize("mode", [True, False])
def test_a_layer_that_is_called_twice_is_refused_for_each_call_would_draw(mode: bool) -> None:
    peer = BayesianNetwork(to_bayesian(Recurrent())).train(mode)
    with pytest.raises(InputError, match=r"layer again is called twice in one forward"):
        peer(torch.zeros(2, 4))


def test_a_part_that_is_called_as_an_attribute_of_the_network_is_refused() -> None:
    net = nn.ModuleDict({"form": nn.Linear(2, 2)})
    with pytest.raises(InputError, match=r"called 'form'"):
        BayesianNetwork(to_bayesian(net))


@pytest.mark.parametrize("std", [1e-30, 1e-9, 0.005, 20.0, 900.0])
def test_widths_of_any_size_are_what_was_asked_for_and_have_a_finite_kl(std: float) -> None:
    layer = to_bayesian(nn.Linear(3, 2), std=std)
    torch.testing.assert_close(layer.std("weight"), torch.full((2, 3), std), rtol=1e-5, atol=0.0)
    kl_divergence(layer).backward()
    assert all(each.grad.isfinite().all() for each in layer.parameters())


def test_layers_take_the_arguments_of_torchs() -> None:
    layer = to_bayesian(nn.ConvTranspose2d(2, 3, 3, stride=2), std=1e-9)
    x = torch.randn(1, 2, 4, 4)
    assert layer(input=x, output_size=[10, 10]).shape == (1, 3, 10, 10)


def test_dropout_at_rate_0_is_none() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.0), nn.Linear(8, 2))
    peer = BayesianNetwork(with_dropout(net, 0.5)).eval()
    assert peer(torch.ones(3, 4)).samples.std(0).max() > 0
