"""`knowledge: rankings`: distributions over the candidates that both ends serve."""

import pytest
import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.divergences import kl, renyi

ROWS, CANDIDATES = 3, 5


def scores(seed: int) -> Tensor:
    drawn = torch.randn(ROWS, CANDIDATES, generator=torch.Generator().manual_seed(seed))
    return (2 * drawn).requires_grad_()


def losses(a: PeerOutput, b: PeerOutput, **edge: object) -> dict[str, Tensor]:
    graph = TransferGraph({"knowledge": "rankings", **edge}, ["a", "b"])
    return graph.losses({"a": a, "b": b})


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_it_is_the_divergence_of_distributions_over_candidates(temperature: float) -> None:
    a, b = scores(0), scores(1)
    found = losses(PeerOutput(a), PeerOutput(b), temperature=temperature)["a"]
    p, q = ((each / temperature).log_softmax(1) for each in (b.detach(), a))
    torch.testing.assert_close(found, temperature**2 * kl(p, q).mean())
    found.backward()
    assert b.grad is None and a.grad is not None
    order = losses(PeerOutput(a), PeerOutput(b), divergence="renyi", alpha=2.0)["a"]
    p, q = b.log_softmax(1), a.log_softmax(1)
    torch.testing.assert_close(order, renyi(p, q, 2.0).mean())


def test_only_what_both_serve_is_compared_and_sums_to_one() -> None:
    a, b = scores(0), scores(1)
    served = torch.tensor([True, True, False, True, True])
    rows = torch.tensor([[True, False, True, True, True]]).repeat(ROWS, 1)
    found = losses(PeerOutput(a, {"served": served}), PeerOutput(b, {"served": rows}))["a"]
    left = [0, 3, 4]
    p, q = b[:, left].log_softmax(1).detach(), a[:, left].log_softmax(1)
    torch.testing.assert_close(found, kl(p, q).mean())
    found.backward()
    assert a.grad is not None
    assert (a.grad[:, [1, 2]] == 0).all(), "what one of them does not serve gets no gradient"
    other = losses(PeerOutput(a, {"served": served}), PeerOutput(b))["a"]
    left = [0, 1, 3, 4]
    torch.testing.assert_close(
        other, kl(b[:, left].log_softmax(1), a[:, left].log_softmax(1)).mean()
    )


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("candidates", ["all", "negatives"])
def test_sums_over_candidates_are_the_divergence_of_every_pair(
    scale: float, candidates: str
) -> None:
    """Scores that are far apart leave sums of nothing, which are then not used."""
    positives = torch.eye(ROWS, CANDIDATES)
    served = {
        "a": torch.tensor([True, True, True, False, True]),
        "b": torch.tensor([True, False, True, True, True]),
        "c": torch.ones(CANDIDATES).bool(),
    }
    gradients = []
    for features in (served, {name: each.repeat(ROWS, 1) for name, each in served.items()}):
        given = {name: (scale * scores(seed)).detach() for seed, name in enumerate(served)}
        outputs = {
            n: PeerOutput(z.requires_grad_(), {"served": features[n]}) for n, z in given.items()
        }
        graph = TransferGraph({"knowledge": "rankings", "candidates": candidates}, list(served))
        found = graph.losses(outputs, positives)
        torch.stack(list(found.values())).sum().backward()
        gradients.append([*found.values(), *(z.grad for z in given.values())])
    for by_sums, by_pairs in zip(*gradients, strict=True):
        torch.testing.assert_close(by_sums, by_pairs, rtol=1e-4, atol=1e-5)


def test_rows_without_a_common_candidate_count_nothing_and_stay_finite() -> None:
    a, b = scores(0), scores(1)
    mine = torch.tensor([[True] * 2 + [False] * 3, [False] * 5, [True] * 5])
    theirs = torch.tensor([[False] * 2 + [True] * 3, [True] * 5, [True] * 5])
    found = losses(PeerOutput(a, {"served": mine}), PeerOutput(b, {"served": theirs}))["a"]
    p, q = b[2:].log_softmax(1), a[2:].log_softmax(1)
    torch.testing.assert_close(found, kl(p, q).sum() / ROWS)
    found.backward()
    assert a.grad is not None and a.grad.isfinite().all()
    assert (a.grad[:2] == 0).all()


def test_without_positives_only_the_others_of_a_row_are_compared() -> None:
    a, b = scores(0), scores(1)
    positives = torch.zeros(ROWS, CANDIDATES)
    positives[:, 2] = positives[0, 4] = 1
    graph = TransferGraph({"knowledge": "rankings", "candidates": "negatives"}, ["a", "b"])
    found = graph.losses({"a": PeerOutput(a), "b": PeerOutput(b)}, positives)["a"]
    total = 0.0
    for row, left in enumerate([[0, 1, 3], [0, 1, 3, 4], [0, 1, 3, 4]]):
        p, q = (each.detach()[row, left].log_softmax(0) for each in (b, a))
        total += float((p.exp() * (p - q)).sum())
    assert found.item() == pytest.approx(total / ROWS, rel=1e-5)
    found.backward()
    assert a.grad is not None
    assert (a.grad[positives > 0] == 0).all(), "what a user listened to, the data teach"
    with pytest.raises(InputError, match=r"candidates: 'negatives' are found by targets"):
        losses(PeerOutput(scores(0)), PeerOutput(scores(1)), candidates="negatives")


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match=r"rankings are of the same candidates"):
        losses(PeerOutput(scores(0)), PeerOutput(scores(1)[:, :4]))
    with pytest.raises(InputError, match=r"'a' says of 4 candidates whether it serves them"):
        losses(PeerOutput(scores(0), {"served": torch.ones(4).bool()}), PeerOutput(scores(1)))
    with pytest.raises(InputError, match=r"transfer\.divergence: 'mse' with knowledge 'rankings'"):
        losses(PeerOutput(scores(0)), PeerOutput(scores(1)), divergence="mse")
    with pytest.raises(InputError, match=r"transfer\.target: 'ensemble' with knowledge"):
        losses(PeerOutput(scores(0)), PeerOutput(scores(1)), target="ensemble")
