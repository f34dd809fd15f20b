"""`classes: non_target`: predictions without the label's class."""

import pytest
import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.divergences import PROBABILITY_DIVERGENCES, kl, renyi

ROWS, CLASSES = 8, 5
LABELS = torch.tensor([0, 1, -1, 3, 4, 0, -1, 2])
KNOWN = LABELS >= 0


def outputs(*names: str, scale: float = 2.0) -> dict[str, PeerOutput]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: PeerOutput((scale * torch.randn(ROWS, CLASSES, generator=generator)).requires_grad_())
        for name in names
    }


def others(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-softmax over the classes that are not the label's, (rows, classes - 1)."""
    rows = [z[torch.arange(len(z)) != y] for z, y in zip(logits, labels, strict=True)]
    return (torch.stack(rows) / temperature).log_softmax(-1)


def losses(of: dict[str, PeerOutput], labels: Tensor | None = LABELS, **edge: object):
    made = TransferGraph({"classes": "non_target", **edge}, list(of))
    made.prepare(of)
    return made.losses(of, labels, labelled=None if labels is None else labels != -1)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.25])
@pytest.mark.parametrize("divergence", [*PROBABILITY_DIVERGENCES, "renyi"])
def test_it_equals_the_formula_written_out(divergence: str, temperature: float) -> None:
    of = outputs("a", "b")
    order = {"alpha": 2.0} if divergence == "renyi" else {}
    found = losses(of, divergence=divergence, temperature=temperature, **order)["a"]
    p, q = (others(of[n].logits[KNOWN], LABELS[KNOWN], temperature) for n in "ba")
    compare = PROBABILITY_DIVERGENCES.get(divergence, lambda p, q: renyi(p, q, 2.0))
    expected = temperature**2 * compare(p.detach(), q).mean()
    torch.testing.assert_close(found, expected)
    logits = of["a"].logits
    (gradient,) = torch.autograd.grad(found, logits, retain_graph=True)
    (direct,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, direct)


@pytest.mark.parametrize("target", ["mean", "sum", "ensemble"])
def test_several_teachers(target: str) -> None:
    of = outputs("a", "b", "c")
    found = losses(of, target=target)["a"]
    a, b, c = (others(of[n].logits[KNOWN], LABELS[KNOWN]).detach() for n in "abc")
    both = torch.stack([kl(b, a).mean(), kl(c, a).mean()])
    ensemble = kl(torch.stack([b, c]).exp().mean(0).log(), a).mean()
    expected = {"mean": both.mean(), "sum": both.sum(), "ensemble": ensemble}[target]
    torch.testing.assert_close(found.detach(), expected)


def test_the_logit_of_the_label_has_no_say_and_gets_no_gradient() -> None:
    of = outputs("a", "b")
    found = losses(of)
    (found["a"] + found["b"]).backward()
    gradient = of["a"].logits.grad
    assert (gradient[KNOWN, LABELS[KNOWN]] == 0).all()
    assert (gradient[KNOWN].abs().sum(-1) > 0).all() and (gradient[~KNOWN] == 0).all()
    moved = {n: PeerOutput(o.logits.detach().clone()) for n, o in of.items()}
    moved["b"].logits[KNOWN, LABELS[KNOWN]] += 100
    assert torch.equal(losses(moved)["a"], found["a"].detach())


def test_a_batch_without_labels_gives_0() -> None:
    found = losses(outputs("a", "b"), torch.full((ROWS,), -1))["a"]
    assert found.item() == 0


def test_pixels_leave_out_their_own_class() -> None:
    maps = {n: PeerOutput(torch.randn(2, CLASSES, 3, 4)) for n in "ab"}
    masks = torch.randint(-1, CLASSES, (2, 3, 4), generator=torch.Generator().manual_seed(0))
    flat = {n: PeerOutput(o.logits.permute(0, 2, 3, 1).flatten(0, 2)) for n, o in maps.items()}
    torch.testing.assert_close(losses(maps, masks)["a"], losses(flat, masks.flatten())["a"])


