"""A cohort: who gets which gradient, what a loss costs, what can be a peer."""

import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from peerlearn.cohort import Cohort
from peerlearn.errors import InputError
from peerlearn.objectives.base import Classification
from peerlearn.transfer import PeerOutput, TransferGraph

NAMES = ["a", "b", "c"]
X = torch.randn(8, 6, generator=torch.Generator().manual_seed(5))
Y = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
TRANSFERS = [
    "predictions: kl",
    "predictions: js",
    "predictions: mse",
    {"divergence": "renyi", "alpha": 1.5},
    {"target": "ensemble"},
    {"target": "sum", "temperature": 3.0, "gate": "correct"},
    {"edges": [{"from": "a", "to": "b"}, {"from": "c", "divergence": "reverse_kl"}]},
]


def net(seed, inputs=6, classes=4, width=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, classes))


def nets(names=NAMES, **arguments):
    return {name: net(seed, **arguments) for seed, name in enumerate(names)}


def gradient(scalar, module):
    found = torch.autograd.grad(
        scalar, list(module.parameters()), retain_graph=True, allow_unused=True
    )
    return [torch.zeros(()) if g is None else g for g in found]


def flows(scalar, module):
    return any(g.any() for g in gradient(scalar, module))


# ---- invariant 1 ---------------------------------------------------------------------------


@pytest.mark.parametrize("transfer", TRANSFERS, ids=str)
def test_invariant_1_gradients_never_leak(transfer):
    cohort = Cohort(nets(), transfer)
    losses = cohort.losses(cohort(X), Y)
    for i in NAMES:
        for j in NAMES:
            assert flows(losses[i].total, cohort.peers[j]) == (i == j), (i, j)


@pytest.mark.parametrize("transfer", TRANSFERS, ids=str)
def test_invariant_1_gradients_never_leak_through_the_one_backward(transfer):
    cohort = Cohort(nets(), transfer)
    cohort.loss(X, Y).backward()
    losses = cohort.losses(cohort(X), Y)
    for name in NAMES:
        own = gradient(losses[name].total, cohort.peers[name])
        for parameter, expected in zip(cohort.peers[name].parameters(), own, strict=True):
            torch.testing.assert_close(parameter.grad, expected)


def test_invariant_1_gradients_never_leak_without_labels():
    cohort = Cohort(nets())
    losses = cohort.losses(cohort(X), torch.full((8,), -1))
    for i in NAMES:
        assert losses[i].objective.item() == 0
        for j in NAMES:
            assert flows(losses[i].total, cohort.peers[j]) == (i == j)


def test_without_detach_the_teacher_hears_its_learner():
    cohort = Cohort(nets(), {"detach": False})
    losses = cohort.losses(cohort(X), Y)
    for i in NAMES:
        for j in NAMES:
            assert flows(losses[i].total, cohort.peers[j])


def test_an_edge_that_does_not_detach_opens_nothing_else():
    cohort = Cohort(nets(), {"from": "a", "to": "b", "detach": False})
    losses = cohort.losses(cohort(X), Y)
    open_pairs = {(i, j) for i in NAMES for j in NAMES if flows(losses[i].total, cohort.peers[j])}
    assert open_pairs == {("a", "a"), ("b", "b"), ("c", "c"), ("b", "a")}


def test_sharing_a_trunk_is_explicit_and_its_gradient_is_the_sum_over_peers():
    trunk = net(9, classes=6)
    cohort = Cohort(nets(), trunk=trunk)
    losses = cohort.losses(cohort(X), Y)
    per_peer = [gradient(losses[name].total, trunk) for name in NAMES]
    assert all(any(g.any() for g in own) for own in per_peer)
    for i in NAMES:
        for j in NAMES:
            assert flows(losses[i].total, cohort.peers[j]) == (i == j)
    cohort.loss(X, Y).backward()
    for parameter, *parts in zip(trunk.parameters(), *per_peer, strict=True):
        torch.testing.assert_close(parameter.grad, sum(parts))


# ---- invariant 2 and cost ------------------------------------------------------------------


def count_calls(modules):
    calls = []
    for module in modules:
        module.register_forward_hook(lambda m, _, __: calls.append(m))
    return calls


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("update", ["all", "none"])
def test_invariant_2_a_loss_costs_exactly_k_forwards(count, update):
    names = ["a", "b", "c", "d", "e"][:count]
    cohort = Cohort(nets(names), {"edges": update if count > 1 else "none"})
    calls = count_calls(cohort.peers.values())
    cohort.loss(X, Y).backward()
    assert calls == list(cohort.peers.values())


