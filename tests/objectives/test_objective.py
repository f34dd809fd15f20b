"""What can be an objective, and what it sees of its peer."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import peerlearn
from peerlearn import Cohort
from peerlearn.engine.monitor import EpochMonitor
from peerlearn.engine.steps import StepResult
from peerlearn.errors import InputError
from peerlearn.objectives.base import Classification, Objective, PeerView, as_objective
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.segmentation.objectives import Segmentation
from peerlearn.transfer import PeerOutput


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def plain(function: object, z: torch.Tensor, y: torch.Tensor, form: str = "softmax") -> float:
    return as_objective(function).loss(PeerView.of(PeerOutput(z), y, form=form))


def test_objectives_are_taken_as_they_are() -> None:
    for objective in (Classification(), Segmentation()):
        assert as_objective(objective) is objective


@pytest.mark.parametrize("given", [nn.CrossEntropyLoss, "ce", 3, None])
def test_what_is_no_objective_is_refused(given: object) -> None:
    with pytest.raises(InputError, match=r"objective: found .*nn\.CrossEntropyLoss\(\)"):
        as_objective(given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_plain_loss_gets_logits_in_fp32_of_labelled_rows(dtype: torch.dtype) -> None:
    z, y = drawn(4, 3).to(dtype), torch.tensor([0, -1, 2, -1])
    expected = F.cross_entropy(z[[0, 2]].float(), y[[0, 2]])
    torch.testing.assert_close(plain(nn.CrossEntropyLoss(), z, y), expected)


def test_pixels_are_rows_to_a_plain_loss() -> None:
    z, y = drawn(2, 3, 4, 5), torch.randint(-1, 3, (2, 4, 5))
    expected = Classification().loss(PeerView.of(PeerOutput(z), y))
    torch.testing.assert_close(plain(nn.CrossEntropyLoss(), z, y), expected)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 5)])
def test_a_plain_loss_of_labels_gets_the_rows_whose_labels_are_known(shape: tuple) -> None:
    z, y = drawn(*shape), torch.randint(2, shape).float()
    y[1] = math.nan
    rows = [0, 2, 3]
    expected = F.binary_cross_entropy_with_logits(z[rows], y[rows])
    torch.testing.assert_close(plain(nn.BCEWithLogitsLoss(), z, y, "sigmoid"), expected)


def test_without_a_labelled_row_a_plain_loss_is_0_with_a_gradient() -> None:
    z = drawn(4, 3)
    found = plain(nn.CrossEntropyLoss(), z, torch.full((4,), -1))
    found.backward()
    assert found == 0
    assert torch.equal(z.grad, torch.zeros(4, 3))


def test_labels_must_be_of_the_form_of_the_cohort() -> None:
    for objective in (Classification(), nn.CrossEntropyLoss()):
        with pytest.raises(InputError, match="in a cohort of form 'softmax'"):
            plain(objective, drawn(4, 3), torch.zeros(4, 3))
        with pytest.raises(InputError, match="that are no labels"):
            plain(objective, drawn(4, 3), torch.zeros(4))


def test_a_plain_loss_trains_as_the_objective_that_is_the_same() -> None:
    given = {
        f"{what}_{part}": each.detach()[: 24 if part == "train" else 8]
        for part in ("train", "val", "test")
        for what, each in (("x", drawn(24, 4)), ("y", torch.arange(24) % 3))
    }
    weights = []
    for objective in (
        Classification(label_smoothing=0.2),
        nn.CrossEntropyLoss(label_smoothing=0.2),
    ):
        with seeded_rng(0):
            cohort = Cohort({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}, objective=objective)
        peerlearn.fit(cohort, given, epochs=2, batch_size=8, precision="fp32", device="cpu")
        weights.append(nn.utils.parameters_to_vector(cohort.parameters()))
    torch.testing.assert_close(*weights)


class Embedding(nn.Module):
    """Users and items as points; a row is (user, item), its output their inner product."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(5, 3), nn.Embedding(7, 3)

    def forward(self, users: torch.Tensor) -> torch.Tensor:
        return self.users(users) @ self.items.weight.T


class Ranking(Objective):
    """BPR (Rendle et al. 2009): an item that a user liked before one that was not met."""

    def loss(self, view: PeerView) -> torch.Tensor:
        liked, other = view.targets
        scores = view.output.logits
        rows = torch.arange(len(scores))
        decay = sum(p.square().sum() for p in view.peer.parameters())
        return -F.logsigmoid(scores[rows, liked] - scores[rows, other]).mean() + 0.01 * decay

    def scored(self, output: PeerOutput) -> None:
        return None


@pytest.mark.parametrize("stacked", [False, True])
def test_targets_need_not_be_labels_and_an_objective_sees_its_peer(stacked: bool) -> None:
    with seeded_rng(0):
        peers = {"a": Embedding(), "b": Embedding()}
    cohort = Cohort(peers, "none", objective=Ranking())
    users, liked, other = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    targets = torch.stack([liked, other]) if stacked else (liked, other)
    losses = cohort.losses(cohort(users), targets)
    for name, peer in peers.items():
        decay = 0.01 * sum(p.square().sum() for p in peer.parameters())
        z = peer(users)
        margin = torch.stack([z[i, liked[i]] - z[i, other[i]] for i in range(3)])
        torch.testing.assert_close(losses[name].total, -F.logsigmoid(margin).mean() + decay)
    cohort.loss(users, targets).backward()
    assert all(p.grad.any() for p in cohort.peers.parameters())


def test_a_monitor_counts_no_accuracy_where_nothing_is_scored() -> None:
    monitor = EpochMonitor(["a"], torch.device("cpu"))
    cohort = Cohort({"a": Embedding()}, "none", objective=Ranking())
    users, targets = torch.tensor([0, 1]), (torch.tensor([0, 1]), torch.tensor([2, 3]))
    losses = cohort.losses(cohort(users), targets)
    monitor.add(0, StepResult(0, losses, {}, targets, None))
    assert set(monitor.means(lambda sums: sums)["a"]) == {"loss", "objective", "transfer"}
