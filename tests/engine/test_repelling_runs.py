"""Edges that repel in the engine: beside predictions, step by step, and from a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import StopAfter, tiny_trainer, weights
from tiny_posteriors import X, Y, bayesian, bayesian_cnn, pair

import peerlearn
from peerlearn.errors import InputError
from peerlearn.models.bayesian import Variational
from peerlearn.randomness import seeded_rng
from peerlearn.transfer.posterior_distances import posterior_distances

BAYESIAN = [
    "data.train_size=100",
    "epochs=2",
    "batch_size=32",
    "precision=fp32",
    "threads=1",
    "peers={a: {model: 'python:tiny_posteriors:bayesian_cnn'}, "
    "b: {model: 'python:tiny_posteriors:bayesian_cnn'}}",
]
FEATURES = "{knowledge: feature_distributions, weight: 0.01, supervised_fusion: true, width: 8}"
ALL = [
    f"transfer.edges=[{{}}, {{knowledge: posteriors, weight: 0.01}}, {FEATURES}]",
    "transfer.weight_schedule=constant",
]


def fusions(trainer: Any) -> dict[str, list[float]]:
    state = trainer.cohort.transfer.state_dict()
    assert any("fusions" in name for name in state)
    return {name: tensor.double().flatten().tolist() for name, tensor in state.items()}


def test_predictions_pull_together_while_posteriors_and_features_push_apart() -> None:
    """All three in one loss of a cohort of two networks made Bayesian, in a loop of one's own."""
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, -1] * 2)
    edges = [
        {},
        {"knowledge": "posteriors", "weight": 0.01, "normalise": True},
        {"knowledge": "feature_distributions", "weight": 0.01},
    ]

    def trained(edges: list[dict[str, Any]]) -> tuple[float, float]:
        with seeded_rng(0):
            peers = {name: bayesian_cnn((1, 8, 8), 3) for name in "ab"}
            cohort = peerlearn.Cohort(
                peers, {"edges": edges}, objective=Variational(rows=100, kl_weight=0.1, warm_up=0)
            )
            cohort.transfer.prepare(cohort(x), cohort.peers)
            learned = [*cohort.peers.parameters(), *cohort.transfer.parameters()]
            optimiser = torch.optim.SGD(learned, 0.02)
            losses = []
            for _ in range(8):
                optimiser.zero_grad()
                loss = cohort.loss(x, y)
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
        assert all(p.grad is not None for p in learned)
        apart = posterior_distances(cohort.peers)["a", "b"]
        return apart, losses[-1] - losses[0]

    apart, change = trained(edges)
    assert change < 0
    assert apart > trained([edges[0], *({**e, "weight": 1e-9} for e in edges[1:])])[0]


def test_a_fitted_step_is_that_of_one_loss_whose_posteriors_are_from_before_it() -> None:
    """Peer b would see what a's step has left, if peers stepped one after the other."""
    transfer = {"knowledge": "posteriors", "transform": "none", "weight": 0.5}

    def cohort() -> peerlearn.Cohort:
        made = pair(transfer, a=bayesian(0), b=bayesian(1))
        made.objectives = dict.fromkeys("ab", lambda logits, _: 0 * logits.sum())
        return made

    expected, fitted, before = cohort(), cohort(), cohort()
    expected.loss(X, Y).backward()
    with torch.no_grad():
        for p in expected.peers.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad
    plain = {
        "optimiser": {"name": "sgd", "momentum": 0, "weight_decay": 0},
        "lr_schedule": "constant",
    }
    options = plain | {"lr": 0.1, "batch_size": 6, "precision": "fp32", "epochs": 1}
    data = {"x_train": X, "x_val": X + 1, "x_test": X + 2}
    data |= {f"y_{part}": Y for part in ("train", "val", "test")}
    peerlearn.fit(fitted, data, evaluation={"select": "last"}, **options)
    ways = (made.peers.state_dict() for made in (expected, fitted, before))
    for name, (one, other, start) in zip(
        expected.peers.state_dict(), zip(*(way.values() for way in ways), strict=True), strict=True
    ):
        torch.testing.assert_close(one, other, msg=name)
        assert not name.endswith("weight") or not torch.allclose(one, start, rtol=1e-3)


def test_invariant_4_a_run_with_all_of_them_resumes_to_the_same_run(tmp_path: Path) -> None:
    whole = tiny_trainer(*ALL, base=BAYESIAN, folder=tmp_path / "whole")
    expected = whole.run()
    cut = tiny_trainer(*ALL, base=BAYESIAN, folder=tmp_path / "cut")
    cut.observe = StopAfter(5)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = tiny_trainer(*ALL, base=BAYESIAN, folder=tmp_path / "cut")
    result = again.run(resume=True)
    assert weights(again) == weights(whole)
    assert fusions(again) == fusions(whole)
    assert result.block["peers"] == expected.block["peers"]


def test_they_change_a_run_and_their_weight_zero_does_not() -> None:
    def run(*edges: str) -> dict[str, list[float]]:
        listed = f"transfer.edges=[{', '.join(['{}', *edges])}]"
        trainer = tiny_trainer(listed, ALL[1], "epochs=1", "data.train_size=60", base=BAYESIAN[2:])
        trainer.run()
        return weights(trainer)

    plain = run()
    for kind in ("posteriors", "feature_distributions", "other_classes"):
        assert run(f"{{knowledge: {kind}, weight: 0}}") == plain
        assert run(f"{{knowledge: {kind}}}") != plain


def test_a_run_whose_peer_has_no_posteriors_is_refused() -> None:
    with pytest.raises(InputError, match=r"transfer\.knowledge: .*peers\.[ab]\.bayesian"):
        tiny_trainer("transfer.knowledge=posteriors").run()
