"""What a finished run says about new rows.

Shape suffixes: N rows, C classes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peerlearn.engine.evaluate import Rows, predict
from peerlearn.engine.precision import threads
from peerlearn.errors import unknown_name
from peerlearn.metrics.uncertainty import Uncertainty
from peerlearn.randomness import preserved_rng
from peerlearn.reading.predictions import Inputs, Prediction
from peerlearn.serving.run import TrainedRun

Watch = Callable[[int, int | None], None]
"""Is told how many rows the networks have read, of how many, where that is known."""


class Predictor:
    """One peer of a run, or all of them together.

    Args:
        run: from `open_run`.
        who: a peer's name, `best` (on validation) or `ensemble` (mean probability of all peers).
        device: where to run; None as in training.
        **options: of the run's reader, such as `tile` where images are segmented; one that is None
            was not given.

    Attributes:
        divides: whether it knows the parts of an uncertainty: of several peers, or, once they were
            heard, of one that is stochastic.

    Raises InputError: no such peer, or an option that is for runs of another kind.
    """

    def __init__(
        self, run: TrainedRun, who: str = "best", device: str | None = None, **options: Any
    ) -> None:
        if who not in (*run.peers, "best", "ensemble"):
            raise unknown_name("peer", who, [*run.peers, "best", "ensemble"], "--peer")
        self.run = run
        self.reader = run.reader_told(**options)
        self.who = run.best_peer if who == "best" else who
        names = run.members if self.who == "ensemble" else [self.who]
        self.peers = self.reader.ready({name: run.cohort.peers[name] for name in names})
        self.divides = len(names) > 1
        # Where training was left to choose, what is shipped says the same on every machine, and the
        # same as the weights in anyone's own loop.
        own = run.config.precision
        self.precision = run.precision("fp32" if own == "auto" else own, device)
        self.precision.place(run.cohort)

    def predict(self, inputs: Sequence[Path], observe: Watch | None = None) -> Iterator[Prediction]:
        """Predictions for files and folders as typed, one after the other; see `Reader.inputs`.

        `observe` is called after every batch.

        Raises InputError: names the file; at once, where the reader looks at all of them first.
        """
        return self._predicted(self.reader.inputs(inputs, self.peers), observe)

    def predict_rows(self, rows: Any) -> Iterator[Prediction]:
        """Predictions for rows at hand; see `Reader.given`.

        Raises InputError: rows that the networks do not read.
        """
        return self._predicted(self.reader.given(rows, self.peers), None)

    def _predicted(self, planned: Iterable[Inputs], observe: Watch | None) -> Iterator[Prediction]:
        total = sum(rows.steps for rows in planned) if isinstance(planned, Sequence) else None
        done = 0

        def counted(parts: Iterable[Tensor]) -> Iterator[Tensor]:
            nonlocal done
            for part in parts:
                yield part
                done += len(part)
                if observe is not None:
                    observe(done, total)

        for rows in planned:
            unsure: list[Uncertainty] = []
            with preserved_rng(), threads(self.run.config.threads):
                probabilities = rows.join(counted(self._probabilities(rows.batches, unsure)))
            parts = Uncertainty(*map(torch.cat, zip(*unsure, strict=True))) if unsure else None
            yield Prediction(rows, probabilities, parts, self.divides)

    def _probabilities(self, batches: Rows, unsure: list[Uncertainty]) -> Iterator[Tensor]:
        """Those of every batch; how unsure they are goes to `unsure`, where they are of rows."""
        for logits, _ in predict(self.peers, batches, self.precision, self.run.cohort.trunk):
            self.divides |= any(len(each) > 1 for each in logits.samples.values())
            if (found := self.reader.unsure(logits)) is not None:
                unsure.append(found)
            yield self.reader.together(logits)