def test_confidence_is_that_of_what_is_taught() -> None:
    of = outputs("a", "b")
    p, q = (others(of[n].logits[KNOWN], LABELS[KNOWN]).detach() for n in "ba")
    sure = p.amax(-1).exp() >= 0.7
    assert 0 < sure.sum() < len(sure)
    found = losses(of, gate="confident", gate_threshold=0.7)["a"].detach()
    torch.testing.assert_close(found, (kl(p, q) * sure).mean())


@pytest.mark.parametrize("options", [{"temperature": "learned"}, {"weighting": "sample"}])
def test_it_goes_with_what_edges_learn(options: dict[str, object]) -> None:
    loss = losses(outputs("a", "b"), **options)["a"]
    assert torch.isfinite(loss) and loss > 0


def test_it_is_reported_where_it_is_chosen() -> None:
    (edge, _) = TransferGraph({"classes": "non_target"}, ["a", "b"]).edges()
    assert edge["classes"] == "non_target"
    assert "classes" not in next(TransferGraph({}, ["a", "b"]).edges())


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ({"divergence": "mse"}, "classes: 'non_target' with divergence 'mse'.*allowed: kl, "),
        ({"rows": "unlabelled"}, "rows: 'unlabelled' with classes 'non_target'.*all, labelled"),
        ({"gate": "correct"}, "gate: 'correct' with classes 'non_target'.*confident"),
        ({"clamp": 0.1}, "clamp: found 0.1 with classes 'non_target'"),
        ({"classes": "non-target"}, "transfer.classes: .* Did you mean 'non_target'"),
    ],
)
def test_what_does_not_go_with_it_is_refused(edge: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TransferGraph({"classes": "non_target", **edge}, ["a", "b"])


@pytest.mark.parametrize("targets", [None, torch.zeros(ROWS, CLASSES), (LABELS, LABELS)])
def test_it_needs_labels(targets: object) -> None:
    made = TransferGraph({"classes": "non_target"}, ["a", "b"])
    with pytest.raises(InputError, match=r"transfer\.classes: 'non_target' leaves out the class"):
        made.losses(outputs("a", "b"), targets)


def test_it_is_for_one_label_a_row_among_three_or_more() -> None:
    with pytest.raises(InputError, match=r"transfer\.classes.*multi-label.*allowed: all"):
        TransferGraph({"classes": "non_target"}, ["a", "b"], form="sigmoid")
    two = {n: PeerOutput(torch.randn(4, 2)) for n in "ab"}
    with pytest.raises(InputError, match=r"leaves one of 2 classes.*at least 3"):
        TransferGraph({"classes": "non_target"}, ["a", "b"]).losses(two, torch.tensor([0, 1, 1, 0]))


def test_left_out_of_the_teachers_side_alone_the_learner_learns_that_it_is_not_the_label() -> None:
    of = outputs("a", "b")
    found = losses(of, classes="teacher_non_target", temperature=2.0)["a"]
    y = LABELS[KNOWN]
    p_RC = others(of["b"].logits[KNOWN], y, 2.0).exp().detach()
    log_q_RC = (of["a"].logits[KNOWN] / 2.0).log_softmax(-1)
    left = torch.arange(CLASSES) != y[:, None]
    log_q_RC = log_q_RC[left].view(len(y), -1)
    torch.testing.assert_close(found, 4.0 * kl(p_RC.log(), log_q_RC).mean())
    (gradient,) = torch.autograd.grad(found, of["a"].logits)
    pushed = gradient[KNOWN].gather(1, y[:, None])
    assert (pushed > 0).all(), "a step downhill makes the label's class less likely"
    assert (gradient[~KNOWN] == 0).all(), "rows without a label have no such class"


@pytest.mark.parametrize("peers", ["abc", "abcd"])
def test_many_peers_leave_it_out_of_the_teachers_side_too(peers: str) -> None:
    """K products of sums read one side for both ends, so that they cannot be used here."""
    of = outputs(*peers)
    found = losses(of, classes="teacher_non_target")["a"]
    y = LABELS[KNOWN]
    left = torch.arange(CLASSES) != y[:, None]
    log_q = of["a"].logits[KNOWN].log_softmax(-1)[left].view(len(y), -1)
    each = [kl(others(of[n].logits[KNOWN], y), log_q).mean() for n in peers[1:]]
    torch.testing.assert_close(found, torch.stack(each).mean())
