"""What a finished run says about new rows, and the csv that tells it.

Shape suffixes: N rows, C classes.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from peerlearn.data.facts import DataFacts
from peerlearn.engine.evaluate import Rows, predict
from peerlearn.engine.files import write_atomically
from peerlearn.engine.threads import threads
from peerlearn.errors import unknown_name
from peerlearn.metrics.classification import ensemble_log_probs, ensemble_multilabel_logits
from peerlearn.randomness import preserved_rng
from peerlearn.serving.run import TrainedRun

COLUMNS = ("input", "row", "label", "probability")


@dataclass(frozen=True)
class Prediction:
    """Probabilities of the classes for some rows.

    Attributes:
        sources, numbers: the file of every row, and its number there.

    Shapes:
        probabilities: (N, C), float64; rows sum to 1 unless several labels can hold at once.
    """

    sources: tuple[str, ...]
    numbers: tuple[int, ...]
    probabilities: Tensor


class Predictor:
    """One peer of a run, or all of them together.

    Args:
        run: from `open_run`.
        who: a peer's name, `best` (on validation) or `ensemble` (mean probability of all peers).
        device: where to run; None as in training.

    Raises:
        InputError: no such peer, or a run that cannot be used without its data.
    """

    def __init__(self, run: TrainedRun, who: str = "best", device: str | None = None) -> None:
        if who not in (*run.peers, "best", "ensemble"):
            raise unknown_name("peer", who, [*run.peers, "best", "ensemble"], "--peer")
        self.run = run
        self.who = run.best_peer if who == "best" else who
        names = run.members if self.who == "ensemble" else [self.who]
        self.peers = {name: run.cohort.peers[name] for name in names}
        self.precision = run.precision(device=device)
        self.precision.place(run.cohort)

    def probabilities(self, batches: Rows) -> Tensor:
        """Probabilities (N, C) in float64.

        Args:
            batches: gives what the networks read, as a `Reader` makes it.
        """
        with preserved_rng(), threads(self.run.config.threads):
            made = predict(self.peers, batches, self.precision, self.run.cohort.trunk)
            parts = [logits for logits, _ in made]
        outputs = [torch.cat([part[name] for part in parts]).double() for name in self.peers]
        if self.run.facts.multilabel:
            return ensemble_multilabel_logits(outputs).sigmoid()
        return ensemble_log_probs([torch.log_softmax(z, -1) for z in outputs]).exp()

    def predict(self, inputs: Sequence[Path]) -> Iterator[Prediction]:
        """Predictions for files and folders; see the `Reader` of the run."""
        for rows in self.run.reader.inputs(inputs, self.peers):
            yield Prediction(rows.sources, rows.numbers, self.probabilities(rows.batches))


def write_predictions(
    predictions: Iterable[Prediction],
    facts: DataFacts,
    out: Path | TextIO,
    probabilities: bool = False,
) -> int:
    """Write predictions as csv: `input, row, label, probability`, then one column a class.

    Where several labels can hold at once, `label` joins those above ½ by `|` and `probability` is
    that of exactly these labels.

    Args:
        predictions: from `Predictor.predict`; all are made before anything is written.
        facts: of the run.
        out: a file, written whole or not at all, or an open stream.
        probabilities: add the columns of the classes.

    Returns:
        Number of rows.

    Raises:
        RunError: the file cannot be written; the old one stays.
    """
    made = list(predictions)
    lines = [line for prediction in made for line in _lines(prediction, facts, probabilities)]
    header = [*COLUMNS, *(facts.class_names if probabilities else ())]
    if isinstance(out, Path):
        write_atomically(out, lambda temporary: _write_file(temporary, header, lines))
    else:
        _write(out, header, lines)
    return len(lines)


def _lines(prediction: Prediction, facts: DataFacts, probabilities: bool) -> Iterator[list[str]]:
    p_NC = prediction.probabilities
    labels, chosen = _several(p_NC, facts) if facts.multilabel else _one(p_NC, facts)
    columns = p_NC.tolist() if probabilities else [[]] * len(p_NC)
    for source, number, label, p, each in zip(
        prediction.sources, prediction.numbers, labels, chosen, columns, strict=True
    ):
        yield [source, str(number), label, *(f"{value:.6g}" for value in (p, *each))]


def _one(p_NC: Tensor, facts: DataFacts) -> tuple[list[str], list[float]]:
    top = p_NC.max(1)
    return [facts.class_names[i] for i in top.indices.tolist()], top.values.tolist()


def _several(p_NC: Tensor, facts: DataFacts) -> tuple[list[str], list[float]]:
    holds_NC = p_NC > 0.5
    labels = [
        "|".join(name for name, holds in zip(facts.class_names, row, strict=True) if holds)
        for row in holds_NC.tolist()
    ]
    return labels, torch.where(holds_NC, p_NC, 1 - p_NC).prod(1).tolist()


def _write_file(path: Path, header: list[str], lines: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        _write(file, header, lines)


def _write(stream: TextIO, header: list[str], lines: list[list[str]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
