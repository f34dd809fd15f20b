"""What users want, and what they know already and need not be told.

Shape suffixes: U users, V = U + 1, B users of a batch, N, P pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.dataset import ItemLists, width_of


@dataclass(frozen=True)
class Wanted:
    """Targets of a batch of users whom all items are ranked for.

    Pairs are of a row of the batch and an item, each once. What is wanted must not have been seen:
    it could never be found.

    Shapes:
        users_B: int64 (B,), their numbers.
        wanted_2P: int64 (2, P), what is to be found; of users without a pair nothing is measured.
        seen_2P: int64 (2, P), what is left out of rankings.

    Raises InputError: shapes do not fit, a row is not of the batch, a pair is there twice, or what
        is wanted was seen.
    """

    users_B: Tensor
    wanted_2P: Tensor
    seen_2P: Tensor

    def __post_init__(self) -> None:
        for name, pairs_2P in (("wanted", self.wanted_2P), ("seen", self.seen_2P)):
            if pairs_2P.ndim != 2 or len(pairs_2P) != 2 or self.users_B.ndim != 1:
                raise InputError(
                    f"metrics: users {tuple(self.users_B.shape)} and {name} "
                    f"{tuple(pairs_2P.shape)}; expected (B,) and (2, pairs)"
                )
            _check_pairs(pairs_2P, len(self.users_B), name)
        width = width_of(torch.cat([self.wanted_2P[1], self.seen_2P[1]]))
        both = torch.isin(pair_keys(self.wanted_2P, width), pair_keys(self.seen_2P, width))
        if both.any():
            row, item = self.wanted_2P[:, both][:, 0].tolist()
            raise InputError(
                f"metrics: user {int(self.users_B[row])} wants item {item}, which is also among "
                "the items seen; expected items that are ranked"
            )

    @classmethod
    def of(cls, users_B: Tensor, wanted: ItemLists, seen: ItemLists) -> "Wanted":
        """What some users want."""
        return cls(users_B, wanted.pairs(users_B), seen.pairs(users_B))

    def __len__(self) -> int:
        return len(self.users_B)

    @property
    def counts(self) -> Tensor:
        """How many items each user wants, int64 (B,)."""
        return self.wanted_2P[0].bincount(minlength=len(self))

    def split(self, rows: int) -> Iterator[tuple[slice, "Wanted"]]:
        """Parts of at most so many users, each with its place."""
        for start in range(0, len(self), rows):
            place = slice(start, min(start + rows, len(self)))
            yield (
                place,
                Wanted(
                    self.users_B[place],
                    _within(self.wanted_2P, place),
                    _within(self.seen_2P, place),
                ),
            )


def cold_users(counts_U: Tensor, at_most: Sequence[int] = (5, 10, 20)) -> dict[str, Tensor]:
    """Groups of users of whom little is known, by name, bool (U,): `cold5` has 5 items or fewer.

    `counts_U`, int (U,), is how many items users have in training.
    """
    return {f"cold{most}": counts_U <= most for most in at_most}


def pair_keys(pairs_2P: Tensor, items: int) -> Tensor:
    """One number a pair, int64 (P,), all of them different."""
    return pairs_2P[0] * items + pairs_2P[1]


def _within(pairs_2P: Tensor, place: slice) -> Tensor:
    kept_P = (pairs_2P[0] >= place.start) & (pairs_2P[0] < place.stop)
    return pairs_2P[:, kept_P] - torch.tensor([[place.start], [0]])


def _check_pairs(pairs_2P: Tensor, rows: int, name: str) -> None:
    if not pairs_2P.shape[1]:
        return
    row_P, item_P = pairs_2P
    for what, found_P, allowed in (("row", row_P, f"0 to {rows - 1}"), ("item", item_P, "0 on")):
        odd_P = (found_P < 0) | ((found_P >= rows) & (what == "row"))
        if odd_P.any():
            raise InputError(
                f"metrics: {name}: {what} {int(found_P[odd_P][0])}; allowed: {allowed}"
            )
    keys_P, times_P = pair_keys(pairs_2P, width_of(item_P)).unique(return_counts=True)
    if (times_P > 1).any():
        row, item = divmod(int(keys_P[times_P > 1][0]), width_of(item_P))
        raise InputError(f"metrics: {name}: item {item} of row {row} is there more than once")
