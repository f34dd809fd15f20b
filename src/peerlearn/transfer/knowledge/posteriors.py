"""Posterior knowledge: learners keep the distributions of their weights away from their teachers'.

Pham et al., "Model and Feature Diversity for Bayesian Neural Networks in Mutual Learning", NeurIPS
2023, arXiv 2407.02721: two Bayesian peers whose Gaussian posteriors with diagonal covariances are
pushed apart by the optimal transport distance. Re-derived from the public abstract; coefficients,
the transform and everything named by an option are ours.

"""

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.errors import Faults, InputError, did_you_mean
from peerlearn.transfer.knowledge.base import IncomingEdges, Knowledge
from peerlearn.transfer.knowledge.repelling import LayerRepellingOptions
from peerlearn.transfer.outputs import BatchView
from peerlearn.transfer.posterior_distances import (
    DISTANCES,
    DistanceName,
    Gaussians,
    Peers,
    Posterior,
    posteriors_of,
    shape_of,
    together,
)

#: Names that a message lists.
FEW = 6

NO_WIDTH = 1e-20
"""σ below it is of a posterior that is not known yet."""


class PosteriorOptions(LayerRepellingOptions):
    """Options of entries about posteriors."""

    headline = "distance"
    reported = ("transform", "per_layer", "normalise", "stop_distance", "weight", "target")

    distance: DistanceName = Field(
        "w2",
        description="w2: the squared 2-Wasserstein distance; kl: of the learner's posterior from "
        "the teacher's; symmetric_kl: the mean of both ways",
    )
    per_layer: bool = Field(
        False,
        description="false: distances are summed over all tensors and then transformed; true: "
        "transformed for each tensor, and the mean is taken",
    )
    normalise: bool = Field(
        False,
        description="divide w2 by the squared norms of both means, so that to grow is no way to "
        "move apart",
    )

    @property
    def reads_eps(self) -> bool:
        return self.normalise or super().reads_eps

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.normalise and self.distance != "w2":
            yield (
                f"normalise: true with distance {self.distance!r}, which is in units of σ already; "
                "allowed: false"
            )


class PosteriorKnowledge(Knowledge):
    """A learner's loss is −f(D) of its posterior and each teacher's.

    With W2 and the logarithm its gradient with respect to the learner's means is
    −2 w (μ − μ') / (ε + W2): it has no scale, fades with distance, and is exactly zero where
    means are equal, of which `prepare` warns. Teachers get none, unless `detach: false`.
    """

    Options = PosteriorOptions
    travels = "networks"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: By teacher and learner: names of the tensors of each that are compared.
        self.matched: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def prepare(self, view: BatchView) -> None:
        """See that posteriors can be compared and differ; `InputError` as for `losses`."""
        self.matched.clear()
        if not view.peers:
            return
        faults = Faults()
        for peer in dict.fromkeys(peer for pair in self.pairs for peer in pair):
            with faults.gathered():
                found = self._posteriors(peer, view)
                if all(bool((each.std < NO_WIDTH).all()) for each in found.values()):
                    raise InputError(
                        f"{self.field}.knowledge: 'posteriors' compares widths that train, and "
                        f"those of peer {peer!r} are fitted after the training (posterior: "
                        "laplace); make it gaussian, or leave it out of from and to"
                    )
        faults.check()
        alike: dict[frozenset[str], None] = {}
        with torch.no_grad():
            for teacher, learner in self.pairs:
                one, other = self._compared(teacher, learner, view)
                if torch.equal(one.mean_W, other.mean_W.to(one.mean_W.device)):
                    alike[frozenset((teacher, learner))] = None
        if alike and self.options.weight:
            pairs = ", ".join(" and ".join(sorted(pair)) for pair in alike)
            warnings.warn(
                f"{self.field}: the posteriors of {pairs} have equal means, where the gradient "
                "that pushes means apart is exactly zero; start peers from different seeds, or "
                "pre-train each from a seed of its own",
                stacklevel=2,
            )

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """−f(D), the mean or the sum over teachers.

        Raises InputError: networks that are not there or have no posteriors, or tensors that do
        not correspond.
        """
        return {edges.learner: self._loss(edges, view) for edges in self.wanted(learners)}

    def distances(self, peers: Peers) -> dict[tuple[str, str], float]:
        """By (teacher, learner): D summed over the tensors of the entry, as they are now."""
        view = BatchView({}, peers=peers)
        with torch.no_grad():
            found = [self._distance(*pair, view).sum() for pair in self.pairs]
        return dict(zip(self.pairs, torch.stack(found).tolist(), strict=True))

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        options = self.options
        losses = (
            options.repulsion(self._distance(teacher, edges.learner, view)).mean()
            for teacher in edges.teachers
        )
        return options.of_teachers(tuple(losses))

    def _distance(self, teacher: str, learner: str, view: BatchView) -> Tensor:
        """D of all tensors together, (1,), or of each."""
        options = self.options
        taught, learnt = self._compared(teacher, learner, view)
        if options.detach:
            taught = taught.detach()
        with torch.autocast(learnt.mean_W.device.type, enabled=False):
            apart = _summed(DISTANCES[options.distance](taught, learnt), learnt, options.per_layer)
            if options.normalise:
                # With its gradient: f is then flat where both norms are equal, so that growing is
                # not rewarded. Under a logarithm a detached divisor would change no gradient.
                squares = taught.mean_W.square() + learnt.mean_W.square()
                apart = apart / (options.eps + _summed(squares, learnt, options.per_layer))
        return apart

    def _compared(self, teacher: str, learner: str, view: BatchView) -> tuple[Posterior, Posterior]:
        """The tensors of both that correspond; one that several ask for is made once a batch."""
        found = self._posteriors(teacher, view), self._posteriors(learner, view)
        pair = (teacher, learner)
        if pair not in self.matched:
            self.matched[pair] = matched(self.field, self.options.layers, pair, found)
        one, other = (
            view.once(("posterior", peer, names), partial(together, it, names))
            for peer, it, names in zip(pair, found, self.matched[pair], strict=True)
        )
        return one, other

    def _posteriors(self, peer: str, view: BatchView) -> Gaussians:
        if peer not in view.peers:
            raise InputError(
                f"{self.field}: knowledge 'posteriors' reads the networks themselves; pass "
                "peers=cohort.peers to the losses of a transfer graph (cohort.loss does)"
            )
        found = view.once(("posteriors", peer), partial(posteriors_of, view.peers[peer]))
        if not found:
            raise InputError(
                f"{self.field}.knowledge: 'posteriors' compares distributions of weights, and peer "
                f"{peer!r} has none; make it Bayesian (peers.{peer}.bayesian, or to_bayesian; with "
                "posterior gaussian, for dropout has none), or leave it out of from and to"
            )
        return found


