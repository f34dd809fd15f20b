"""How strongly an edge lets a row through."""

from typing import Literal

from torch import Tensor

from peerlearn.errors import InputError

GateName = Literal["through", "cutoff", "linear", "correct", "confident"]


def gate_value(
    name: GateName,
    teacher_log_probs: Tensor | None,
    targets: Tensor | None,
    progress: float | None,
    threshold: float,
) -> Tensor | float:
    """How strongly an edge lets a row through, a number or a tensor of shape (..., rows).

    Through, cutoff, linear and correct are the gates of the Knowledge Transfer Graph (Minami et al.
    2019). A gate scales the per-row loss; the mean is still taken over every row, so a gate that
    closes half the rows halves the edge.

    Args:
        name: `through` 1; `cutoff` 0; `linear` the finished fraction of the stage; `correct` 1
            where the teacher's most probable class is the label (unlabelled rows stay closed);
            `confident` 1 where the teacher's highest probability reaches `threshold`.
        teacher_log_probs: (..., rows, classes).
        targets: class labels (rows,), −1 where unlabelled.
    """
    match name:
        case "through" | "cutoff":
            return float(name == "through")
        case "linear":
            if progress is None:
                raise InputError(
                    "transfer.gate: 'linear' follows the training: pass progress= (0 to 1)"
                )
            return progress
        case "correct":
            if teacher_log_probs is None or targets is None or targets.is_floating_point():
                raise InputError(
                    "transfer.gate: 'correct' needs class labels and probabilities; with "
                    "multi-label targets or a distance on logits use 'through' or 'linear'"
                )
            return (teacher_log_probs.argmax(-1) == targets).float()
        case "confident":
            if teacher_log_probs is None:
                raise InputError("transfer.gate: 'confident' needs a divergence of probabilities")
            return (teacher_log_probs.amax(-1).exp() >= threshold).float()
