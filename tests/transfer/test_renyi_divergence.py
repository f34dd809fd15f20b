"""The Rényi divergence: closed form, gradient, behaviour near order 1, textbook facts."""

import pytest
import torch
import torch.nn.functional as F

from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.divergences import kl, renyi

ORDERS = [0.3, 0.5, 1.0, 1.5, 2.0, 5.0]
DISTANCES_FROM_1 = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.0999, 0.1, 0.1001]


def logits(scale=1.0, rows=200, classes=10, dtype=torch.float32):
    """Logits of a teacher and a learner."""
    generator = torch.Generator().manual_seed(3)
    zp, zq = (torch.randn(rows, classes, generator=generator) * scale for _ in range(2))
    return zp.to(dtype), zq.to(dtype)


def log_probs(**arguments):
    return tuple(z.log_softmax(-1) for z in logits(**arguments))


def reference(zp, zq, alpha):
    """Distance from KL in float64, which does not cancel near order 1."""
    lp, lq = zp.double().log_softmax(-1), zq.double().log_softmax(-1)
    base = (lp.exp() * (lp - lq)).sum(-1)
    if alpha == 1:
        return base
    centred = (alpha - 1) * (lp - lq - base[:, None])
    return base + torch.logsumexp(lp + centred, -1) / (alpha - 1)


def expected_gradient(zp, zq, alpha):
    lp, lq = zp.double().log_softmax(-1), zq.double().log_softmax(-1)
    return lq.exp() - torch.softmax(alpha * lp + (1 - alpha) * lq, -1)


def graph_loss(zp, zq, **edge):
    spec = {"divergence": "renyi", "from": "t", "to": "s"} | edge
    graph = TransferGraph(spec, ["t", "s"])
    return graph.losses({"t": PeerOutput(zp), "s": PeerOutput(zq)})["s"]


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.5, 2.0, 5.0])
def test_value_is_the_log_of_the_power_sum(alpha):
    zp, zq = logits(dtype=torch.float64)
    p, q = zp.softmax(-1), zq.softmax(-1)
    expected = torch.log((p**alpha * q ** (1 - alpha)).sum(-1)) / (alpha - 1)
    torch.testing.assert_close(renyi(zp.log_softmax(-1), zq.log_softmax(-1), alpha), expected)


def test_order_1_is_kl_to_the_bit():
    lp, lq = log_probs()
    assert torch.equal(renyi(lp, lq, 1.0), kl(lp, lq))