def test_invariant_2_a_shared_trunk_runs_once():
    cohort = Cohort(nets(), trunk=net(9, classes=6))
    calls = count_calls([cohort.trunk, *cohort.peers.values()])
    cohort.loss(X, Y)
    assert calls == [cohort.trunk, *cohort.peers.values()]


class CountLogSoftmax(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._log_softmax.default
        return func(*args, **(kwargs or {}))


def test_log_softmaxes_grow_with_the_peers_not_with_the_pairs():
    cohort = Cohort(nets(["a", "b", "c", "d", "e"]))
    with CountLogSoftmax() as counter:
        cohort.loss(X, Y)
    assert counter.count <= 2 * 5  # one for the objective, one for the edges


# ---- losses --------------------------------------------------------------------------------


def test_the_loss_is_deep_mutual_learning():
    cohort = Cohort(nets(["a", "b"]))
    za, zb = (cohort.peers[n](X) for n in "ab")
    expected = F.cross_entropy(za, Y) + F.cross_entropy(zb, Y)
    for learner, teacher in ((za, zb), (zb, za)):
        expected = expected + F.kl_div(
            F.log_softmax(learner, -1), F.softmax(teacher, -1), reduction="batchmean"
        )
    torch.testing.assert_close(cohort.loss(X, Y), expected)


@pytest.mark.parametrize("transfer", ["none", None])
def test_a_single_peer_without_transfer_is_plain_cross_entropy(transfer):
    cohort = Cohort({"solo": net(0)}, transfer)
    torch.testing.assert_close(cohort.loss(X, Y), F.cross_entropy(cohort.peers["solo"](X), Y))


def test_without_edges_every_peer_trains_as_if_alone():
    cohort = Cohort(nets(), "none")
    cohort.loss(X, Y).backward()
    for name, peer in cohort.peers.items():
        alone = net(NAMES.index(name))
        F.cross_entropy(alone(X), Y).backward()
        for ours, theirs in zip(peer.parameters(), alone.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad)


def test_unlabelled_rows_teach_but_are_not_taught_labels():
    cohort = Cohort(nets(["a", "b"]))
    y = Y.clone()
    y[4:] = -1
    out = {name: PeerOutput(o.logits.detach().requires_grad_()) for name, o in cohort(X).items()}
    losses = cohort.losses(out, y)
    (ce,) = torch.autograd.grad(losses["a"].objective, out["a"].logits)
    (kl,) = torch.autograd.grad(losses["a"].transfer, out["a"].logits)
    assert (ce.abs().sum(-1) > 0).tolist() == [True] * 4 + [False] * 4
    assert (kl.abs().sum(-1) > 0).all()


@pytest.mark.parametrize(("rows", "seen"), [("labelled", slice(4)), ("unlabelled", slice(4, 8))])
def test_targets_tell_the_edges_which_rows_are_labelled(rows, seen):
    cohort = Cohort(nets(["a", "b"]), {"rows": rows})
    y = Y.clone()
    y[4:] = -1
    every = Cohort(cohort.peers, "predictions: kl")
    expected = every.losses(every(X[seen]), Y[seen])["a"].transfer
    torch.testing.assert_close(cohort.losses(cohort(X), y)["a"].transfer, expected)


def test_multi_label_cohort():
    y = torch.randint(0, 2, (8, 4), generator=torch.Generator().manual_seed(0)).float()
    y[0] = float("nan")
    cohort = Cohort(nets(["a", "b"]), form="sigmoid")
    out = {n: o.logits.detach() for n, o in cohort(X).items()}
    losses = cohort.losses(cohort(X), y)
    bce = F.binary_cross_entropy_with_logits(out["a"][1:], y[1:], reduction="none").sum(-1).mean()
    p, q = out["b"].sigmoid(), out["a"].sigmoid()
    kl = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(-1).mean()
    torch.testing.assert_close(losses["a"].objective.detach(), bce)
    torch.testing.assert_close(losses["a"].transfer.detach(), kl)


def test_segmentation_cohort():
    peers = {name: nn.Conv2d(3, 4, 1) for name in "ab"}
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    masks = torch.randint(-1, 4, (2, 5, 5), generator=torch.Generator().manual_seed(1))
    cohort = Cohort(peers)
    losses = cohort.losses(cohort(x), masks)
    za, zb = (peers[n](x) for n in "ab")
    torch.testing.assert_close(losses["a"].objective, F.cross_entropy(za, masks, ignore_index=-1))
    kl = F.kl_div(za.log_softmax(1), zb.softmax(1), reduction="none").sum(1).mean()
    torch.testing.assert_close(losses["a"].transfer, kl)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_fp32_under_autocast(dtype):
    cohort = Cohort(nets())
    with torch.autocast("cpu", dtype=dtype):
        loss = cohort.loss(X, Y)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in cohort.parameters())