def matched(
    field: str, layers: Any, pair: tuple[str, str], posteriors: tuple[Gaussians, Gaussians]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the tensors of a teacher and of a learner that correspond, in one order.

    Raises InputError: unknown names, or tensors that do not correspond; names `field`.
    """
    names: tuple[list[str], ...] = list(posteriors[0]), list(posteriors[1])
    if layers is not None:
        given = [layers] if isinstance(layers, str) else layers
        ends = given.items() if isinstance(given, Mapping) else [(each, each) for each in given]
        names = tuple(
            list(dict.fromkeys(n for end in ends for n in _named(field, end[side], peer, of)))
            for side, (peer, of) in enumerate(zip(pair, posteriors, strict=True))
        )
    if not isinstance(layers, Mapping):  # by name, whatever the order
        names = names if set(names[0]) != set(names[1]) else (names[1], names[1])
    keys = [
        [(None if isinstance(layers, Mapping) else n, shape_of(of, n)) for n in each]
        for of, each in zip(posteriors, names, strict=True)
    ]
    if keys[0] == keys[1]:
        return tuple(names[0]), tuple(names[1])
    # Those that differ; where each has its like and only numbers or order differ, all of them.
    sides = [
        [n for n, key in zip(names[side], keys[side], strict=True) if key not in keys[1 - side]]
        or names[side]
        for side in (0, 1)
    ]
    said = " and ".join(
        f"{peer!r} has {_listed(f'{n} {shape_of(of, n)}' for n in side)}"
        for peer, of, side in zip(pair, posteriors, sides, strict=True)
    )
    raise InputError(
        f"{field}.layers: the posteriors of teacher and learner do not correspond: {said}. Name "
        "tensors or modules that both have alike, or in an entry for each direction those that "
        "correspond, {TEACHER'S: LEARNER'S}"
    )


def _named(field: str, told: str, peer: str, posteriors: Gaussians) -> list[str]:
    """The tensors of a name: one, or all of a module."""
    found = [name for name in posteriors if name == told or name.startswith(f"{told}.")]
    if not found:
        modules = (name.rpartition(".")[0] for name in posteriors)
        known = dict.fromkeys([*filter(None, modules), *posteriors])
        raise InputError(
            f"{field}.layers: unknown posterior {told!r} of peer {peer!r}."
            f"{did_you_mean(told, known)} Allowed: {_listed(known)}."
        )
    return found


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = len(every) - FEW
    return ", ".join(islice(every, FEW)) + (f" and {more} more" if more > 0 else "")


def _summed(each_W: Tensor, like: Posterior, per_tensor: bool) -> Tensor:
    if per_tensor:
        return torch.stack([part.sum() for part in each_W.split(like.sizes)])
    return each_W.sum().unsqueeze(0)
