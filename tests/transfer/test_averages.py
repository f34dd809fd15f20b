"""Averages of peers' weights as teachers: the formula, what they read, what they leave alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.errors import InputError
from peerlearn.transfer import TransferGraph
from peerlearn.transfer.averages import AveragedPeer

MEAN_TEACHER = {"from": "self", "teacher_ema": 0.75}


def net(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2, -1, -1, 0])


def steps(cohort, count, first=0):
    """Train for some steps and give the losses; every one draws dropout from its number."""
    optimiser = torch.optim.SGD([*cohort.peers.parameters()], lr=0.3)
    losses = []
    for number in range(first, first + count):
        torch.manual_seed(number)
        loss = cohort.loss(*batch(number))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_the_average_is_the_mean_until_the_decay_takes_over():
    """θ' ← α θ' + (1 − α) θ with α = min(decay, n / (n + 1)); Tarvainen & Valpola 2017, eq. 1."""
    peer = nn.Linear(1, 1)
    average = AveragedPeer(peer, 0.75)
    values, expected = [1.0, 5.0, 3.0, 7.0, -4.0, 8.0], None
    for n, value in enumerate(values):
        nn.init.constant_(peer.weight, value)
        average.follow(peer)
        alpha = min(0.75, n / (n + 1))
        expected = value if expected is None else alpha * expected + (1 - alpha) * value
        assert average.network.weight.item() == pytest.approx(expected)
        if n < 4:
            assert average.network.weight.item() == pytest.approx(sum(values[: n + 1]) / (n + 1))


def test_statistics_are_averaged_and_counters_copied():
    peer = net(0)
    average = AveragedPeer(peer, 0.75)
    average.follow(peer)
    before = peer[1].running_mean.clone()
    peer(batch()[0])
    average.follow(peer)
    followed = average.network[1]
    torch.testing.assert_close(followed.running_mean, (before + peer[1].running_mean) / 2)
    assert followed.num_batches_tracked == peer[1].num_batches_tracked == 1


def test_the_edge_pulls_a_peer_to_what_its_average_says():
    peer, (x, y) = net(0), batch()
    peer[2].p = 0.0
    cohort = Cohort({"a": peer}, MEAN_TEACHER | {"weight": 2.0})
    steps(cohort, 3)
    followed = copy.deepcopy(next(iter(cohort.transfer.averages.values())))
    followed.follow(peer)
    logits = copy.deepcopy(peer)(x)
    teacher = followed.network(x)
    expected = F.cross_entropy(logits[y >= 0], y[y >= 0])
    p, log_q = teacher.softmax(1), logits.log_softmax(1)
    expected = expected + 2 * (p * (p.log() - log_q)).sum(1).mean()
    torch.testing.assert_close(cohort.loss(x, y), expected)


def test_averages_of_others_teach_too_and_are_told_as_their_peers():
    graph = TransferGraph({"teacher_ema": 0.9}, ["a", "b"])
    assert [(edge["from"], edge["to"], edge["teacher_ema"]) for edge in graph.edges()] == [
        ("b", "a", 0.9),
        ("a", "b", 0.9),
    ]
    cohort = Cohort({"a": net(0), "b": net(1)}, graph)
    x, _ = batch()
    averaged = cohort.averaged(x, learners=["a"])
    assert list(averaged) == ["b:ema0_9"]
    torch.testing.assert_close(averaged["b:ema0_9"].logits, cohort.peers["b"].eval()(x))


def test_an_average_reads_the_view_of_its_peer():
    cohort = Cohort({"a": net(0), "b": net(1)}, MEAN_TEACHER)
    views = {"a": batch(1)[0], "b": batch(2)[0]}
    cohort.eval()
    for name, output in cohort.averaged(views).items():
        peer = name[0]
        torch.testing.assert_close(output.logits, cohort.peers[peer](views[peer]))


def test_an_average_can_read_a_view_of_its_own():
    cohort = Cohort({"a": net(0)}, MEAN_TEACHER | {"teacher_view": 2})
    cohort.eval()
    (name,) = cohort.transfer.averages.of
    views = {"a": batch(1)[0], name: batch(2)[0]}
    found = cohort.averaged(views)[name].logits
    torch.testing.assert_close(found, cohort.peers["a"](views[name]))
    with pytest.raises(InputError, match=rf"teacher_view: {name} reads a view of its own"):
        cohort.loss(*batch())


@pytest.mark.parametrize(
    "edge", [{"knowledge": "features", "layer": "hidden"}, {"knowledge": "relations", "memory": 8}]
)
def test_other_kinds_of_knowledge_come_from_averages_too(edge):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            from peerlearn.transfer import PeerOutput

            hidden = self.hidden(x).relu()
            return PeerOutput(self.head(hidden), {"hidden": hidden})

    def losses(decay):
        torch.manual_seed(0)
        cohort = Cohort({"a": Named()}, {"from": "self", "teacher_ema": decay, **edge})
        cohort.transfer.prepare(cohort(batch()[0]), cohort.peers)
        return steps(cohort, 4)

    assert losses(0.5) != losses(0.01)


def test_an_average_leaves_modes_randomness_and_gradients_alone():
    cohort = Cohort({"a": net(0), "b": net(1)}, MEAN_TEACHER)
    alone = Cohort({"a": net(0), "b": net(1)}, "none")
    drawn = []
    for made in (cohort, alone):
        made.train()
        torch.manual_seed(3)
        made.loss(*batch())
        drawn.append(torch.rand(4))
    assert torch.equal(*drawn)
    assert torch.equal(cohort.peers["a"][1].running_mean, alone.peers["a"][1].running_mean)
    assert all(peer.training for peer in cohort.peers.values())
    averages = cohort.transfer.averages
    assert not any(part.training for average in averages.values() for part in average.modules())
    assert not any(weight.requires_grad for weight in averages.parameters())


def test_a_loss_that_does_not_train_moves_no_average():
    cohort = Cohort({"a": net(0)}, MEAN_TEACHER)
    steps(cohort, 2)
    held = copy.deepcopy(cohort.transfer.averages.state_dict())
    cohort.eval()
    cohort.loss(*batch())
    with torch.no_grad():
        cohort.train().loss(*batch())
    for name, value in cohort.transfer.averages.state_dict().items():
        assert torch.equal(value, held[name]), name


def test_a_loop_of_ones_own_resumes_from_the_state_of_its_cohort():
    def made():
        return Cohort({"a": net(0), "b": net(1)}, MEAN_TEACHER)

    whole, cut, again = made(), made(), made()
    expected = steps(whole, 6)
    steps(cut, 3)
    again.load_state_dict(cut.state_dict())
    assert steps(again, 3, first=3) == expected[3:]


def test_mistakes_are_told():
    with pytest.raises(InputError, match=r"teacher_ema: peers on a shared trunk"):
        Cohort({"a": nn.Linear(4, 3)}, MEAN_TEACHER, trunk=nn.Linear(4, 4))
    cohort = Cohort({"a": net(0)}, MEAN_TEACHER)
    x, y = batch()
    with pytest.raises(InputError, match=r"no outputs of a:ema0_75; give those of cohort.averaged"):
        cohort.losses(cohort(x), y)
    assert cohort.losses(cohort(x) | cohort.averaged(x), y).keys() == {"a"}
