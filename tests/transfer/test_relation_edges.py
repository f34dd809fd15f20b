"""Edges that teach relations: what they compare, what they remember, and what they refuse."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.knowledge.relations import (
    RowMemory,
    similarity_log_probs,
    unit_vectors,
)

ROWS, CLASSES, MEMORY = 6, 4, 8
WIDTHS = {"a": 5, "b": 3, "c": 7}
TARGETS = torch.tensor([0, -1, 2, 0, -1, 2])  # three rows, or pairs of three


def draw(*shape, key="x"):
    return torch.randn(*shape, generator=keyed_generator(0, key))


def outputs(step=0, rows=ROWS, names=WIDTHS):
    """Features that are leaves, so that gradients tell whom a loss reaches."""
    return {
        name: PeerOutput(
            draw(rows, CLASSES, key=f"logits {name} {step}"),
            {"pooled": draw(rows, WIDTHS[name], key=f"{name} {step}").requires_grad_()},
        )
        for name in names
    }


def graph(names="ab", **fields):
    peers = list(names)
    made = TransferGraph({"knowledge": "relations", "memory": MEMORY, **fields}, peers)
    with seeded_rng(0):
        made.prepare(outputs(names=peers))
    return made


def losses(made, of, targets=TARGETS, **more):
    return made.losses(of, targets, labelled=None if targets is None else targets != -1, **more)


def remember(made, of, targets=TARGETS, **more):
    made.remember(of, targets, labelled=targets != -1, **more)


def memories(made):
    """By entry and peer, as `0:a`."""
    return {
        f"{number}:{key}": memory
        for number, entry in enumerate(made.entries)
        if entry.remembers
        for key, memory in entry.memories.items()
    }


def memory(made, key):
    return memories(made)[key].rows


def gradients(of):
    return {name: output.features["pooled"].grad for name, output in of.items()}


# Distributions ---------------------------------------------------------------------------------


def test_a_distribution_by_hand():
    query, held = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    weights = [math.exp(s / 0.5) for s in (1, 0, -1)]
    expected = torch.tensor([[math.log(w / sum(weights)) for w in weights]])
    torch.testing.assert_close(similarity_log_probs(query, held, 0.5), expected)
    pair = torch.tensor([[0.6, 0.8]])
    weights = [math.exp(s / 0.5) for s in (0.6, 1, 0, -1)]
    expected = torch.tensor([[math.log(w / sum(weights)) for w in weights]])
    torch.testing.assert_close(similarity_log_probs(query, held, 0.5, pair), expected)


def test_a_map_counts_as_its_mean_over_positions_and_length_does_not_count():
    maps = draw(ROWS, 5, 3, 2)
    torch.testing.assert_close(unit_vectors(7 * maps), unit_vectors(maps.mean((2, 3))))
    torch.testing.assert_close(unit_vectors(maps).norm(dim=1), torch.ones(ROWS))
    assert unit_vectors(torch.zeros(2, 3)).isfinite().all()


def by_hand(made, of, peer, rows, pairs=None, temperature=0.07):
    vectors = F.normalize(of[peer].features["pooled"].detach(), dim=1)
    query, held = vectors[rows], memory(made, f"0:{peer}")
    similarity = query @ held.T
    if pairs is not None:
        similarity = torch.cat([(query * vectors[pairs]).sum(1, keepdim=True), similarity], 1)
    return (similarity / temperature).softmax(1)


def symmetric(p, q):
    return 0.5 * ((p - q) * (p.log() - q.log())).sum(1).mean()


def test_the_loss_is_the_symmetric_divergence_of_two_distributions_over_the_memory():
    made, of = graph(), outputs()
    p, q = (by_hand(made, of, peer, torch.arange(ROWS)) for peer in "ab")
    assert p.shape == (ROWS, MEMORY)
    torch.testing.assert_close(losses(made, of)["a"], symmetric(p, q))


def test_with_pairs_the_first_view_is_compared_with_the_second_too():
    made, of = graph(views=2, temperature=0.5), outputs()
    first, second = torch.arange(3), torch.arange(3, 6)
    p, q = (by_hand(made, of, peer, first, second, 0.5) for peer in "ab")
    assert p.shape == (3, 1 + MEMORY)
    torch.testing.assert_close(losses(made, of)["b"], symmetric(p, q))
    losses(made, of)["b"].backward()
    assert (gradients(of)["b"].abs().sum(1) > 0).all(), "gradients reach both views"


def test_equal_peers_have_nothing_to_teach_and_others_do():
    made, of = graph(), outputs()
    made.entries[0].memories["b"] = made.entries[0].memories["a"]
    assert losses(made, {"a": of["a"], "b": of["a"]})["a"] == 0
    assert losses(graph(), of)["a"] > 0


@pytest.mark.parametrize("views", [1, 2])
def test_only_chosen_rows_are_compared(views):
    made, of = graph(views=views, rows="unlabelled"), outputs()
    loss = losses(made, of)["a"]
    rows, pairs = (torch.tensor([1, 4]), None) if views == 1 else (torch.tensor([1]), [4])
    p, q = (by_hand(made, of, peer, rows, pairs) for peer in "ab")
    torch.testing.assert_close(loss, symmetric(p, q))


@pytest.mark.parametrize("views", [1, 2])
def test_without_chosen_rows_nothing_is_taught_and_nothing_remembered(views):
    made, of = graph(views=views, rows="unlabelled"), outputs()
    labelled = torch.tensor([0, 1, 2, 0, 1, 2])
    before = memory(made, "0:a")
    loss = losses(made, of, labelled)["a"]
    assert loss == 0
    loss.backward()
    assert (gradients(of)["a"] == 0).all()
    remember(made, of, labelled)
    assert torch.equal(memory(made, "0:a"), before)


# Gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 2])
def test_detached_symmetric_edges_both_ways_give_the_gradient_of_one_undetached_term(views):
    """L_sKLD of Zhao & Han, whose gradient flows into both branches."""
    both, one = outputs(names="ab"), outputs(names="ab")
    torch.stack(list(losses(graph(views=views), both).values())).sum().backward()
    undetached = graph(views=views, edges=[{"from": "a", "to": "b"}], detach=False)
    losses(undetached, one)["b"].backward()
    for name, gradient in gradients(one).items():
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(gradients(both)[name], gradient)


def test_gradients_do_not_leak_to_the_teacher():
    made, of = graph(edges=[{"from": "a", "to": "b"}]), outputs()
    losses(made, of)["b"].backward()
    assert gradients(of)["a"] is None and gradients(of)["b"].abs().sum() > 0


def test_a_loss_can_go_backward_after_its_batch_was_remembered():
    made, kept = graph(), graph()
    of, same = outputs(), outputs()
    loss, other = losses(made, of)["a"], losses(kept, same)["a"]
    remember(made, of)
    loss.backward(), other.backward()
    assert torch.equal(gradients(of)["a"], gradients(same)["a"])


def test_teachers_are_averaged_summed_or_an_ensemble():
    of, edge = outputs(), {"from": ["b", "c"], "to": "a"}
    p, q, r = (by_hand(graph("abc"), of, peer, torch.arange(ROWS)) for peer in "abc")
    expected = {
        "mean": (symmetric(q, p) + symmetric(r, p)) / 2,
        "sum": symmetric(q, p) + symmetric(r, p),
        "ensemble": symmetric((q + r) / 2, p),
    }
    for target, value in expected.items():
        made = graph("abc", edges=[edge], target=target)
        torch.testing.assert_close(losses(made, of)["a"], value)


def test_a_temperature_does_not_scale_the_loss():
    made, of = graph(temperature=3.0), outputs()
    p, q = (by_hand(made, of, peer, torch.arange(ROWS), temperature=3.0) for peer in "ab")
    torch.testing.assert_close(losses(made, of)["a"], symmetric(p, q))


OPTIONS = {
    "memory": {"memory": 5},
    "views": {"views": 2},
    "rows": {"rows": "unlabelled"},
    "labelled rows": {"rows": "labelled"},
    "temperature": {"temperature": 0.2},
    "kl": {"divergence": "kl"},
    "reverse_kl": {"divergence": "reverse_kl"},
    "js": {"divergence": "js"},
    "renyi": {"divergence": "renyi", "alpha": 2.0},
    "alpha_schedule": {"divergence": "renyi", "alpha": 2.0, "alpha_schedule": "linear"},
    "weight": {"weight": 0.5},
    "weight_schedule": {"weight_schedule": "linear"},
    "target": {"target": "sum"},
    "ensemble": {"target": "ensemble"},
}


def test_every_option_changes_what_is_learned():
    of = outputs()
    seen = {"default": losses(graph("abc"), of, progress=0.25)["a"].item()}
    for name, option in OPTIONS.items():
        loss = losses(graph("abc", **option), of, progress=0.25)["a"].item()
        assert math.isfinite(loss)
        near = [other for other, value in seen.items() if math.isclose(value, loss, rel_tol=1e-4)]
        assert not near, f"{name} is as good as {near}"
        seen[name] = loss


# Memories --------------------------------------------------------------------------------------


def test_a_memory_begins_with_random_unit_vectors_of_the_generator():
    one, same, other = graph(), graph(), TransferGraph("relations: kl", ["a", "b"])
    with seeded_rng(1):
        other.prepare(outputs(names="ab"))
    assert torch.equal(memory(one, "0:a"), memory(same, "0:a"))
    assert memory(other, "0:a").shape == (2048, WIDTHS["a"])
    assert not torch.equal(memory(other, "0:a")[:MEMORY], memory(one, "0:a"))
    torch.testing.assert_close(memory(one, "0:b").norm(dim=1), torch.ones(MEMORY))


@pytest.mark.parametrize("batch", [1, 3, 5, 8, 11, 21])
def test_a_memory_is_a_ring_whatever_the_size_of_batches(batch):
    """Among them batches that do not divide the memory, and batches larger than it."""
    with seeded_rng(0):
        held, single = RowMemory(MEMORY, 2), RowMemory(MEMORY, 2)
        single.load_state_dict(held.state_dict())
    for step in range(4):
        rows = draw(batch, 2, key=f"{step}")
        held.push(rows)
        for row in rows:
            single.push(row[None])
    assert torch.equal(held.rows, single.rows)
    assert held.position == single.position == 4 * batch % MEMORY


@pytest.mark.parametrize("views", [1, 2])
def test_a_slot_is_the_same_row_for_everyone(views):
    made, taken = graph("abc", views=views, rows="unlabelled"), []
    for step in range(7):
        of = outputs(step)
        remember(made, of)
        rows = [1, 4] if views == 1 else [4]  # of pairs the second view
        taken += [(step, row) for row in rows]
    for name in "abc":
        held = memory(made, f"0:{name}")
        for number, (step, row) in list(enumerate(taken))[-MEMORY:]:
            expected = F.normalize(outputs(step)[name].features["pooled"][row], dim=0)
            torch.testing.assert_close(held[number % MEMORY], expected.detach())


def test_rows_are_compared_with_earlier_batches_alone():
    made, first, second = graph(), outputs(0), outputs(1)
    expected = losses(graph(), first)["a"]
    assert torch.equal(losses(made, first)["a"], expected)
    assert torch.equal(losses(made, first)["a"], expected), "a loss changes nothing"
    remember(made, first)
    after = losses(made, second)["a"]
    assert not torch.allclose(after, losses(graph(), second)["a"])
    p, q = (by_hand(made, second, peer, torch.arange(ROWS)) for peer in "ab")
    torch.testing.assert_close(after, symmetric(p, q))


def test_entries_have_memories_of_their_own():
    edges = [
        {"from": "a", "to": "b"},
        {"from": "c", "to": ["a", "b"]},
        {"knowledge": "predictions"},
    ]
    made = graph("abc", edges=edges)
    assert set(memories(made)) == {"0:a", "0:b", "1:a", "1:b", "1:c"}
    remember(made, outputs(), learners=["b"])
    assert {int(part.position) for part in memories(made).values()} == {ROWS}


def test_a_peer_that_teaches_from_another_layer_than_it_learns_in_has_two_memories():
    of = outputs(names="ab")
    for name, output in of.items():
        output.features["early"] = draw(ROWS, 2, 3, 3, key=f"early {name}")
    layers = {"from": "pooled", "to": "early"}
    made = TransferGraph({"knowledge": "relations", "memory": MEMORY, "layer": layers}, ["a", "b"])
    made.prepare(of)
    shapes = {key: tuple(part.rows.shape) for key, part in memories(made).items()}
    assert shapes == {
        "0:a:from": (8, 5), "0:a:to": (8, 2), "0:b:from": (8, 3), "0:b:to": (8, 2)
    }  # fmt: skip
    remember(made, of)
    expected = unit_vectors(of["a"].features["early"])
    torch.testing.assert_close(memory(made, "0:a:to")[:ROWS], expected)


def test_memories_fill_while_the_weight_is_still_zero():
    schedule = {"kind": "linear", "begin": 0.5}
    made = graph(weight_schedule=schedule)
    assert losses(made, outputs(), progress=0.1)["a"] == 0
    remember(made, outputs())
    assert memories(made)["0:a"].position == ROWS


def test_an_entry_that_teaches_nobody_in_a_step_stands_still():
    made = graph("abc", edges=[{"from": "a", "to": "b"}, {"from": "b", "to": "c"}])
    given = outputs(names="ab")
    remember(made, given, learners=["b"])
    positions = {key: int(part.position) for key, part in memories(made).items()}
    assert positions == {"0:a": ROWS, "0:b": ROWS, "1:b": 0, "1:c": 0}


def test_a_memory_cannot_fall_behind_the_others_of_its_entry():
    made = graph("abc", edges=[{"from": "a", "to": ["b", "c"]}])
    with pytest.raises(InputError, match=r"transfer\.edges\.0.*'c' takes no part.*of their own"):
        remember(made, outputs(names="ab"), learners=["b"])
    assert memories(made)["0:a"].position == 0


def test_memories_are_part_of_the_state_of_the_graph():
    made, again = graph(), graph()
    remember(made, outputs())
    again.load_state_dict(made.state_dict())
    of = outputs(1)
    assert torch.equal(losses(again, of)["a"], losses(made, of)["a"])
    assert list(made.parameters()) == []


def test_half_precision_is_remembered_and_compared_in_fp32():
    made, of = graph(), outputs()
    half = {
        n: PeerOutput(o.logits, {"pooled": o.features["pooled"].bfloat16()}) for n, o in of.items()
    }
    remember(made, half)
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses(made, half)["a"]
    assert memory(made, "0:a").dtype == loss.dtype == torch.float32
    assert torch.equal(loss, losses(made, half)["a"])


# In a cohort -----------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stage = nn.Conv2d(3, width, 3, padding=1)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> PeerOutput:
        stage = self.stage(x).relu()
        pooled = stage.mean((2, 3))
        return PeerOutput(self.head(pooled), {"stage": stage, "pooled": pooled})


def cohort(transfer="relations: symmetric_kl", **fields):
    given = transfer if not fields else {"knowledge": "relations", **fields}
    with seeded_rng(0):
        made = Cohort({"a": Net(5), "b": Net(3)}, given)
        made.transfer.prepare(made(draw(2, 3, 4, 4)))
    return made


def position(made):
    (found,) = {int(part.position) for part in memories(made.transfer).values()}
    return found


def test_a_training_loss_remembers_its_batch_once():
    made, x = cohort(), draw(ROWS, 3, 4, 4)
    made.loss(x, TARGETS).backward()
    assert position(made) == ROWS
    made.loss(x, TARGETS)
    assert position(made) == 2 * ROWS


def test_evaluation_does_not_move_memories():
    made, x = cohort(), draw(ROWS, 3, 4, 4)
    with torch.no_grad():
        made.loss(x, TARGETS)
    made.eval()
    made.loss(x, TARGETS)
    made.losses(made(x), TARGETS)
    assert position(made) == 0


def test_the_last_map_is_seen_as_its_mean():
    x = draw(ROWS, 3, 4, 4)
    last, pooled = cohort(), cohort(layer="pooled")
    torch.testing.assert_close(last.loss(x, TARGETS), pooled.loss(x, TARGETS))


def test_relations_teach_a_student_to_find_alike_what_its_teacher_does():
    made = cohort(**{"from": "a", "to": "b", "memory": 64, "temperature": 0.2})
    x = draw(32, 3, 4, 4)
    unlabelled = torch.full((32,), -1)
    for _ in range(2):
        made.remember(made(x), unlabelled)
    optimiser = torch.optim.Adam(made.peers["b"].parameters(), lr=0.02)
    seen = []
    for _ in range(60):
        loss = made.loss(x, unlabelled)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.2 * seen[0]


# Refusals --------------------------------------------------------------------------------------


class Plain(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Tokens(nn.Module):
    def forward(self, x):
        return PeerOutput(x.mean((2, 3)), {"tokens": x.flatten(2), "half": x[::2].mean((2, 3))})


@pytest.mark.parametrize(
    ("layer", "net", "message"),
    [
        ("pooledd", Net(3), "transfer.layer: unknown layer of peer 'a'.*'pooled'"),
        ("last", Plain(), "peer 'b' gives no features"),
        (
            {"from": "tokens", "to": "pooled"},
            Tokens(),
            r"'tokens' of peer 'b' has shape \(6, 3, 16",
        ),
        (
            {"from": "half", "to": "pooled"},
            Tokens(),
            r"shape \(3, 3\) for 6 rows; relations compare",
        ),
    ],
)
def test_features_that_cannot_be_compared_are_refused(layer, net, message):
    edge = {"from": "b", "to": "a", "layer": layer}
    made = Cohort({"a": Net(5), "b": net}, {"knowledge": "relations", **edge})
    with pytest.raises(InputError, match=message):
        made.transfer.prepare(made(draw(ROWS, 3, 4, 4)))


def test_relations_ask_to_be_prepared():
    made = Cohort({"a": Net(5), "b": Net(3)}, "relations: kl")
    with pytest.raises(InputError, match=r"cohort\.transfer\.prepare\(cohort\(x\)\)"):
        made.loss(draw(ROWS, 3, 4, 4), TARGETS)


@pytest.mark.parametrize(
    ("rows", "targets", "found"),
    [(5, TARGETS[:5], "5 rows"), (6, torch.arange(6), "halves with different targets")],
)
@pytest.mark.parametrize("act", [losses, remember])
def test_batches_that_are_no_pairs_are_refused(rows, targets, found, act):
    with pytest.raises(InputError, match=rf"transfer\.views: 2 needs batches of pairs.*{found}"):
        act(graph(views=2), outputs(rows=rows), targets)


def test_pairs_may_have_several_labels_or_none():
    made = graph(views=2)
    blank = torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [1.0, 1.0]]).repeat(2, 1)
    assert torch.isfinite(made.losses(outputs(), blank)["a"])
    assert torch.isfinite(made.losses(outputs())["a"])


def test_masks_of_pixels_choose_no_rows():
    made, of = graph(rows="labelled"), outputs()
    pixels = torch.ones(ROWS, 2, 2, dtype=torch.bool)
    with pytest.raises(InputError, match=r"transfer\.rows: found 'labelled'.*pixels.*allowed: all"):
        made.losses(of, labelled=pixels)
    assert torch.isfinite(graph().losses(of, labelled=pixels)["a"])


def test_unlabelled_rows_must_be_marked():
    with pytest.raises(InputError, match="'unlabelled' needs targets"):
        graph(rows="unlabelled").losses(outputs())