def test_progress_reaches_the_schedules():
    cohort = Cohort(nets(["a", "b"]), {"weight_schedule": "linear"})
    out = cohort(X)
    full = cohort.losses(out, Y, progress=1.0)["a"].transfer
    torch.testing.assert_close(cohort.losses(out, Y, progress=0.25)["a"].transfer, full / 4)
    assert cohort.loss(X, Y, progress=0.0) < cohort.loss(X, Y, progress=1.0)
    with pytest.raises(InputError, match="progress"):
        cohort.loss(X, Y)


def test_learners_choose_whose_loss_is_made():
    cohort = Cohort(nets())
    out = cohort(X)
    some = cohort.losses(out, Y, learners=["c", "a"])
    assert list(some) == ["a", "c"]
    assert torch.equal(some["a"].total, cohort.losses(out, Y)["a"].total)


def test_an_objective_per_peer():
    smooth = Classification(label_smoothing=0.3)
    cohort = Cohort(nets(["a", "b"]), "none", objective={"a": Classification(), "b": smooth})
    losses = cohort.losses(cohort(X), Y)
    za, zb = (cohort.peers[n](X) for n in "ab")
    torch.testing.assert_close(losses["a"].total, F.cross_entropy(za, Y))
    torch.testing.assert_close(losses["b"].total, F.cross_entropy(zb, Y, label_smoothing=0.3))


def test_one_objective_of_ones_own_for_everybody():
    cohort = Cohort(nets(), "none", objective=lambda logits, y: logits.mean() * 0 + 2.0)
    assert cohort.loss(X, Y).item() == pytest.approx(6.0)


@pytest.mark.parametrize("given", [{"a": Classification()}, {n: Classification() for n in "abcd"}])
def test_objectives_that_do_not_fit_the_peers_are_refused(given):
    with pytest.raises(InputError, match=r"objective.*a, b, c"):
        Cohort(nets(), objective=given)


def test_sequential_updates_cannot_be_one_loss():
    cohort = Cohort(nets(), {"update": "sequential"})
    with pytest.raises(InputError, match=r"transfer\.update.*peerlearn\.fit"):
        cohort.loss(X, Y)


# ---- inputs and outputs --------------------------------------------------------------------


def test_each_peer_may_see_a_view_of_its_own():
    cohort = Cohort(nets())
    views = {name: X + i for i, name in enumerate(NAMES)}
    for name, output in cohort(views).items():
        assert torch.equal(output.logits, cohort.peers[name](views[name]))
    assert torch.isfinite(cohort.loss(views, Y))


def test_views_pass_the_trunk_one_by_one():
    trunk = net(9, classes=6)
    cohort = Cohort(nets(), trunk=trunk)
    views = {name: X + i for i, name in enumerate(NAMES)}
    for name, output in cohort(views).items():
        assert torch.equal(output.logits, cohort.peers[name](trunk(views[name])))


def test_a_mapping_that_is_not_views_is_the_input_of_every_peer():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net(0)

        def forward(self, batch):
            return self.net(batch["pixels"])

    cohort = Cohort({"a": Reads(), "b": Reads()})
    assert torch.equal(cohort({"pixels": X})["b"].logits, cohort.peers["b"].net(X))


class Returns(nn.Module):
    """A network whose output is wrapped the way of some other library."""

    def __init__(self, seed, wrap):
        super().__init__()
        self.net = net(seed)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize(
    "wrap",
    [
        PeerOutput,
        lambda z: PeerOutput(z, {"pooled": z}),
        lambda z: {"logits": z},
        lambda z: (z, z),
        lambda z: (z.sum(), z),
        lambda z: types.SimpleNamespace(logits=z, loss=None),
    ],
)
def test_networks_of_any_library_give_the_same_loss(wrap):
    wrapped = Cohort({name: Returns(i, wrap) for i, name in enumerate(NAMES)})
    torch.testing.assert_close(wrapped.loss(X, Y), Cohort(nets()).loss(X, Y))


