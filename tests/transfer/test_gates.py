"""Gates: which rows of an edge count, and how much."""

import math

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.divergences import kl
from peerlearn.transfer.gates import gate_value

# Teacher probabilities: sure of 0, unsure of 1, sure of 2, unsure of 0.
TEACHER = torch.tensor(
    [[0.95, 0.03, 0.02], [0.3, 0.4, 0.3], [0.01, 0.04, 0.95], [0.5, 0.3, 0.2]]
).log()
LEARNER = torch.tensor([[0.1, 0.2, 0.0], [0.3, 0.0, 0.1], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
ROWS = kl(TEACHER, LEARNER.log_softmax(-1))


def gated_loss(targets=None, progress=None, form="softmax", **edge):
    graph = TransferGraph({"from": "t", "to": "s"} | edge, ["t", "s"], form=form)
    outputs = {"t": PeerOutput(TEACHER), "s": PeerOutput(LEARNER)}
    labelled = None if targets is None or targets.is_floating_point() else targets != -1
    return graph.losses(outputs, targets, labelled=labelled, progress=progress)["s"]


def test_through_lets_every_row_pass():
    torch.testing.assert_close(gated_loss(gate="through"), ROWS.mean())


def test_cutoff_closes_the_edge():
    assert gated_loss(gate="cutoff").item() == 0
    assert gate_value("cutoff", None, None, None, 0.9) == 0


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_linear_opens_with_the_training(progress):
    torch.testing.assert_close(gated_loss(gate="linear", progress=progress), progress * ROWS.mean())


def test_linear_without_progress_is_an_input_error():
    with pytest.raises(InputError, match="progress"):
        gated_loss(gate="linear")


def test_correct_passes_rows_the_teacher_gets_right():
    targets = torch.tensor([0, 0, 2, 1])
    torch.testing.assert_close(gated_loss(targets, gate="correct"), (ROWS[0] + ROWS[2]) / 4)


def test_correct_stays_closed_on_unlabelled_rows():
    targets = torch.tensor([0, -1, -1, 0])
    torch.testing.assert_close(gated_loss(targets, gate="correct"), (ROWS[0] + ROWS[3]) / 4)
    assert gated_loss(torch.full((4,), -1), gate="correct").item() == 0


def test_correct_averages_over_labelled_rows_when_told_to():
    targets = torch.tensor([0, -1, -1, 1])
    torch.testing.assert_close(gated_loss(targets, gate="correct", rows="labelled"), ROWS[0] / 2)


def test_correct_judges_each_teacher_by_itself():
    graph = TransferGraph({"to": "s", "gate": "correct"}, ["t", "u", "s"])
    outputs = {"t": PeerOutput(TEACHER), "u": PeerOutput(LEARNER), "s": PeerOutput(LEARNER * 2)}
    targets = torch.tensor([0, 0, 2, 1])
    q = (LEARNER * 2).log_softmax(-1)
    from_t = (kl(TEACHER, q) * torch.tensor([1.0, 0, 1, 0])).mean()
    from_u = (kl(LEARNER.log_softmax(-1), q) * torch.tensor([0.0, 1, 0, 1])).mean()
    torch.testing.assert_close(graph.losses(outputs, targets)["s"], (from_t + from_u) / 2)


def test_confident_passes_rows_the_teacher_is_sure_of():
    torch.testing.assert_close(gated_loss(gate="confident"), (ROWS[0] + ROWS[2]) / 4)
    torch.testing.assert_close(
        gated_loss(gate="confident", gate_threshold=0.45), (ROWS[0] + ROWS[2] + ROWS[3]) / 4
    )


def test_confident_reads_the_ensemble_where_the_ensemble_teaches():
    graph = TransferGraph(
        {"to": "s", "gate": "confident", "target": "ensemble", "gate_threshold": 0.9},
        ["t", "u", "s"],
    )
    unsure = torch.zeros(4, 3)  # the mean with a uniform teacher is never above 0.9
    outputs = {"t": PeerOutput(TEACHER), "u": PeerOutput(unsure), "s": PeerOutput(LEARNER)}
    assert graph.losses(outputs)["s"].item() == 0


@pytest.mark.parametrize("gate", ["correct", "confident"])
def test_a_closed_gate_leaves_no_gradient(gate):
    learner = LEARNER.clone().requires_grad_()
    graph = TransferGraph({"from": "t", "to": "s", "gate": gate, "gate_threshold": 0.9}, ["t", "s"])
    outputs = {"t": PeerOutput(TEACHER), "s": PeerOutput(learner)}
    graph.losses(outputs, torch.tensor([0, -1, 2, -1]))["s"].backward()
    open_rows = learner.grad.abs().sum(-1) > 0
    assert open_rows.tolist() == [True, False, True, False]


def test_correct_works_on_pixels():
    teacher = torch.zeros(1, 2, 2, 2)
    teacher[0, 1] = 3.0  # class 1 everywhere
    learner = torch.randn(1, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    masks = torch.tensor([[[1, 0], [-1, 1]]])
    graph = TransferGraph({"from": "t", "to": "s", "gate": "correct"}, ["t", "s"])
    found = graph.losses({"t": PeerOutput(teacher), "s": PeerOutput(learner)}, masks)["s"]
    pixels = kl(
        teacher.permute(0, 2, 3, 1).log_softmax(-1), learner.permute(0, 2, 3, 1).log_softmax(-1)
    )
    torch.testing.assert_close(found, (pixels[0, 0, 0] + pixels[0, 1, 1]) / 4)


@pytest.mark.parametrize(
    ("edge", "targets"),
    [
        ({"gate": "correct"}, None),
        ({"gate": "correct"}, torch.zeros(4, 3)),
        ({"gate": "correct", "divergence": "mse"}, torch.tensor([0, 1, 2, 0])),
        ({"gate": "confident", "divergence": "cosine"}, None),
        ({"gate": "correct", "form": "sigmoid"}, torch.zeros(4, 3)),
        ({"gate": "confident", "form": "sigmoid"}, torch.zeros(4, 3)),
    ],
)
def test_a_gate_that_cannot_be_read_is_an_input_error(edge, targets):
    with pytest.raises(InputError, match=f"transfer.gate: '{edge['gate']}'"):
        gated_loss(targets, **edge)


def test_confident_threshold_is_reached_not_only_passed():
    sure = torch.tensor([[0.75, 0.25]], dtype=torch.float64).log()
    assert gate_value("confident", sure, None, None, math.exp(sure.max().item())).item() == 1
