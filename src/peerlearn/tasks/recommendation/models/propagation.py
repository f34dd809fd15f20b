"""Sparse products with a gradient, and propagation over who listens to what and who knows whom.

He, Deng, Wang, Li, Zhang, Wang, "LightGCN", SIGIR 2020, equations 7 and 8, with friendships beside:

    u^(l+1) = (1 − α) R̂ i^(l) + α Ŝ u^(l)        R̂ = D_u^(−½) R D_i^(−½),  Ŝ = D^(−½) S D^(−½)
    i^(l+1) = R̂ᵀ u^(l)                           the result is the mean over l = 0 … L

Users without friends keep the whole of R̂ i, α = 0 is LightGCN, and nodes without edges get 0.

Shape suffixes: U users, I items, D units, N interactions, E friendships.
"""

import warnings
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn


class _Product(torch.autograd.Function):
    """A @ x for a sparse A given with its transpose, so that the gradient is one product."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, transposed: Tensor, x: Tensor) -> Tensor:
        ctx.transposed = transposed
        return a @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradients[0]


def product(a: Tensor, transposed: Tensor, x: Tensor) -> Tensor:
    """A sparse matrix times a dense one, differentiable in the dense one.

    Shapes: a: CSR (n, m); transposed: CSR (m, n), its transpose; x: (m, D); result: (n, D).
    """
    made: Tensor = _Product.apply(a, transposed, x)
    return made


def csr(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A CSR matrix; entries of one place are added up."""
    indices = torch.stack([rows, columns])
    with warnings.catch_warnings():  # torch calls its CSR layout a beta feature, every time
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_coo_tensor(indices, values, shape).coalesce().to_sparse_csr()


class SocialGraph(nn.Module):
    """Who listens to what and who knows whom, as buffers that are saved with the network.

    Args:
        users, items: how many there are.
        interactions, friendships: how many.

    Shapes of buffers:
        interactions: int64 (2, N), a user and an item.
        friends: int64 (2, E), each pair once.
    """

    interactions: Tensor
    friends: Tensor

    def __init__(self, users: int, items: int, interactions: int, friendships: int) -> None:
        super().__init__()
        self.users, self.items = users, items
        self.register_buffer("interactions", torch.zeros(2, interactions, dtype=torch.int64))
        self.register_buffer("friends", torch.zeros(2, friendships, dtype=torch.int64))
        self._made: dict[str, tuple[Tensor, Tensor]] = {}

    def fill(self, interactions: Tensor, friends: Tensor) -> None:
        """Take the edges of data."""
        self.interactions.copy_(interactions)
        self.friends.copy_(friends)
        self._made.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Of a copy: without matrices, for torch copies none that is sparse."""
        return self.__dict__ | {"_made": {}}

    def _load_from_state_dict(self, *given: Any) -> None:
        super()._load_from_state_dict(*given)
        self._made.clear()

    def heard(self) -> tuple[Tensor, Tensor]:
        """R, 0 and 1, (U, I), and its transpose."""
        user, item = self.interactions
        shape = (self.users, self.items)
        return self._matrix("heard", user, item, shape, normalised=False)

    def listening(self) -> tuple[Tensor, Tensor]:
        """R̂ (U, I) and its transpose."""
        user, item = self.interactions
        return self._matrix("listening", user, item, (self.users, self.items))

    def knowing(self) -> tuple[Tensor, Tensor]:
        """Ŝ (U, U), twice: it is symmetric."""
        one, other = self.friends
        both = torch.cat([one, other]), torch.cat([other, one])
        return self._matrix("knowing", *both, (self.users, self.users))

    def _matrix(
        self,
        name: str,
        rows: Tensor,
        columns: Tensor,
        shape: tuple[int, int],
        normalised: bool = True,
    ) -> tuple[Tensor, Tensor]:
        made = self._made.get(name)
        if made is None or made[0].device != rows.device:
            ones = torch.ones(len(rows), device=rows.device)
            degrees = [
                torch.zeros(size, device=rows.device).index_add_(0, ends, ones)
                for size, ends in zip(shape, (rows, columns), strict=True)
            ]
            values = (degrees[0][rows] * degrees[1][columns]).rsqrt() if normalised else ones
            made = csr(rows, columns, values, shape), csr(columns, rows, values, shape[::-1])
            self._made[name] = made
        return made

    def known_by(self, users_B: Tensor) -> Tensor:
        """Whom some users know, 0 and 1, float32 (B, U)."""
        one, other = self.friends
        know_UU = torch.zeros(self.users, self.users, device=one.device)
        know_UU[one, other] = know_UU[other, one] = 1
        return know_UU[users_B]

    def with_friends(self) -> Tensor:
        """bool (U, 1), who knows somebody."""
        known = torch.zeros(self.users, dtype=torch.bool, device=self.friends.device)
        known[self.friends.flatten()] = True
        return known.unsqueeze(1)


def propagated(
    graph: SocialGraph, user_UD: Tensor, item_ID: Tensor, layers: int, alpha: float
) -> tuple[Tensor, Tensor]:
    """Mean of the embeddings over 0 to `layers` rounds of propagation.

    Shapes: user_UD (U, D) and item_ID (I, D); the result is of both shapes.
    """
    listening, listened = graph.listening()
    if social := alpha > 0 and graph.friends.shape[1] > 0:
        knowing, _ = graph.knowing()
        share_U1 = alpha * graph.with_friends().to(user_UD.dtype)
    users, items = [user_UD], [item_ID]
    for _ in range(layers):
        user, item = users[-1], items[-1]
        heard_UD = product(listening, listened, item)
        if social:
            heard_UD = torch.lerp(heard_UD, product(knowing, knowing, user), share_U1)
        users.append(heard_UD)
        items.append(product(listened, listening, user))
    # Added up in turn, for a stack of all would be as large as they are together.
    return reduce(torch.add, users) / len(users), reduce(torch.add, items) / len(items)
