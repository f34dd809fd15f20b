"""Many edges in few calls: sums over teachers, and all edges at once, against edge by edge."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from peerlearn.randomness import seeded_rng
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.divergences import (
    PROBABILITY_DIVERGENCES,
    SUMMABLE,
    summed_over_others,
)
from peerlearn.transfer.knowledge import predictions

NAMES = ["a", "b", "c", "d"]
ROWS, CLASSES = 12, 7
LABELS = torch.tensor([0, 1, -1, 3, 4, 6, -1, 2, -1, 5, 5, 0])


def logits(scale: float = 1.0, apart: float = 1.0, dtype=torch.float32) -> dict[str, Tensor]:
    """Of peers that agree on most of what they say where `apart` is small."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    drawn = {
        name: torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64) for name in NAMES
    }
    return {
        name: (scale * (common + apart * own)).to(dtype).requires_grad_()
        for name, own in drawn.items()
    }


def pair_by_pair(
    name: str, log_probs: dict[str, Tensor], teachers: list[str], learners: list[str]
) -> Iterator[tuple[str, Tensor]]:
    for learner in learners:
        others = [log_probs[t].detach() for t in teachers if t != learner]
        parts = [PROBABILITY_DIVERGENCES[name](p, log_probs[learner]) for p in others]
        yield learner, torch.stack(parts).sum(0)


def gradients(sums: dict[str, Tensor], of: dict[str, Tensor]) -> list[Tensor | None]:
    """Of every learner with respect to every peer."""
    return [
        gradient
        for each in sums.values()
        for gradient in torch.autograd.grad(
            each.sum(), list(of.values()), retain_graph=True, allow_unused=True
        )
    ]


