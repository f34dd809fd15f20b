"""`peerlearn.load`: a finished run as plain PyTorch modules, and what they say of rows at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data.info import DataInfo
from peerlearn.errors import InputError, unknown_name
from peerlearn.models.bayesian import is_bayesian, to_deterministic
from peerlearn.reading.networks import OnTrunk, Probabilities
from peerlearn.results import Results
from peerlearn.serving.predictor import Predictor
from peerlearn.serving.run import TrainedRun, open_run


@dataclass(frozen=True)
class Predicted:
    """What networks say of rows.

    Shapes:
        probabilities: (N, C), or (N, C, H, W) of every pixel; float32.
        total, epistemic, aleatoric: (N,), float32.

    Attributes:
        class_names: of the columns of `probabilities`.
        multilabel: whether several labels can hold at once; then those above ½ do.
        total: how unsure the networks are of every row, in nats; see `metrics.uncertainty`. None
            of pixels.
        epistemic: the part by which samples of weights, or the peers of an ensemble, disagree; None
            where one network says one thing of every row.
        aleatoric: the other part, how unsure each of them is by itself; None as before.
    """

    class_names: tuple[str, ...]
    probabilities: Tensor
    multilabel: bool = False
    total: Tensor | None = None
    epistemic: Tensor | None = None
    aleatoric: Tensor | None = None

    @property
    def classes(self) -> Tensor:
        """Numbers of the likeliest classes, int64 (N,) or (N, H, W); of several labels, which hold,
        bool like `probabilities`."""
        if self.multilabel:
            return self.probabilities > 0.5
        return self.probabilities.argmax(1)

    @property
    def labels(self) -> list[Any]:
        """Names of the classes, one a row; where several labels can hold, a tuple of them a row.

        Raises InputError: masks, whose `classes` are numbers of `class_names`.
        """
        if self.probabilities.ndim != 2:
            raise InputError("labels: what is predicted are masks; their numbers are in .classes")
        names = self.class_names
        if not self.multilabel:
            return [names[number] for number in self.classes.tolist()]
        return [tuple(names[n] for n in row.nonzero()[:, 0]) for row in self.classes]

    def __len__(self) -> int:
        return len(self.probabilities)

    def __repr__(self) -> str:
        shape = tuple(self.probabilities.shape)
        return f"Predicted(probabilities {shape}, classes {', '.join(self.class_names)})"


class Loaded:
    """A finished run, ready for use; from `peerlearn.load`.

    ```python
    run = peerlearn.load("runs/first")
    run.predict(x).labels                                   # raw rows, as in training
    run.peer("best")(run.preprocess(x))                     # a plain module
    ```

    Attributes:
        run: the folder, its configuration and its reader.
        results: the content of `results.json`.
    """

    def __init__(self, run: TrainedRun) -> None:
        self.run = run
        self.results: Results = run.results

    @property
    def info(self) -> DataInfo:
        """Classes and their names, and of plain rows the shape, the mean and the std."""
        return self.run.info

    @cached_property
    def peers(self) -> Mapping[str, nn.Module]:
        """Every peer by name, in evaluation mode and with its selected weights.

        They read what `preprocess` gives, and say what the network of the user's own or of the
        recipe says: a `PeerOutput`, whose `logits` are those of the classes, of built-in ones.
        """
        return {name: self._alone(name).eval() for name in self.run.peers}

    def peer(self, name: str = "best", mean: bool = False) -> nn.Module:
        """One peer, or the `best` on validation; see `peers`.

        `mean`: of a Bayesian peer, which draws its weights anew in every forward, one network of
        torch's own layers that has the means of its weights.

        Raises InputError: no such peer, or nothing was selected on validation; or `mean` of a peer
        whose weights have no distribution.
        """
        name = self.name_of(name)
        if not mean:
            return self.peers[name]
        if not is_bayesian(self.peers[name]):
            raise InputError(f"mean: peer {name!r} has weights, and no distribution of them")
        return to_deterministic(self.peers[name])

    def name_of(self, name: str) -> str:
        """The peer that `best` means, or the name itself; InputError as for `peer`."""
        if name == "best":
            return self.run.best_peer
        if name not in self.run.peers:
            hint = " The ensemble is run.ensemble." if name == "ensemble" else ""
            error = unknown_name("peer", name, [*self.run.peers, "best"], "peer")
            raise InputError(f"{error}{hint}")
        return name

    @property
    def ensemble(self) -> Probabilities:
        """The mean probabilities (N, C, ...) of its members; it reads what a peer reads.

        It costs a forward of every member.
        """
        return self.probabilities("ensemble")

    @property
    def preprocess(self) -> nn.Module:
        """Makes of raw rows, uint8 or float (N, C, ...), what the peers read.

        Raises InputError: the peers read graphs.
        """
        return self.run.reader.preprocess()

    def probabilities(
        self, who: str = "best", raw: bool = False, mean: bool = False
    ) -> Probabilities:
        """A module that gives the probabilities of `who`, a peer or the ensemble.

        `raw` puts `preprocess` in front. `mean`: of Bayesian peers those of their mean weights.
        Raises InputError: no such peer.
        """
        cohort, task = self._cohort, self.run.recipe.task
        names = self.run.members if who == "ensemble" else [self.name_of(who)]
        needed = dict.fromkeys(n for name in names for n in task.runs(self.run.config, name))
        return Probabilities(
            {name: taken(cohort.peers[name], mean) for name in needed},
            names,
            self.run.reader.aligned,
            cohort.trunk,
            self.info.multilabel,
            self.preprocess if raw else None,
        ).eval()

    def predict(
        self, rows: Any, peer: str = "best", device: str | None = None, **options: Any
    ) -> Predicted:
        """Probabilities and labels of raw rows, and how unsure these are; as `peerlearn predict`.

        Args:
            rows: arrays or tensors as in an `.npz` file, for graphs by name (`x`, `edge_index`);
                or a path of what `peerlearn predict` reads, or a list of paths.
            peer: a name, `best` (on validation) or `ensemble`.
            device: where to run; None as in training.
            **options: of `peerlearn predict`, such as `tile`.

        Raises InputError: rows that cannot be read or do not fit; or images that are segmented and
        of several sizes.
        """
        predictor = Predictor(self.run, peer, device, **options)
        paths = _as_paths(rows)
        made = list(predictor.predict(paths) if paths else predictor.predict_rows(rows))
        parts = [each.probabilities.to(torch.float32) for each in made]
        shapes = {tuple(part.shape[1:]) for part in parts}
        if len(shapes) > 1:
            sizes = ", ".join(f"{shape[-1]}x{shape[-2]}" for shape in sorted(shapes))
            raise InputError(f"predict: images of several sizes, {sizes}; predict them one by one")
        unsure = [each.uncertainty for each in made if each.uncertainty is not None]
        found = [torch.cat(part).float() for part in zip(*unsure, strict=True)]
        known = found if predictor.divides else found[:1]
        return Predicted(self.info.class_names, torch.cat(parts), self.info.multilabel, *known)

    def export(
        self,
        out: str | Path,
        peer: str = "best",
        format: str | None = None,
        normalised: bool = False,
        mean: bool = False,
    ) -> Path:
        """Write a peer or the ensemble to a file; see `peerlearn.serving.export.export`."""
        from peerlearn.serving.export import export

        return export(self, out, peer, format, normalised, mean).path

    @cached_property
    def _cohort(self) -> Cohort:
        """On the CPU, whatever device `predict` uses."""
        return self.run.restored()

    def _alone(self, name: str) -> nn.Module:
        cohort = self._cohort
        if cohort.trunk is None:
            return cohort.peers[name]
        _, *others = self.run.recipe.task.runs(self.run.config, name)
        read = {other: cohort.peers[other] for other in others}
        return OnTrunk(cohort.trunk, cohort.peers[name], read)

    def __repr__(self) -> str:
        peers = ", ".join(self.run.peers)
        return (
            f"<run {self.run.folder}: {self.run.recipe.name}, peers {peers}; {self.info.content}>"
        )


def load(
    run: str | Path, trust: bool = False, networks: Mapping[str, nn.Module] | None = None
) -> Loaded:
    """A finished run, or one cell of a comparison, as plain modules.

    ```python
    run = peerlearn.load("runs/first")
    run.peers, run.peer("best"), run.ensemble, run.preprocess     # modules
    run.predict(x, peer="ensemble").labels
    ```

    Args:
        run: its folder.
        trust: allow it to run code of your own that its configuration names by `python:`, such as
            the function that makes a network.
        networks: of a run of `peerlearn.fit`, which keeps weights alone: each peer made again, by
            name; they are filled in place.

    Raises InputError: no finished run there, it names code and is not trusted, or the networks are
    not those of its peers.
    """
    opened = open_run(run, trust)
    loaded = Loaded(opened if networks is None else replace(opened, networks=networks))
    if networks is not None:
        _ = loaded.peers  # what does not fit is said here
    return loaded


def taken(peer: nn.Module, mean: bool) -> nn.Module:
    """A peer as it is; with `mean`, of a Bayesian one the network of its mean weights."""
    return to_deterministic(peer) if mean and is_bayesian(peer) else peer


def _as_paths(rows: Any) -> Sequence[Path]:
    """The paths that rows are, if they are."""
    if isinstance(rows, str | Path):
        return [Path(rows)]
    listed = isinstance(rows, list | tuple) and bool(rows)
    if listed and all(isinstance(each, str | Path) for each in rows):
        return [Path(each) for each in rows]
    return []
