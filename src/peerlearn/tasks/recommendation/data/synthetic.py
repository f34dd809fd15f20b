"""A world in which people listen by taste, by mood and by what their friends like.

All of it is drawn from factors that are known, so that a method can be seen to find them. The three
views of an item, lyrics, audio and visual, each leave out another third of the factors.

Shape suffixes: U users, I items, K factors, N interactions, E friendships.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from peerlearn.memory import check_memory
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.recommendation.data.raw import Raw, Table, numbered
from peerlearn.tasks.recommendation.data.spec import WorldSpec

SYNTHETIC = "synthetic"
VIEWS = {"lyrics": 24, "audio": 32, "visual": 16}
"""Features of each view."""

MET = 32
"""People whom a user meets, and among whom friends are chosen for their taste."""

SHARPNESS = 2.0
"""How much taste decides, beside chance of deviation 1.28 (a Gumbel variable)."""


@dataclass(frozen=True)
class World:
    """What is true, and what is seen of it.

    Shapes:
        taste_UK: what users like, before friends.
        item_IK: what items are like; the first two are their mood.
        mood_U2: the valence and arousal that users like.
        mood_I2: valence and arousal of items, in [−1, 1].
        friends_2E: int64, each pair once, the smaller number first.
        score_UI: by which users choose, before chance.
        user_N, item_N, count_N, time_N: who chose what, how often, and when.
        views: by name, (I, F) with rows of NaN where a view knows nothing.
        labelled_I: items whose mood is told.
    """

    taste_UK: Tensor
    item_IK: Tensor
    mood_U2: Tensor
    mood_I2: Tensor
    friends_2E: Tensor
    score_UI: Tensor
    user_N: Tensor
    item_N: Tensor
    count_N: Tensor
    time_N: Tensor
    views: dict[str, Tensor]
    labelled_I: Tensor


def make_world(spec: WorldSpec) -> World:
    """The world of a specification: the same for the same one.

    score(u, i) = 2 (p̃_u·q_i/√K + emotion · m_u·va_i/2) + popularity_i with
    p̃_u = (1 − social) p_u + social · mean of p over friends, and va_i = tanh of two factors. A user
    takes the n_u items of the highest score plus Gumbel noise, n_u Poisson of `listens`.

    Raises InputError: it needs more memory than there is.
    """
    users, items, factors = spec.users, spec.items, spec.factors
    check_memory(24 * users * items, "data.world: users times items")

    def normal(key: str, *shape: int) -> Tensor:
        return torch.randn(shape, generator=keyed_generator(spec.seed, "world", key))

    taste_UK, item_IK = normal("taste", users, factors), normal("items", items, factors)
    mood_U2, mood_I2 = normal("liked mood", users, 2).tanh(), item_IK[:, :2].tanh()
    friends_2E = _friends(taste_UK, spec)
    heard_UK = _with_friends(taste_UK, friends_2E, spec.social)
    score_UI = heard_UK @ item_IK.T / factors**0.5 + spec.emotion * mood_U2 @ mood_I2.T / 2
    score_UI = SHARPNESS * score_UI + normal("popularity", items)
    user_N, item_N = _chosen(score_UI, spec)
    rate_N = score_UI[user_N, item_N].clamp(-3, 3).exp()
    counts = keyed_generator(spec.seed, "world", "counts")
    times = keyed_generator(spec.seed, "world", "times")
    labels = keyed_generator(spec.seed, "world", "labels")
    return World(
        taste_UK, item_IK, mood_U2, mood_I2, friends_2E, score_UI, user_N, item_N,
        count_N=1 + torch.poisson(rate_N, generator=counts),
        time_N=torch.rand(len(user_N), generator=times, dtype=torch.float64),
        views={name: _view(item_IK, name, spec) for name in VIEWS},
        labelled_I=torch.rand(items, generator=labels) < spec.labelled,
    )  # fmt: skip


def raw_world(spec: WorldSpec) -> Raw:
    """What is seen of a world, as a reader would hand it on; no view that knows nothing."""
    world = make_world(spec)
    mood = world.mood_I2.masked_fill(~world.labelled_I[:, None], torch.nan)
    views = {name: view.numpy() for name, view in world.views.items()}
    return Raw(
        SYNTHETIC, numbered("user", spec.users), numbered("item", spec.items),
        world.user_N.numpy(), world.item_N.numpy(),
        count_N=world.count_N.double().numpy(),
        place_N=np.arange(len(world.user_N)),
        time_N=world.time_N.numpy(),
        friends_E2=world.friends_2E.T.numpy(),
        tables={name: Table(x) for name, x in views.items() if not np.isnan(x).all()},
        emotion_I2=mood.numpy() if world.labelled_I.any() else None,
    )  # fmt: skip


def _friends(taste_UK: Tensor, spec: WorldSpec) -> Tensor:
    """int64 (2, E): of the people whom each user meets, those most alike, or any."""
    users = len(taste_UK)
    generator = keyed_generator(spec.seed, "world", "friends")
    met_UM = torch.randint(users - 1, (users, MET), generator=generator)
    here_U1 = torch.arange(users)[:, None]
    met_UM = met_UM + (met_UM >= here_U1)  # nobody meets themselves
    direction_UK = torch.nn.functional.normalize(taste_UK, dim=1)
    alike_UM = (direction_UK[:, None] * direction_UK[met_UM]).sum(2)
    ranked_UM = met_UM.gather(1, alike_UM.argsort(dim=1, descending=True, stable=True))
    wanted = min(spec.friends, MET)
    by_taste = torch.rand(users, wanted, generator=generator) < spec.homophily
    friend_UF = torch.where(by_taste, ranked_UM[:, :wanted], met_UM[:, :wanted])
    ends = torch.stack([here_U1.expand_as(friend_UF).flatten(), friend_UF.flatten()])
    return ends.sort(0).values.unique(dim=1)


def _with_friends(taste_UK: Tensor, friends_2E: Tensor, social: float) -> Tensor:
    """Tastes mixed with the mean of those of friends; of who has none, their own."""
    ends = torch.cat([friends_2E, friends_2E.flip(0)], 1)
    sums_UK = torch.zeros_like(taste_UK).index_add(0, ends[0], taste_UK[ends[1]])
    number_U1 = torch.bincount(ends[0], minlength=len(taste_UK))[:, None]
    mean_UK = torch.where(number_U1 > 0, sums_UK / number_U1.clamp(min=1), taste_UK)
    return (1 - social) * taste_UK + social * mean_UK


def _chosen(score_UI: Tensor, spec: WorldSpec) -> tuple[Tensor, Tensor]:
    """(user_N, item_N), drawn without replacement by the highest score plus Gumbel noise."""
    generator = keyed_generator(spec.seed, "world", "choice")
    chance = torch.rand(score_UI.shape, generator=generator).clamp(1e-12, 1 - 1e-7)
    order_UI = (score_UI - (-chance.log()).log()).argsort(dim=1, descending=True, stable=True)
    rate = torch.full((len(score_UI),), float(spec.listens))
    number = torch.poisson(rate, generator=keyed_generator(spec.seed, "world", "listens"))
    number = number.clamp((spec.listens + 1) // 2, None).clamp(max=spec.items).long()
    user_N, rank_N = (torch.arange(spec.items) < number[:, None]).nonzero(as_tuple=True)
    return user_N, order_UI[user_N, rank_N]


def _view(item_IK: Tensor, name: str, spec: WorldSpec) -> Tensor:
    """Two thirds of the factors, mixed, with noise; NaN where it knows nothing of an item."""
    generator = keyed_generator(spec.seed, "world", "view", name)
    factors, width = item_IK.shape[1], VIEWS[name]
    seen_K = torch.arange(factors) % len(VIEWS) != list(VIEWS).index(name)
    mixing_KF = torch.randn(factors, width, generator=generator) / factors**0.5
    noise_IF = torch.randn(len(item_IK), width, generator=generator)
    absent_I = torch.rand(len(item_IK), generator=generator) < spec.absent
    x_IF = (item_IK * seen_K) @ mixing_KF + spec.noise * noise_IF
    return x_IF.masked_fill(absent_I[:, None], torch.nan)
