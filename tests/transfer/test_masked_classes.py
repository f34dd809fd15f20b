"""Classes that networks mask by a logit of −∞ count nothing, in every divergence and metric."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import peerlearn
from peerlearn.errors import RunError
from peerlearn.metrics.assessment import ClassificationAssessment
from peerlearn.objectives.base import Classification, mean_entropy
from peerlearn.transfer.divergences import DIVERGENCE_NAMES
from peerlearn.transfer.outputs import log_probabilities

ROWS, CLASSES = 12, 6
ALLOWED = [0, 2, 3, 5]
CHOICES = {
    **{name: {"divergence": name} for name in DIVERGENCE_NAMES if name != "renyi"},
    **{f"renyi {alpha}": {"divergence": "renyi", "alpha": alpha} for alpha in (0.5, 1.001, 2)},
    "warm": {"divergence": "kl", "temperature": 3},
    "ensemble": {"divergence": "kl", "target": "ensemble"},
    "confident": {"divergence": "kl", "gate": "confident", "gate_threshold": 0.4},
    "correct": {"divergence": "kl", "gate": "correct"},
    "clamped": {"divergence": "kl", "clamp": 1e-9},
}


class Given(nn.Module):
    """A network whose logits are what it is given, its parameters, some of them masked."""

    def __init__(self, seed: int, masked: list[int] | None = None, classes: int = CLASSES):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(ROWS, CLASSES, generator=generator)
        self.logits = nn.Parameter(logits if classes == CLASSES else logits[:, ALLOWED])
        self.masked = masked

    def forward(self, x):
        if self.masked is None:
            return self.logits
        mask = torch.zeros(CLASSES, dtype=torch.bool)
        mask[self.masked] = True
        return self.logits.masked_fill(mask, -math.inf)


def losses_and_gradients(nets, transfer, y):
    cohort = peerlearn.Cohort(nets, transfer=transfer)
    outputs = cohort(torch.zeros(ROWS, 1))
    torch.manual_seed(0)
    cohort.transfer.prepare(outputs, cohort.peers)
    losses = cohort.losses(outputs, y)
    torch.stack([loss.total for loss in losses.values()]).sum().backward()
    transferred = {name: loss.transfer.item() for name, loss in losses.items()}
    return transferred, {name: net.logits.grad for name, net in nets.items()}


@pytest.mark.parametrize("peers", [2, 3])
@pytest.mark.parametrize("many", [False, True], ids=["rows", "pixels"])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_masked_class_counts_as_if_it_were_not_there(choice, many, peers, monkeypatch):
    if many:  # the way that larger outputs go
        monkeypatch.setattr("peerlearn.transfer.knowledge.predictions.FEW", 0)
    hidden = [c for c in range(CLASSES) if c not in ALLOWED]
    y = torch.arange(ROWS) % len(ALLOWED)
    masked = {f"p{n}": Given(n, hidden) for n in range(peers)}
    alone = {f"p{n}": Given(n, classes=len(ALLOWED)) for n in range(peers)}
    found, found_grad = losses_and_gradients(masked, CHOICES[choice], torch.tensor(ALLOWED)[y])
    expected, expected_grad = losses_and_gradients(alone, CHOICES[choice], y)
    for name in masked:
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6)
        assert found[name] != 0 or choice == "correct"
        torch.testing.assert_close(found_grad[name][:, ALLOWED], expected_grad[name])
        assert (found_grad[name][:, hidden] == 0).all()


@pytest.mark.parametrize(
    "more",
    [
        {"weighting": "sample"},
        {"weighting": {"by": "class", "activation": "sigmoid"}},
        {"temperature": "learned"},
        {"classes": "non_target"},
    ],
    ids=str,
)
def test_what_edges_learn_stays_finite_where_classes_are_masked(more):
    nets = {name: Given(n, [1, 4]) for n, name in enumerate("abc")}
    y = torch.tensor(ALLOWED)[torch.arange(ROWS) % len(ALLOWED)]
    found, gradients = losses_and_gradients(nets, more, y)
    assert all(0 < value < 100 for value in found.values())
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("peers", ["ab", "abc"])
@pytest.mark.parametrize("divergence", ["kl", "symmetric_kl", "mse"])
def test_a_learner_that_masks_what_its_teacher_holds_possible_has_an_infinite_loss(
    divergence, peers
):
    nets = {name: Given(n, [1] if name == "a" else None) for n, name in enumerate(peers)}
    cohort = peerlearn.Cohort(nets, transfer={"divergence": divergence})
    losses = cohort.losses(cohort(torch.zeros(ROWS, 1)), torch.zeros(ROWS, dtype=torch.long))
    assert losses["a"].transfer.item() == math.inf
    if divergence == "kl":  # the teacher's 0 · log 0: the learner may hold more possible
        assert math.isfinite(losses["b"].transfer.item())


def test_training_stops_where_a_learner_masks_what_its_teacher_holds_possible(tiny_rows):
    class Masking(nn.Linear):
        def forward(self, x):
            mask = torch.tensor([False, True, False])
            return super().forward(x).masked_fill(mask, -math.inf)

    arrays = tiny_rows(y=[0, 2])
    nets = {"a": Masking(4, 3), "b": nn.Linear(4, 3)}
    with pytest.raises(RunError, match=r"peer 'a': its transfer loss became inf"):
        peerlearn.fit(peerlearn.Cohort(nets), arrays, epochs=1, batch_size=8)
    result = peerlearn.fit(
        peerlearn.Cohort({"a": Masking(4, 3), "c": Masking(4, 3)}), arrays, epochs=1, batch_size=8
    )
    assert all(math.isfinite(v) for v in result.block["ensemble"].values())


@pytest.fixture
def tiny_rows():
    def arrays(y):
        generator = torch.Generator().manual_seed(0)
        made = {}
        for part, rows in (("train", 32), ("test", 12)):
            made[f"x_{part}"] = torch.randn(rows, 4, generator=generator)
            made[f"y_{part}"] = torch.tensor(y)[torch.arange(rows) % len(y)]
        return made | {"class_names": np.array(["zero", "one", "two"])}

    return arrays


def test_entropy_and_its_gradient_leave_masked_classes_out():
    z = Given(0, [1, 4])
    mean_entropy(z(None), torch.ones(ROWS, dtype=torch.bool)).backward()
    assert z.logits.grad.isfinite().all()
    value = mean_entropy(z(None), torch.ones(ROWS, dtype=torch.bool)).item()
    p = z.logits[:, ALLOWED].double().softmax(1)
    assert value == pytest.approx(-(p * p.log()).sum(1).mean().item(), rel=1e-6)


@pytest.mark.parametrize("more", [{}, {"label_smoothing": 0.1}, {"entropy": 0.5}], ids=str)
def test_a_masked_label_of_several_counts_as_if_it_were_not_there(more):
    y = (torch.rand(ROWS, CLASSES, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    y[:, [1, 4]] = 0
    found = {}
    for kind, labels in (("masked", y), ("alone", y[:, ALLOWED])):
        nets = {}
        for seed, name in enumerate("ab"):
            nets[name] = Given(seed, [1, 4]) if kind == "masked" else Given(seed, classes=4)
        cohort = peerlearn.Cohort(nets, form="sigmoid", objective=Classification(**more))
        loss = cohort.loss(torch.zeros(ROWS, 1), labels)
        loss.backward()
        found[kind] = loss.item(), nets["a"].logits.grad
    assert found["masked"][0] == pytest.approx(found["alone"][0], rel=1e-6)
    assert torch.allclose(found["masked"][1][:, ALLOWED], found["alone"][1], atol=1e-6)
    assert (found["masked"][1][:, [1, 4]] == 0).all()


def test_a_label_that_is_there_and_masked_costs_infinitely_much():
    y = torch.ones(ROWS, CLASSES)
    cohort = peerlearn.Cohort({"a": Given(0, [1])}, transfer="none", form="sigmoid")
    assert cohort.loss(torch.zeros(ROWS, 1), y).item() == math.inf


def test_metrics_of_peers_and_ensemble_leave_masked_classes_out():
    y = torch.arange(ROWS) % len(ALLOWED)
    masked, alone = ClassificationAssessment(), ClassificationAssessment()
    masked.add({n: Given(i, [1, 4])(None) for i, n in enumerate("ab")}, torch.tensor(ALLOWED)[y])
    alone.add({n: Given(i, classes=4)(None) for i, n in enumerate("ab")}, y)
    found, expected = masked.result(), alone.result()
    for who in ("mean_peer", "ensemble"):
        for metric, value in expected[who].items():
            assert found[who][metric] == pytest.approx(value, rel=1e-9), metric


def test_log_probabilities_of_finite_logits_are_those_of_torch_to_the_last_bit():
    z = 40 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(log_probabilities(z), z.log_softmax(1))
