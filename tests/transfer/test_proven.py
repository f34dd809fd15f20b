"""Edges that must prove themselves: which of them are open, and what an open or shut edge costs."""

import pytest
import torch
from torch.testing import assert_close

from peerlearn import Cohort
from peerlearn.errors import InputError
from peerlearn.objectives.base import Classification
from peerlearn.randomness import seeded_rng
from peerlearn.transfer import EdgeOptions, Knowledge, PeerOutput, TransferGraph, TransferSpec

NAMES = ["a", "b", "c"]
ROWS, CLASSES = 60, 3
Y = torch.arange(ROWS) % CLASSES


def said(right: int, sure: float = 6.0, first: int = 0) -> torch.Tensor:
    """Logits of a peer that is right on `right` rows from `first` on, `sure` of all it says."""
    places = (torch.arange(ROWS) - first) % ROWS < right
    return sure * torch.eye(CLASSES)[torch.where(places, Y, (Y + 1) % CLASSES)]


def graph(proven, **edge) -> TransferGraph:
    return TransferGraph({"proven": proven} | edge, NAMES)


def opened(graph: TransferGraph) -> set[str]:
    return {
        f"{teacher}{learner}"
        for learner, teachers in graph.open_edges().items()
        for teacher, share in teachers.items()
        if share == 1
    }


def losses(graph: TransferGraph, **more) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    outputs = {name: PeerOutput(torch.randn(8, CLASSES, generator=generator)) for name in NAMES}
    return {name: loss.item() for name, loss in graph.losses(outputs, **more).items()}


def test_no_edge_teaches_before_the_first_validation():
    assert losses(graph("both")) == dict.fromkeys(NAMES, 0)
    assert opened(graph("both")) == set()


def test_both_ends_must_be_reliable():
    it = graph("both")
    it.prove({"a": said(55), "b": said(58), "c": said(30)}, Y)
    assert opened(it) == {"ab", "ba"}
    now = losses(it)
    assert now["c"] == 0 and now["a"] > 0 < now["b"]


@pytest.mark.parametrize(("right", "reliable"), [(45, False), (46, True)])
def test_reliable_is_a_standard_error_above_the_least_accuracy(right, reliable):
    p = (right + 1) / (ROWS + 2)
    assert (p - (p * (1 - p) / ROWS) ** 0.5 >= 0.7) is reliable
    it = graph("both")
    it.prove({"a": said(right), "b": said(60), "c": said(60)}, Y)
    assert ("ab" in opened(it)) is reliable


def test_of_the_teacher_alone_a_weak_learner_is_taught_and_a_better_one_is_not():
    it = graph("teacher")
    # c is right on all rows, b on 20 of them, and a on 50.
    it.prove({"a": said(50), "b": said(20), "c": said(60)}, Y)
    assert opened(it) == {"ab", "ca", "cb"}


def test_the_least_accuracy_and_its_scale_decide():
    outputs = {"a": said(45), "b": said(60), "c": said(60)}
    open_ = {}
    for name, proven in {
        "0.7": {"least": 0.7},
        "0.6": {"least": 0.6},
        "majority": {"least": 0.5, "scale": "above_majority"},
    }.items():
        it = graph({"ends": "both"} | proven)
        it.prove(outputs, Y)
        open_[name] = "ab" in opened(it)
    # Halfway from a third of the rows to all of them is 2/3.
    assert open_ == {"0.7": False, "0.6": True, "majority": True}
    skewed = torch.where(torch.arange(ROWS) < 54, 0, 1)  # 0.9 of them, so that 0.95 is halfway
    always = {name: 6 * torch.eye(CLASSES)[torch.zeros(ROWS, dtype=torch.long)] for name in NAMES}
    for proven, right in (({"least": 0.7}, True), ({"scale": "above_majority"}, False)):
        it = graph(proven)
        it.prove(always, skewed)
        assert ("ab" in opened(it)) is right


def test_a_gate_chooses_the_rows_that_count():
    """Unsure rows are wrong; where only sure ones are taught, they do not count."""
    sure, unsure = said(ROWS), said(0, sure=0.5)
    half = torch.arange(ROWS)[:, None] < ROWS // 2
    outputs = dict.fromkeys(NAMES, torch.where(half, sure, unsure))
    found = {}
    for name, edge in {
        "through": {},
        "confident": {"gate": "confident", "gate_threshold": 0.9},
        # Sharpened by 0.1, the teachers are sure of all that they say.
        "sharpened": {"gate": "confident", "gate_threshold": 0.9, "teacher_temperature": 0.1},
    }.items():
        it = graph("both", **edge)
        it.prove(outputs, Y)
        found[name] = len(opened(it))
    assert found == {"through": 0, "confident": 6, "sharpened": 0}


def test_few_rows_prove_as_little_as_is_asked():
    outputs = dict.fromkeys(NAMES, said(ROWS))
    few = torch.where(torch.arange(ROWS) < 12, Y, -1)  # the others have no label
    for rows, edges in ((12, 6), (13, 0)):
        it = graph({"rows": rows})
        it.prove(outputs, few)
        assert len(opened(it)) == edges


def test_predictions_are_averaged_over_validations():
    for decay, edges in ((0.0, 0), (0.9, 6)):
        it = graph({"decay": decay})
        for right in (60, 60, 60, 0):
            it.prove(dict.fromkeys(NAMES, said(right)), Y)
        assert len(opened(it)) == edges


