"""Listening that is drawn at random: of a size, and with few artists that most people hear."""

from pathlib import Path
from typing import Any

import numpy as np

SKEW = 1.05
"""Of popularity, which falls with this power of an item's rank."""
SEED = 0


def random_log(users: int, items: int, pairs: int, tested: int) -> dict[str, Any]:
    """Arrays of an `.npz` that the task reads: who heard what, each pair once, and who knows whom.

    Args:
        users, items: how many there are.
        pairs: drawn; some are drawn twice and are there once.
        tested: users of whom a fifth of the items is in test.
    """
    random = np.random.default_rng(SEED)
    popularity = np.arange(1, items + 1) ** -SKEW
    rank = np.searchsorted(np.cumsum(popularity) / popularity.sum(), random.random(pairs))
    item = random.permutation(items)[rank.clip(0, items - 1)]
    user = np.arange(pairs) % users
    key = np.unique(user * items + item)
    user, item = np.divmod(key, items)
    friends = random.integers(users, size=(4 * users, 2))
    friends = np.unique(np.sort(friends[friends[:, 0] != friends[:, 1]], axis=1), axis=0)
    return {
        "user": user,
        "item": item,
        "test": (user < tested) & (random.random(len(user)) < 0.2),
        "friends": friends,
        "user_id": np.arange(users),
        "item_id": np.arange(items),
    }


def saved(folder: str, users: int, items: int, pairs: int, tested: int) -> str:
    """The path of such a log in a folder."""
    path = Path(folder) / "log.npz"
    np.savez(path, **random_log(users, items, pairs, tested))
    return str(path)
