"""Everything that is measured on rankings of all items, batch by batch: scores are let go of.

Shape suffixes: B users of a batch, U users, I items, K places of a list.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from peerlearn.errors import InputError, unknown_name
from peerlearn.metrics.assessment import RowTensors, mean_metrics
from peerlearn.tasks.recommendation.metrics.catalogue import MAIN
from peerlearn.tasks.recommendation.metrics.ensemble import ensemble_scores
from peerlearn.tasks.recommendation.metrics.lists import ItemFacts, recommended
from peerlearn.tasks.recommendation.metrics.ranking import (
    CUTOFFS,
    NO_ITEM,
    ROWS,
    hits,
    list_metrics,
    mean_over_users,
    top_items,
)
from peerlearn.tasks.recommendation.metrics.wanted import Wanted

AGREEMENT_AT = 20
"""Length of the lists by which two branches agree."""


class RankingAssessment:
    """Metrics of a cohort of branches that score all items, over users who want something.

    Every branch is measured alone, by its own scores of all items, and the ensemble by
    `ensemble_scores`, in which only the branches that serve an item say something of it. Metrics
    are means over users:

    - of what is found: `list_metrics` for every cut-off K.
    - `coverage@K`: share of all items that are in the first K places of some user's list. This one
      is no mean over users: it grows with them.
    - where facts of items are given, `popularity@K` and `diversity@K`; see `ItemFacts`.
    - `recall@20:NAME` and others of `MAIN`, of every group of users; NaN of a group without users.
    - between peers, `agreement`: share of the first 20 places that two branches' lists share.

    Args:
        there: by branch, the items it serves, bool (I,); a branch without an entry serves all.
        members: peers whose mean and ensemble are measured; None for all.
        groups: by name, which users are in a group, bool (U,); see `cold_users`.
        facts: of items.
        cutoffs: lengths of lists.
    """

    def __init__(
        self,
        *,
        there: Mapping[str, Tensor] | None = None,
        members: Collection[str] | None = None,
        groups: Mapping[str, Tensor] | None = None,
        facts: ItemFacts | None = None,
        cutoffs: Sequence[int] = CUTOFFS,
    ) -> None:
        self.there = {name: there_I.cpu() for name, there_I in (there or {}).items()}
        self.members, self.facts, self.cutoffs = members, facts, tuple(cutoffs)
        self.groups = {name: in_U.cpu() for name, in_U in (groups or {}).items()}
        self._values: dict[str, dict[str, list[Tensor]]] = {}
        self._covered: dict[str, dict[int, Tensor]] = {}
        self._shared: dict[str, list[Tensor]] = {}
        self._peers: tuple[str, ...] = ()
        self._items = 0

    def add(self, logits: Mapping[str, Tensor], y: object) -> None:
        """Count a batch.

        Args:
            logits: scores of all items by peer, the same peers in every batch, float (B, I).
            y: a `Wanted` of these users.

        Raises InputError: shapes, items, users or peers do not fit.
        """
        wanted = self._checked(logits, y)
        for place, part in wanted.split(ROWS):
            if len(part.wanted_2P[0]):
                self._count({name: z[place].cpu() for name, z in logits.items()}, part)

    def result(self) -> dict[str, Any]:
        """What was counted so far, in the form of `assess_classification`.

        Raises InputError: nobody who was added wants anything.
        """
        if not self._values:
            raise InputError("metrics: no user who wants an item; nothing can be measured")
        everyone = {who: self._metrics(who) for who in self._values}
        together = everyone.pop("ensemble")
        return {
            "peers": everyone,
            "mean_peer": mean_metrics([everyone[name] for name in self._chosen()]),
            "ensemble": together,
            "between_peers": {
                "agreement": {
                    pair: torch.cat(parts).mean().item() for pair, parts in self._shared.items()
                }
            },
        }

    def row_scores(self) -> RowTensors:
        """Of every user who wants something, in the order they were added: all but the coverage."""
        return {
            who: {name: torch.cat(parts).float() for name, parts in found.items()}
            for who, found in self._values.items()
        }

    def _count(self, scores: Mapping[str, Tensor], wanted: Wanted) -> None:
        kept_B = wanted.counts > 0
        members = {name: scores[name] for name in self._chosen()}
        k = max(AGREEMENT_AT, *self.cutoffs)
        top = {who: top_items(each_BI, wanted.seen_2P, k) for who, each_BI in scores.items()}
        if len(members) == 1:  # ranks as its one member does
            top["ensemble"] = top[next(iter(members))]
        else:
            ensemble_BI = ensemble_scores(members, self.there, wanted.seen_2P)
            top["ensemble"] = top_items(ensemble_BI, wanted.seen_2P, k)
        for who, top_BK in top.items():
            found = list_metrics(hits(top_BK, wanted.wanted_2P), wanted.counts, self.cutoffs)
            for cutoff in self.cutoffs:
                if self.facts is not None:
                    found |= self.facts.metrics(top_BK, cutoff)
                listed_I = recommended(top_BK[kept_B, :cutoff], self._items)
                covered = self._covered.setdefault(who, {})
                covered[cutoff] = listed_I | covered.get(cutoff, listed_I)
            found |= self._of_groups(found, wanted.users_B)
            values = self._values.setdefault(who, {})
            for name, value_B in found.items():
                values.setdefault(name, []).append(value_B[kept_B])
        for a, b in combinations(scores, 2):
            shared_B = _shared(top[a][kept_B, :AGREEMENT_AT], top[b][kept_B, :AGREEMENT_AT])
            self._shared.setdefault(f"{a}~{b}", []).append(shared_B)

    def _of_groups(self, found: Mapping[str, Tensor], users_B: Tensor) -> dict[str, Tensor]:
        """The main metrics of users of every group, NaN of others."""
        return {
            f"{name}:{group}": found[name].where(in_U[users_B], torch.nan)
            for group, in_U in self.groups.items()
            for name in MAIN
            if name in found
        }

    def _metrics(self, who: str) -> dict[str, float]:
        values = self._values[who]
        means = {name: mean_over_users(torch.cat(parts)) for name, parts in values.items()}
        coverage = {
            f"coverage@{k}": listed_I.double().mean().item()
            for k, listed_I in self._covered[who].items()
        }
        return means | coverage

    def _chosen(self) -> list[str]:
        return [name for name in self._peers if self.members is None or name in self.members]

    def _checked(self, logits: Mapping[str, Tensor], y: object) -> Wanted:
        """The targets, once everything fits; remembers peers and how many items there are."""
        if not isinstance(y, Wanted):
            raise InputError(f"metrics: targets are {type(y).__name__}; expected Wanted")
        if not logits or (self._peers and tuple(logits) != self._peers):
            raise InputError(
                f"metrics: outputs of peers {', '.join(logits) or 'none'}; "
                f"earlier batches had {', '.join(self._peers) or 'none'}"
            )
        items = self._items or next(iter(logits.values())).shape[-1]
        for name, z in logits.items():
            if z.shape != (len(y), items):
                raise InputError(
                    f"metrics: peer {name!r}: scores {tuple(z.shape)}; expected "
                    f"{(len(y), items)}: of every user of the batch for all items"
                )
        for name, there_I in self.there.items():
            if name not in logits:
                raise unknown_name("peer", name, logits, "there")
            if there_I.shape != (items,) or there_I.dtype != torch.bool:
                raise InputError(
                    f"there: peer {name!r}: {there_I.dtype} {tuple(there_I.shape)}; expected bool "
                    f"({items},), one for each item"
                )
        largest = max((int(p[1].max()) for p in (y.wanted_2P, y.seen_2P) if p.numel()), default=0)
        if largest >= items:
            raise InputError(f"metrics: item {largest}; peers score items 0 to {items - 1}")
        for group, in_U in self.groups.items():
            if len(y) and int(y.users_B.max()) >= len(in_U):
                raise InputError(
                    f"groups: {group!r} is of {len(in_U)} users; found user {int(y.users_B.max())}"
                )
        self._peers, self._items = tuple(logits), items
        return y


def _shared(one_BK: Tensor, other_BK: Tensor) -> Tensor:
    """Share of the items of two lists that both have, float64 (B,); 0 where both are empty."""
    same_BK = (one_BK[:, :, None] == other_BK[:, None, :]).any(2) & (one_BK != NO_ITEM)
    length_B = torch.maximum((one_BK != NO_ITEM).sum(1), (other_BK != NO_ITEM).sum(1))
    return same_BK.sum(1).double() / length_B.clamp_min(1)