def test_a_shut_edge_counts_in_the_mean_and_not_in_the_sum():
    for target, share in (("mean", 0.5), ("ensemble", 0.5), ("sum", 1.0)):
        it = graph("both", target=target)
        it.prove({"a": said(60), "b": said(60), "c": said(0)}, Y)
        only = TransferGraph({"from": "b", "to": "a", "target": target}, NAMES)
        assert losses(it)["a"] == pytest.approx(share * losses(only)["a"])


def test_all_open_is_the_same_graph_to_the_last_bit():
    for edge in ({}, {"gate": "confident"}, {"target": "ensemble"}):
        it = graph("both", **edge)
        it.prove(dict.fromkeys(NAMES, said(60)), Y)
        assert losses(it) == losses(TransferGraph(edge, NAMES))


@pytest.mark.parametrize("kind", ["features", "relations"])
def test_other_kinds_of_knowledge_wait_too(kind):
    generator = torch.Generator().manual_seed(0)
    z = {name: torch.randn(8, CLASSES, generator=generator) for name in NAMES}
    outputs = {name: PeerOutput(each, {"last": each}) for name, each in z.items()}
    it = graph("both", knowledge=kind)
    with seeded_rng(0):
        it.prepare(outputs)
    assert all(loss == 0 for loss in it.losses(outputs).values())
    it.prove({"a": said(60), "b": said(60), "c": said(0)}, Y)
    now = it.losses(outputs)
    assert now["a"] > 0 < now["b"]
    assert now["c"] == 0


def test_the_entropy_reward_shrinks_with_the_share_of_open_edges():
    """Whom nobody teaches trains exactly as alone, without a reward."""
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    with seeded_rng(0):
        nets = {name: torch.nn.Linear(4, CLASSES) for name in NAMES}
    y = torch.arange(8) % CLASSES
    rewarded = Classification(entropy=0.5)
    plain = Cohort(nets, "none").losses(Cohort(nets, "none")(x), y)
    full = Cohort(nets, "none", rewarded).losses(Cohort(nets, "none")(x), y)
    for right, share in (((0, 0, 0), 0.0), ((60, 60, 0), 0.5), ((60, 60, 60), 1.0)):
        cohort = Cohort(nets, {"proven": "both"}, rewarded)
        cohort.transfer.prove({n: said(r) for n, r in zip(NAMES, right, strict=True)}, Y)
        found = cohort.losses(cohort(x), y)["a"].objective
        assert_close(found, (1 - share) * plain["a"].objective + share * full["a"].objective)
        if share == 0:
            assert torch.equal(found, plain["a"].objective)


def test_state_is_saved_and_loaded():
    first, second = graph("both"), graph("both")
    for right in (60, 60, 0):
        first.prove({"a": said(60), "b": said(right), "c": said(0)}, Y)
    second.load_state_dict(first.state_dict())
    assert opened(second) == opened(first) == {"ab", "ba"}
    for it in (first, second):
        it.prove({"a": said(0), "b": said(60), "c": said(60)}, Y)
    assert opened(second) == opened(first)
    assert losses(second) == losses(first)


def test_a_loop_of_ones_own_is_told_to_let_edges_prove_themselves():
    x, y = torch.randn(8, 4), torch.arange(8) % CLASSES
    cohort = Cohort({name: torch.nn.Linear(4, CLASSES) for name in "ab"}, {"proven": "both"})
    with pytest.warns(UserWarning, match=r"transfer\.proven: edges are shut .*transfer\.prove"):
        cohort.loss(x, y)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("bth", ["transfer.proven.ends", "Did you mean 'both'"]),
        ({"least": 1.0}, ["transfer.proven.least"]),
        ({"decay": 1.0}, ["transfer.proven.decay"]),
        ({"rows": 0}, ["transfer.proven.rows"]),
        ({"scale": "majority"}, ["transfer.proven.scale", "above_majority"]),
        ({"lest": 0.5}, ["transfer.proven.lest", "least"]),
    ],
)
def test_wrong_options_are_named(given, words):
    with pytest.raises(InputError) as error:
        graph(given)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_block_without_ends_asks_both():
    assert TransferSpec.model_validate({"proven": {"least": 0.6}}).proven.ends == "both"
    assert TransferSpec().proven.ends == "none"


class Deaf(Knowledge):
    """A kind that does not ask which edges are open."""

    class Options(EdgeOptions):
        knowledge: str = "deaf"

    def losses(self, view, learners):
        return {}


def test_what_cannot_be_proven_is_refused():
    with pytest.raises(InputError, match=r"transfer\.proven: .*multi-label"):
        TransferGraph({"proven": "both"}, NAMES, form="sigmoid")
    with pytest.raises(InputError, match=r"edges\.0\.proven: .*provable"):
        TransferGraph(
            {"edges": [{"knowledge": f"python:{__name__}:Deaf", "proven": "both"}]}, NAMES
        )
    it = graph("both")
    with pytest.raises(InputError, match="one class a row"):
        it.prove(dict.fromkeys(NAMES, said(9)), torch.zeros(ROWS, CLASSES))
    with pytest.raises(InputError, match="for 60 labels"):
        it.prove(dict.fromkeys(NAMES, said(9)[:5]), Y)
    it.prove(dict.fromkeys(NAMES, said(9)), Y)
    with pytest.raises(InputError, match="the same validation rows"):
        it.prove(dict.fromkeys(NAMES, said(9)[:30]), Y[:30])


def test_an_averaged_teacher_is_as_reliable_as_its_peer():
    averaged = graph("both", teacher_ema=0.9)
    averaged.prove({"a": said(54), "b": said(54), "c": said(20)}, Y)
    assert opened(averaged) == {"ab", "ba"}
