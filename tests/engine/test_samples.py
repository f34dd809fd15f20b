"""Peers that give several samples: their probabilities are averaged, never their logits."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import peerlearn
from peerlearn import Cohort
from peerlearn.cohort import forward_peers
from peerlearn.engine.evaluate import predict
from peerlearn.engine.precision import Precision
from peerlearn.metrics.classification import ensemble_log_probs
from peerlearn.randomness import seeded_rng
from peerlearn.transfer import PeerOutput

SAMPLES, CLASSES = 5, 3
FP32 = Precision(torch.device("cpu"), bf16=False, channels_last=False)
X = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % CLASSES


class Stochastic(nn.Module):
    """A linear network with noise on its logits, drawn anew for every sample."""

    def __init__(self, form: str = "softmax") -> None:
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)
        self.form = form

    def forward(self, x: Tensor) -> PeerOutput:
        z_SRC = self.linear(x) + 2 * torch.randn(SAMPLES, len(x), CLASSES)
        return PeerOutput.of_samples(z_SRC, {"input": x}, self.form)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum(1).mean()


def peers(form: str = "softmax") -> dict[str, nn.Module]:
    with seeded_rng(0):
        return {"bayes": Stochastic(form), "plain": nn.Linear(4, CLASSES)}


@pytest.mark.parametrize("shape", [(SAMPLES, 8, CLASSES), (SAMPLES, 2, CLASSES, 3, 4)])
def test_logits_are_of_the_mean_probability(shape: tuple) -> None:
    samples = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = PeerOutput.of_samples(samples)
    torch.testing.assert_close(found.logits.softmax(1), samples.softmax(2).mean(0))
    assert not torch.allclose(found.logits.softmax(1), samples.mean(0).softmax(1), atol=1e-2)
    labels = PeerOutput.of_samples(samples, form="sigmoid")
    torch.testing.assert_close(labels.logits.sigmoid(), samples.sigmoid().mean(0))
    assert found.samples is samples


def test_samples_in_half_precision_are_averaged_in_fp32() -> None:
    samples = torch.randn(SAMPLES, 8, CLASSES).bfloat16()
    found = PeerOutput.of_samples(samples).logits
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp(), samples.float().softmax(2).mean(0))


def test_objectives_and_edges_read_the_mean_probability() -> None:
    networks = peers()
    cohort = Cohort(networks)
    with seeded_rng(3):
        loss = cohort.loss(X, Y)
    with seeded_rng(3):
        p = networks["bayes"](X).samples.softmax(2).mean(0)
        q = networks["plain"](X).softmax(1)
    objectives = F.nll_loss(p.log(), Y) + F.nll_loss(q.log(), Y)
    edges = kl(q.detach(), p) + kl(p.detach(), q)
    torch.testing.assert_close(loss, objectives + edges)
    loss.backward()
    assert networks["bayes"].linear.weight.grad.any()


def test_evaluation_averages_probabilities_and_keeps_the_samples() -> None:
    networks = peers()
    rows = lambda: iter([(X, Y), (X, Y)])  # noqa: E731
    (logits, targets), (again, _) = predict(networks, rows, FP32)
    samples = logits.samples["bayes"]
    assert samples.shape == (SAMPLES, 8, CLASSES)
    mean = samples.softmax(2).mean(0)
    torch.testing.assert_close(logits["bayes"].softmax(1), mean)
    assert torch.equal(again.samples["bayes"], samples), "every batch is seen by the same networks"
    assert set(logits.samples) == {"bayes"}
    assert torch.equal(targets, Y)
    together = ensemble_log_probs([z.log_softmax(1) for z in logits.values()])
    torch.testing.assert_close(together.exp(), (mean + networks["plain"](X).softmax(1)) / 2)


def test_evaluation_draws_the_same_whatever_came_before() -> None:
    networks = peers()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, other = (next(predict(networks, lambda: iter([(X, Y)]), FP32))[0] for _ in range(2))
    assert torch.equal(one["bayes"], other["bayes"])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stochastic_peer_trains_and_is_measured_beside_another() -> None:
    x, y = X.repeat(8, 1).numpy(), Y.repeat(8).numpy()
    data = {"x_train": x, "y_train": y, "x_val": x, "y_val": y, "x_test": x, "y_test": y}
    networks = peers()
    before = networks["bayes"].linear.weight.clone()
    result = peerlearn.fit(Cohort(networks), data, epochs=2, batch_size=16, device="cpu")
    assert not torch.equal(networks["bayes"].linear.weight, before)
    assert {"bayes", "plain"} == set(result.block["peers"])
    assert 0 <= result.block["ensemble"]["accuracy"] <= 1


def test_a_view_passes_the_trunk_once_and_only_learners_have_a_gradient() -> None:
    calls: list[Tensor] = []
    trunk = nn.Linear(4, 4)
    trunk.register_forward_hook(lambda module, args, output: calls.append(args[0]))
    networks = {name: nn.Linear(4, CLASSES) for name in "abc"}
    views = {"a": X, "b": X, "c": X + 1}
    told: list[str] = []
    outputs = forward_peers(networks, views, trunk, learners=["a", "c"], before=told.append)
    assert [call is X for call in calls] == [True, False]
    assert told == ["trunk", "a", "b", "trunk", "c"]
    assert [outputs[name].logits.requires_grad for name in "abc"] == [True, False, True]
    outputs["a"].logits.sum().backward()
    assert trunk.weight.grad is None, "the trunk is not among the learners"