def assert_equal(name: str, of: dict[str, Tensor], teachers: list[str], learners: list[str]):
    log_probs = {peer: z.log_softmax(-1) for peer, z in of.items()}
    found = dict(summed_over_others(name, log_probs, teachers, learners))
    expected = dict(pair_by_pair(name, log_probs, teachers, learners))
    assert list(found) == list(expected)
    double = of["a"].dtype == torch.float64
    close = {"rtol": 1e-10, "atol": 1e-13} if double else {"rtol": 1e-5, "atol": 1e-6}
    for learner, value in expected.items():
        torch.testing.assert_close(found[learner], value, **close)
        torch.testing.assert_close(
            found[learner].mean(), value.mean(), rtol=close["rtol"], atol=close["atol"] / 100
        )
    for one, other in zip(gradients(found, of), gradients(expected, of), strict=True):
        assert (one is None) == (other is None), "a gradient reaches a teacher"
        if one is not None:
            torch.testing.assert_close(one, other, **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("teachers", "learners"),
    [
        (NAMES, NAMES), (NAMES, ["c"]), (NAMES[1:], NAMES), (NAMES[:3], ["d"]), (NAMES[:3], NAMES),
        (NAMES[::-1], ["a", "d"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", SUMMABLE)
def test_sums_equal_the_pairs(
    name: str, teachers: list[str], learners: list[str], dtype: torch.dtype
) -> None:
    assert_equal(name, logits(2.0, dtype=dtype), teachers, learners)


@pytest.mark.parametrize(
    ("scale", "apart"), [(1e-3, 1.0), (1.0, 1e-2), (20.0, 1.0), (1e4, 1.0), (1e4, 1e-4)]
)
@pytest.mark.parametrize("name", SUMMABLE)
def test_sums_hold_for_peers_that_agree_and_for_extreme_logits(
    name: str, scale: float, apart: float
) -> None:
    """Among them probabilities that are 0 in fp32, though their logarithm is not −∞."""
    assert_equal(name, logits(scale, apart), NAMES, NAMES)


@pytest.mark.parametrize("name", SUMMABLE)
def test_equal_peers_have_exactly_nothing_to_teach(name: str) -> None:
    log_probs = dict.fromkeys(NAMES, logits()["a"].log_softmax(-1))
    for _, value in summed_over_others(name, log_probs, NAMES, NAMES):
        assert (value == 0).all()


@pytest.mark.parametrize("who", [["a"], ["c"], NAMES])
@pytest.mark.parametrize("name", SUMMABLE)
def test_an_infinite_logit_never_becomes_a_finite_loss(name: str, who: list[str]) -> None:
    of = {peer: z.detach().clone() for peer, z in logits().items()}
    for peer in who:
        of[peer][:, 2] = -torch.inf
    log_probs = {peer: z.log_softmax(-1) for peer, z in of.items()}
    expected = dict(pair_by_pair(name, log_probs, NAMES, NAMES))
    for learner, value in summed_over_others(name, log_probs, NAMES, NAMES):
        infinite = ~expected[learner].isfinite()
        assert (~value.isfinite())[infinite].all() and infinite.any()


# Through a graph ---------------------------------------------------------------------------------

OPTIONS = {
    "plain": {},
    "sum": {"target": "sum"},
    "weight": {"weight": 0.3, "temperature": 3.0},
    "labelled": {"rows": "labelled"},
    "unlabelled": {"rows": "unlabelled"},
    "clamp": {"clamp": 0.05},
    "weighting": {"weighting": "sample"},
    "non_target": {"classes": "non_target"},
    "some learners": {"to": ["b", "d"]},
    "some teachers": {"from": ["a", "b", "c"]},
    "a sharp teacher": {"teacher_temperature": 0.5},
    "gate": {"gate": "confident", "gate_threshold": 0.4},
    "both ways": {"detach": False},
    "two entries": {"edges": [{}, {"rows": "labelled", "divergence": "js"}]},
}


def losses_and_gradients(
    options: dict, shape: tuple[int, ...], few: int | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """`few` None: edge by edge; 0: by sums where they apply; otherwise all edges at once."""
    monkeypatch.setattr(predictions, "FEW", few or 0)
    made = TransferGraph(options, NAMES)
    of = {name: z.detach().reshape(shape).requires_grad_() for name, z in logits(2.0).items()}
    outputs = {name: PeerOutput(z) for name, z in of.items()}
    with seeded_rng(0):
        made.prepare(outputs)
    for entry in made.entries if few is None else ():
        entry._alike = entry._summable = False
    targets = LABELS if len(shape) == 2 else LABELS.reshape(1, 3, 4)
    losses = made.losses(outputs, targets, labelled=targets != -1)
    torch.stack(list(losses.values())).sum().backward()
    zeros = torch.zeros(shape)
    grads = [zeros if z.grad is None else z.grad for z in of.values()]
    return torch.stack(list(losses.values())).detach(), torch.stack(grads)


@pytest.mark.parametrize("divergence", [*SUMMABLE, "js"])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("shape", "few"), [((ROWS, CLASSES), 0), ((ROWS, CLASSES), 2**15), ((1, CLASSES, 3, 4), 0)]
)
def test_however_edges_are_computed_they_teach_the_same(
    name: str,
    divergence: str,
    shape: tuple[int, ...],
    few: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"divergence": divergence, **OPTIONS[name]}
    found = losses_and_gradients(options, shape, few, monkeypatch)
    expected = losses_and_gradients(options, shape, None, monkeypatch)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert expected[0].abs().sum() > 0


def test_sums_are_taken_where_they_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args):
        calls.append(args[0])
        return summed_over_others(*args)

    monkeypatch.setattr(predictions, "summed_over_others", counted)
    for name, options in OPTIONS.items():
        calls.clear()
        losses_and_gradients(options, (ROWS, CLASSES), 0, monkeypatch)
        apart = name in ("a sharp teacher", "gate", "both ways")
        assert calls == ([] if apart else ["kl"]), name
    losses_and_gradients({"from": ["a", "b"]}, (ROWS, CLASSES), 0, monkeypatch)
    losses_and_gradients({"target": "ensemble"}, (ROWS, CLASSES), 0, monkeypatch)
    losses_and_gradients({}, (ROWS, CLASSES), 2**15, monkeypatch)
    assert calls == ["kl"]


@pytest.mark.parametrize("few", [0, 2**15])
def test_a_loss_does_not_depend_on_who_else_is_asked_for(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one process equals several, to the last bit."""
    monkeypatch.setattr(predictions, "FEW", few)
    outputs = {name: PeerOutput(z) for name, z in logits(2.0).items()}
    for divergence in (*SUMMABLE, "js"):
        made = TransferGraph({"divergence": divergence}, NAMES)
        together = made.losses(outputs)
        for name in NAMES:
            assert torch.equal(made.losses(outputs, learners=[name])[name], together[name])
