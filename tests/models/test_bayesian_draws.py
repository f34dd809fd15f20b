"""S draws of all weights in one forward are those one after the other, where that is allowed."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from peerlearn.models import MODELS, build_model
from peerlearn.models.bayesian import BayesianNetwork, frozen_noise, to_bayesian
from peerlearn.models.bayesian import network as networks
from peerlearn.models.bayesian.apart import keeps_rows_apart
from peerlearn.randomness import seeded_rng
from peerlearn.transfer.outputs import PeerOutput

S, ROWS = 3, 4
#: Each takes (4, 4, 6, 6), and has the layers of the name behind a first one, or first.
NETS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 5), nn.Tanh(), nn.Linear(5, 2)),
    "no bias": lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 2, bias=False)),
    "positions": lambda: nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 2), nn.Flatten()),
    "conv": lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 2, 3, 2, 1), nn.Flatten()),
    "groups": lambda: nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.Conv2d(6, 3, 2, groups=3), nn.Flatten()
    ),
    "dilation": lambda: nn.Sequential(
        nn.Conv2d(4, 3, 3, padding=2, dilation=2, padding_mode="circular"),
        nn.Conv2d(3, 2, 3, padding="same", padding_mode="reflect"),
        nn.Flatten(),
    ),
    "transposed": lambda: nn.Sequential(
        nn.ConvTranspose2d(4, 6, 3, 2, output_padding=1),
        nn.ConvTranspose2d(6, 2, 2, groups=2),
        nn.Flatten(),
    ),
    "norm": lambda: nn.Sequential(
        nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()
    ),
}


def compared(
    net: BayesianNetwork, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> tuple[PeerOutput, PeerOutput, int]:
    """Outputs with all draws at once where allowed, and one by one; and forwards of the first."""
    forwards = []
    one = net._one
    monkeypatch.setattr(net, "_one", lambda *given: forwards.append(1) or one(*given))
    with torch.no_grad(), seeded_rng(5):
        together = net.eval()(x)
    count = len(forwards)
    monkeypatch.setattr(net, "_at_once", lambda *given: False)
    with torch.no_grad(), seeded_rng(5):
        return together, net(x), count


def made(net: nn.Module, which: str = "all", **start) -> BayesianNetwork:
    with seeded_rng(0):
        return BayesianNetwork(to_bayesian(net, which, std=0.1, **start), test_samples=S)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("biases", [True, False])
def test_all_draws_in_one_forward_are_those_of_a_loop(
    name: str, biases: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(ROWS, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    together, looped, forwards = compared(made(NETS[name](), biases=biases), x, monkeypatch)
    assert forwards == 1
    assert_close(together.samples, looped.samples, rtol=1e-5, atol=1e-5)
    assert together.samples is not None and together.samples.shape[:2] == (S, ROWS)
    assert (together.samples[0] - together.samples[1]).abs().max() > 1e-3


def test_words_are_looked_up_in_every_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    net = made(nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(15, 2)))
    ids = torch.randint(7, (ROWS, 5), generator=torch.Generator().manual_seed(1))
    together, looped, forwards = compared(net, ids, monkeypatch)
    assert forwards == 1
    assert_close(together.samples, looped.samples)


@pytest.mark.parametrize("info", MODELS.describe(), ids=lambda info: info.name)
def test_every_built_in_network_is_known_to_keep_rows_apart(info) -> None:
    with torch.device("meta"):
        shape = (1, 8, 8) if info.name == "mlp" else (3, 32, 32)
        net = to_bayesian(build_model(info.name, shape, 10)).eval()
    assert keeps_rows_apart(net)
    assert not keeps_rows_apart(net.train()) or info.name == "mlp"


@pytest.mark.parametrize("which", ["all", "last"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet8", {"width": 2}),
        ("wide_resnet", {"depth": 10, "widen": 1, "width": 2}),
        ("mobilenet", {"width": 0.05}),
        ("googlenet", {"width": 0.05}),
    ],
)
def test_networks_with_branches_too(
    name: str, arguments: dict, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    net = made(build_model(name, (1, 8, 8), 3, arguments), which)
    together, looped, forwards = compared(net, x, monkeypatch)
    assert forwards == 1
    assert_close(together.samples, looped.samples, rtol=1e-5, atol=1e-5)
    for feature, expected in looped.features.items():
        assert_close(together.features[feature], expected, rtol=1e-5, atol=1e-5)


class Centred(nn.Module):
    """Looks across rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(144, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.second(x - x.mean(0))


class Heir(type(build_model("mlp", (1, 2, 2), 2))):  # type: ignore[misc]
    """A built-in network's forward and more."""

    def forward(self, x: Tensor) -> PeerOutput:
        output = super().forward(x)
        return output._replace(logits=output.logits - output.logits.mean(0))


class Residual(nn.Module):
    """A block that says so: its branches are combined."""

    row_wise = "block"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(144, 144)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


class Chain(Centred):
    """Says what is not so, in a way that can be seen: rows are gone."""

    row_wise = "chain"

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.flatten(1))[:3])