def test_an_output_that_cannot_be_read_names_its_peer():
    cohort = Cohort({"a": net(0), "odd": Returns(1, lambda z: (z.sum(),))})
    with pytest.raises(InputError, match=r"'odd'.*tuple"):
        cohort.loss(X, Y)


def test_peers_with_different_classes_are_both_named():
    cohort = Cohort({"four": net(0), "five": net(1, classes=5)})
    with pytest.raises(InputError) as caught:
        cohort.loss(X, Y)
    for words in ("'four'", "'five'", "(8, 4)", "(8, 5)"):
        assert words in str(caught.value)


# ---- construction --------------------------------------------------------------------------


def test_construction_leaves_modes_and_randomness_alone():
    peers = nets()
    peers["a"].eval()
    before = torch.random.get_rng_state()
    cohort = Cohort(peers, trunk=nn.Identity())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not cohort.peers["a"].training
    assert cohort.peers["b"].training
    assert cohort.names == NAMES


def test_two_cohorts_do_not_share_what_they_learn_about_edges():
    peers = nets()
    with_edges, without = Cohort(peers), Cohort(peers, "none")
    assert with_edges.transfer.entries
    assert not without.transfer.entries


@pytest.mark.parametrize("name", ["a", "net-1", "ResNet_32", "0", "trunk", "peers"])
def test_plain_names_are_accepted(name):
    cohort = Cohort({name: net(0), "other": net(1)})
    assert name in cohort.names
    assert any(key.startswith(f"peers.{name}.") for key in cohort.state_dict())


REFUSED = ["", "a.b", "a b", "é", "a\n", "a/b", "all", "best", "ensemble", 3, None]
MODULE_DICT = ["keys", "values", "items", "pop", "clear", "update", "type", "training", "to"]


@pytest.mark.parametrize("name", [*REFUSED, *MODULE_DICT, "forward", "_modules"])
def test_names_that_cannot_name_a_peer_are_input_errors(name):
    with pytest.raises(InputError) as caught:
        Cohort({name: net(0), "other": net(1)})
    assert repr(name) in str(caught.value)


def test_a_cohort_needs_a_network():
    with pytest.raises(InputError, match="at least one"):
        Cohort({})


@pytest.mark.parametrize("thing", [net, "resnet32", None])
def test_what_is_not_a_module_is_refused(thing):
    with pytest.raises(InputError, match=r"peers\.b.*nn\.Module"):
        Cohort({"a": net(0), "b": thing})


def test_one_network_cannot_be_two_peers():
    same = net(0)
    with pytest.raises(InputError, match="'a' and 'b' share"):
        Cohort({"a": same, "b": same})


def test_one_network_without_parameters_cannot_be_two_peers():
    same = nn.Identity()
    with pytest.raises(InputError, match="'a' and 'b' share"):
        Cohort({"a": same, "b": same})


def test_peers_cannot_share_a_part():
    body = nn.Linear(6, 5)
    with pytest.raises(InputError, match=r"'a' and 'b' share.*trunk"):
        Cohort({n: nn.Sequential(body, nn.Linear(5, 4)) for n in "ab"})


def test_a_trunk_cannot_be_inside_a_peer_too():
    body = nn.Linear(6, 6)
    with pytest.raises(InputError, match=r"trunk.*'a'"):
        Cohort({"a": nn.Sequential(body, nn.Linear(6, 4)), "b": net(1)}, trunk=body)


def test_tied_weights_inside_one_peer_are_its_own_business():
    tied = nn.Linear(6, 6)
    cohort = Cohort({"a": nn.Sequential(tied, tied), "b": net(1, classes=6)})
    assert cohort.names == ["a", "b"]


def test_a_single_peer_with_edges_is_told_the_way_out():
    with pytest.raises(InputError, match="transfer: none"):
        Cohort({"solo": net(0)})


def test_an_unknown_peer_in_the_graph_is_named_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'left'"):
        Cohort({"left": net(0), "right": net(1)}, {"from": "lefft"})


@pytest.mark.parametrize("peers", [["a", "b"], ["a", "b", "c", "d"], ["x", "y", "z"]])
def test_a_graph_made_for_other_peers_is_refused(peers):
    graph = TransferGraph("predictions: kl", peers)
    with pytest.raises(InputError, match=f"{', '.join(peers)}.*a, b, c"):
        Cohort(nets(), graph)


def test_a_graph_made_for_these_peers_is_used():
    graph = TransferGraph({"weight": 2.0}, NAMES)
    cohort = Cohort(nets(), graph)
    assert cohort.transfer is graph
