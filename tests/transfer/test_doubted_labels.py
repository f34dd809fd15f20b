"""`knowledge: doubted_labels`: a learner unlearns labels that a teacher doubts."""

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.transfer import PeerOutput, TransferGraph

LABELS = torch.tensor([0, 1, -1, 2])
KNOWN = LABELS >= 0


def losses(teacher: torch.Tensor, learner: torch.Tensor, labels=LABELS, **edge: object):
    edge = {"knowledge": "doubted_labels", "from": "t", "to": "s"} | edge
    graph = TransferGraph({"edges": [edge]}, ["t", "s"])
    of = {"t": PeerOutput(teacher), "s": PeerOutput(learner)}
    return graph.losses(of, labels, labelled=labels != -1)


def logits(seed: int) -> torch.Tensor:
    return 2 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))


def test_it_equals_the_formula_written_out_and_teaches_the_learner_alone() -> None:
    teacher, learner = logits(0).requires_grad_(), logits(1).requires_grad_()
    found = losses(teacher, learner)
    p, q = teacher.softmax(1), learner.softmax(1)
    doubts = [1 - p[r, y] / p[r].max() for r, y in enumerate(LABELS.tolist())]
    costs = [-torch.log(1 - q[r, y]) for r, y in enumerate(LABELS.tolist())]
    expected = sum(doubts[r].detach() * costs[r] for r in (0, 1, 3)) / 3
    torch.testing.assert_close(found["s"], expected)
    found["s"].backward()
    assert teacher.grad is None and float(found.get("t", torch.zeros(()))) == 0
    assert (learner.grad[2] == 0).all(), "a row without a label has none to doubt"
    assert (learner.grad[KNOWN].gather(1, LABELS[KNOWN, None]) >= 0).all()


def test_a_label_that_the_teacher_would_give_is_not_doubted() -> None:
    teacher = torch.full((4, 3), -5.0)
    teacher[torch.arange(4), LABELS.clamp_min(0)] = 5.0
    assert losses(teacher, logits(1))["s"] == 0
    assert losses(teacher, logits(1), doubt="everything")["s"] > 0


def test_a_learner_that_is_sure_of_a_doubted_label_has_a_finite_loss() -> None:
    sure = torch.full((4, 3), -200.0)
    sure[torch.arange(4), LABELS.clamp_min(0)] = 200.0
    learner = sure.requires_grad_()
    loss = losses(-sure.detach(), learner)["s"]
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(learner.grad).all()


def test_what_has_no_label_to_doubt_is_refused() -> None:
    with pytest.raises(InputError, match=r"transfer\.edges\.0\.rows: 'unlabelled'.*allowed: all"):
        losses(logits(0), logits(1), rows="unlabelled")
    with pytest.raises(InputError, match=r"transfer\.edges\.0\.target: 'ensemble'"):
        losses(logits(0), logits(1), target="ensemble")
    with pytest.raises(InputError, match=r"knowledge 'doubted_labels' doubts the one class"):
        TransferGraph(
            {"edges": [{"knowledge": "doubted_labels", "from": "t", "to": "s"}]},
            ["t", "s"],
            form="sigmoid",
        ).losses({"t": PeerOutput(logits(0)), "s": PeerOutput(logits(1))}, torch.ones(4, 3))