def heir() -> nn.Module:
    stages = [nn.Sequential(nn.Linear(144, 6), nn.ReLU())]
    return Heir(stages, 6, 2, stem=nn.Flatten(), pool=nn.Identity())


def hooked() -> nn.Module:
    net = NETS["linear"]()
    net[2].register_forward_hook(lambda module, given, out: out - out.mean(0))
    return net


def norm_of_the_batch() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, track_running_stats=False), nn.Flatten()
    )


@pytest.mark.parametrize("net", [Centred, heir, hooked, norm_of_the_batch])
def test_what_may_look_across_rows_gets_them_draw_by_draw(
    net, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(ROWS, 4, 6, 6)
    together, looped, forwards = compared(made(net()), x, monkeypatch)
    assert forwards == S
    assert torch.equal(together.samples, looped.samples)


def test_a_network_whose_rows_go_missing_gets_them_draw_by_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together, looped, forwards = compared(made(Chain()), torch.randn(4, 4, 6, 6), monkeypatch)
    assert forwards == 1 + S and torch.equal(together.samples, looped.samples)


def test_a_class_of_ones_own_can_say_that_it_keeps_rows_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = made(nn.Sequential(nn.Flatten(), Residual(), Residual(), nn.Linear(144, 2)))
    together, looped, forwards = compared(net, torch.randn(ROWS, 4, 6, 6), monkeypatch)
    assert forwards == 1
    assert_close(together.samples, looped.samples, rtol=1e-5, atol=1e-5)


def test_large_batches_and_layers_get_one_draw_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = torch.randn(ROWS, 4, 6, 6)
    for limit in ("MANY_POSITIONS", "MANY_WEIGHTS"):
        with monkeypatch.context() as patch:
            patch.setattr(networks, limit, 10)
            *_, forwards = compared(made(NETS["conv"]()), x, patch)
            assert forwards == S
            *_, forwards = compared(made(NETS["conv"](), "last"), x, patch)
            assert forwards == 1, "what comes before the only Bayesian layer runs once"


@pytest.mark.parametrize("rows", [ROWS, 200])
def test_draws_differ_and_stay_within_frozen_noise(rows: int) -> None:
    net, x = made(NETS["conv"]()).eval(), torch.randn(rows, 4, 6, 6)
    with frozen_noise(net), torch.no_grad():
        first = net(x)
        assert torch.equal(net(x).logits, first.logits)
        assert_close(net(x[:1]).samples, first.samples[:, :1], rtol=1e-5, atol=1e-5)
        assert not torch.equal(first.samples[0], first.samples[1])
    with torch.no_grad():
        assert not torch.equal(net(x).logits, first.logits)


def test_gradients_pass_through_all_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = made(NETS["conv"]()).eval(), torch.randn(ROWS, 4, 6, 6)
    grads = []
    for _ in range(2):
        with seeded_rng(2):
            loss = net(x).logits.square().sum()
        grads.append(torch.autograd.grad(loss, list(net.parameters())))
        monkeypatch.setattr(net, "_at_once", lambda *given: False)
    for one, other in zip(*grads, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)