def test_order_1_of_a_graph_is_its_kl_to_the_bit_in_value_and_gradient():
    zp, zq = logits()
    results = []
    for edge in ({"alpha": 1.0}, {"divergence": "kl"}):
        learner = zq.clone().requires_grad_()
        loss = graph_loss(zp, learner, **edge)
        loss.backward()
        results.append((loss, learner.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    expected = F.kl_div(F.log_softmax(zq, -1), F.softmax(zp, -1), reduction="batchmean")
    torch.testing.assert_close(results[0][0].detach(), expected)


@pytest.mark.parametrize("alpha", ORDERS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_gradient_is_learner_minus_escort_distribution(alpha, scale):
    zp, zq = logits(scale=scale)
    learner = zq.clone().requires_grad_()
    renyi(zp.log_softmax(-1), learner.log_softmax(-1), alpha).sum().backward()
    expected = expected_gradient(zp, zq, alpha)
    tolerance = 1e-6 if scale <= 1 else 1e-5  # fp32 log-probabilities carry their own rounding
    assert (learner.grad - expected).abs().max() < tolerance
    assert learner.grad.abs().max() <= 1 + tolerance


@pytest.mark.parametrize("alpha", ORDERS)
def test_gradient_of_a_graph_is_divided_by_the_batch(alpha):
    zp, zq = logits(rows=8)
    learner = zq.clone().requires_grad_()
    graph_loss(zp, learner, alpha=alpha).backward()
    assert (learner.grad - expected_gradient(zp, zq, alpha) / 8).abs().max() < 1e-6


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("distance", DISTANCES_FROM_1)
def test_no_digits_are_lost_near_order_1(distance, side, scale):
    alpha = 1 + side * distance
    zp, zq = logits(scale=scale)
    learner = zq.clone().requires_grad_()
    value = renyi(zp.log_softmax(-1), learner.log_softmax(-1), alpha)
    value.sum().backward()
    # fp32 log-probabilities of this scale are known to about 1e-7 of the scale, no better.
    assert (value.double() - reference(zp, zq, alpha)).abs().max() < 1e-5 + 2e-6 * scale
    assert (learner.grad - expected_gradient(zp, zq, alpha)).abs().max() < 1e-6 * max(1, scale)


@pytest.mark.parametrize("switch", [0.9, 1.0, 1.1])
def test_value_has_no_step_where_the_formula_switches(switch):
    lp, lq = log_probs(dtype=torch.float64)
    below, above = renyi(lp, lq, switch - 1e-9), renyi(lp, lq, switch + 1e-9)
    assert (below - above).abs().max() < 1e-7


def test_series_near_1_is_kl_plus_half_the_variance_of_the_log_ratio():
    lp, lq = log_probs(dtype=torch.float64)
    ratio = lp - lq
    base = kl(lp, lq)
    variance = (lp.exp() * ratio**2).sum(-1) - base**2
    torch.testing.assert_close(
        (renyi(lp, lq, 1 + 1e-5) - base) / 1e-5, variance / 2, rtol=1e-3, atol=1e-4
    )


def test_divergence_does_not_decrease_in_its_order():
    lp, lq = log_probs(scale=2.0, dtype=torch.float64)
    orders = [0.01, 0.3, 0.5, 0.89, 0.9, 0.91, 0.999, 1.0, 1.001, 1.09, 1.1, 1.11, 1.5, 2.0, 5.0]
    values = torch.stack([renyi(lp, lq, alpha) for alpha in orders])
    assert (values.diff(dim=0) >= 0).all()
    assert (values[-1] > values[0] + 0.1).all()


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_skew_symmetry(alpha):
    lp, lq = log_probs(dtype=torch.float64)
    torch.testing.assert_close(renyi(lp, lq, alpha), alpha / (1 - alpha) * renyi(lq, lp, 1 - alpha))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.95, 1.0])
def test_pinsker_bound(alpha):
    for scale in (0.1, 1.0, 5.0):
        lp, lq = log_probs(scale=scale, dtype=torch.float64)
        total_variation = (lp.exp() - lq.exp()).abs().sum(-1)
        assert (alpha / 2 * total_variation**2 <= renyi(lp, lq, alpha) + 1e-12).all()


@pytest.mark.parametrize("alpha", [0.5, 1.5, 2.0])
def test_near_agreement_the_order_acts_like_the_weight(alpha):
    zp, noise = logits(dtype=torch.float64)
    lp, lq = zp.log_softmax(-1), (zp + 0.005 * noise).log_softmax(-1)
    ratio = renyi(lp, lq, alpha) / kl(lp, lq)
    assert (ratio - alpha).abs().max() < 1e-2 * alpha


@pytest.mark.parametrize("alpha", ORDERS)
def test_divergence_is_never_negative_and_zero_at_agreement(alpha):
    lp, lq = log_probs(scale=3.0)
    assert (renyi(lp, lq, alpha) >= -1e-5).all()
    assert renyi(lp, lp, alpha).abs().max() < 2e-6


def test_order_0_where_a_schedule_begins_teaches_nothing():
    zp, zq = logits()
    learner = zq.clone().requires_grad_()
    loss = renyi(zp.log_softmax(-1), learner.log_softmax(-1), alpha=0).mean()
    loss.backward()
    assert abs(loss.item()) < 1e-6
    assert learner.grad.abs().max() < 1e-6


@pytest.mark.parametrize("alpha", [-0.5, float("nan")])
def test_an_order_that_is_not_one_is_refused(alpha):
    lp, lq = log_probs()
    with pytest.raises(ValueError, match="alpha"):
        renyi(lp, lq, alpha)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.0001, 1.05, 2.0, 5.0])
def test_logits_1e4_apart_give_a_finite_loss_and_gradient(alpha, dtype):
    zp = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], dtype=dtype)
    zq = torch.tensor([[-1e4, 0.0, 1e4], [1e4, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = graph_loss(zp, zq, alpha=alpha)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert loss > 1
    assert torch.isfinite(zq.grad).all()


@pytest.mark.parametrize(
    ("alpha", "exact", "capped"), [(1.5, 40.0, 18.42), (2.0, 40.0, 18.42), (0.5, 38.6, 17.0)]
)
def test_clamp_reproduces_the_caps_of_the_published_code(alpha, exact, capped):
    zp, zq = torch.tensor([[40.0, 0.0]]), torch.tensor([[0.0, 40.0]])
    assert graph_loss(zp, zq, alpha=alpha).item() == pytest.approx(exact, abs=0.05)
    found = graph_loss(zp, zq, alpha=alpha, clamp=1e-8).item()
    assert found == pytest.approx(capped, abs=0.05)


def test_clamp_silences_the_gradient_of_clamped_classes():
    zp, zq = torch.tensor([[40.0, 0.0, 0.0]]), torch.tensor([[0.0, 40.0, 0.0]])
    gradients = []
    for clamp in (None, 1e-8):
        learner = zq.clone().requires_grad_()
        graph_loss(zp, learner, alpha=2.0, clamp=clamp).backward()
        gradients.append(learner.grad.abs().max().item())
    assert gradients[0] > 0.99
    assert gradients[1] < 1e-6
