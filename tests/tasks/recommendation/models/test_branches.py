"""Propagation against its dense formula, and branches that know nothing of each other."""

import copy

import pytest
import torch
from torch import Tensor

from peerlearn.tasks.recommendation.inputs import RankingInput
from peerlearn.tasks.recommendation.models.branch import Branch, Content
from peerlearn.tasks.recommendation.models.propagation import SocialGraph, csr, product, propagated
from peerlearn.tasks.recommendation.objectives import DRAWN, bpr_loss, softmax_loss

USERS, ITEMS, UNITS = 5, 6, 4
HEARD = torch.tensor(
    [[0, 0, 1, 2, 3, 3], [0, 1, 1, 2, 3, 5]]
)  # nobody heard item 4, user 4 nothing
FRIENDS = torch.tensor([[0, 1], [1, 2]])  # 3 and 4 know nobody

USUAL = {
    "dim": UNITS,
    "layers": 3,
    "alpha": 0.5,
    "scores": "cosine",
    "temperature": 0.12,
    "negatives": 1.0,
    "emotion": False,
}


def graph(friends: Tensor = FRIENDS) -> SocialGraph:
    made = SocialGraph(USERS, ITEMS, HEARD.shape[1], friends.shape[1])
    made.fill(HEARD, friends)
    return made


def normed(a: Tensor) -> Tensor:
    """D^(−½) A D^(−½), with 0 where a node has no edge."""
    left, right = a.sum(1), a.sum(0)
    scale = torch.where(left > 0, left.rsqrt(), 0)[:, None] * torch.where(
        right > 0, right.rsqrt(), 0
    )
    return a * scale


def dense(user: Tensor, item: Tensor, layers: int, alpha: float) -> tuple[Tensor, Tensor]:
    heard = torch.zeros(USERS, ITEMS)
    heard[HEARD[0], HEARD[1]] = 1
    know = torch.zeros(USERS, USERS)
    know[FRIENDS[0], FRIENDS[1]] = know[FRIENDS[1], FRIENDS[0]] = 1
    r, s = normed(heard), normed(know)
    share = alpha * (know.sum(1, keepdim=True) > 0)
    users, items = [user], [item]
    for _ in range(layers):
        users.append((1 - share) * (r @ items[-1]) + share * (s @ users[-1]))
        items.append(r.T @ users[-2])
    return torch.stack(users).mean(0), torch.stack(items).mean(0)


def test_a_branch_that_was_asked_can_be_copied() -> None:
    made = Branch(graph(), None, **USUAL).eval()
    x = RankingInput(torch.arange(USERS))
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(made)(x).logits, made(x).logits)
        assert torch.equal(copy.deepcopy(made)(x).logits, made(x).logits), "after a forward too"


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_propagation_equals_the_dense_formula_with_its_gradient(layers: int, alpha: float) -> None:
    torch.manual_seed(0)
    user, item = (torch.randn(n, UNITS, requires_grad=True) for n in (USERS, ITEMS))
    found = propagated(graph(), user, item, layers, alpha)
    expected = dense(user, item, layers, alpha)
    weights = [torch.randn_like(each) for each in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    sums = [
        sum((w * e).sum() for w, e in zip(weights, each, strict=True)) for each in (found, expected)
    ]
    for one, other in zip(*(torch.autograd.grad(s, (user, item)) for s in sums), strict=True):
        torch.testing.assert_close(one, other)


def test_sparse_products_have_the_gradient_of_the_transpose() -> None:
    rows, columns, values = (
        torch.tensor([0, 0, 2]),
        torch.tensor([1, 3, 0]),
        torch.tensor([1.0, 2, 3]),
    )
    a, transposed = csr(rows, columns, values, (3, 4)), csr(columns, rows, values, (4, 3))
    x = torch.randn(4, 2, requires_grad=True)
    product(a, transposed, x).pow(2).sum().backward()
    y = x.detach().clone().requires_grad_()
    (a.to_dense() @ y).pow(2).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def branch(content: Content | None = None, **options: object) -> Branch:
    torch.manual_seed(0)
    return Branch(graph(), content, **USUAL | options)  # type: ignore[arg-type]


def content(dropout: float = 0.0, there: Tensor | None = None) -> Content:
    torch.manual_seed(1)
    made = Content(ITEMS, 3, UNITS, 0, dropout)
    there = torch.tensor([True, False, True, True, True, False]) if there is None else there
    made.fill(torch.randn(ITEMS, 3) * there[:, None], there)
    return made


def test_without_content_and_friends_a_branch_is_lightgcn() -> None:
    made = branch(layers=2, alpha=0.0, scores="dot")
    users = torch.tensor([3, 0])
    user, item = dense(made.user_UD, made.item_ID, 2, 0.0)
    found = made(RankingInput(users)).logits
    torch.testing.assert_close(found, user[users] @ item.T)
    some = torch.tensor([5, 1])
    torch.testing.assert_close(made(RankingInput(users, some)).logits, found[:, some])


def test_cosines_are_divided_by_the_temperature_and_friends_change_scores() -> None:
    cosine = branch(layers=1, temperature=0.5)(RankingInput(torch.arange(USERS))).logits
    assert cosine.abs().max() <= 2 + 1e-5
    alone = branch(layers=1, alpha=0.0, temperature=0.5)(RankingInput(torch.arange(USERS))).logits
    assert not torch.allclose(cosine[0], alone[0])
    assert torch.allclose(cosine[4], alone[4]), "a user without friends keeps what it listens to"


def test_a_branch_serves_items_that_have_its_modality_and_scores_the_others_by_id() -> None:
    there = torch.tensor([True, False, True, True, True, False])
    with_content, ids = branch(content(there=there)), branch()
    users = RankingInput(torch.arange(USERS))
    found = with_content(users)
    assert torch.equal(found.features["served"], there)
    assert found.logits.isfinite().all()
    nothing = branch(content(there=torch.zeros(ITEMS).bool()))
    torch.testing.assert_close(nothing(users).logits, ids(users).logits)
    assert not nothing(users).features["served"].any()


def test_hidden_features_are_drawn_in_training_alone_and_none_at_zero() -> None:
    users = RankingInput(torch.arange(USERS))
    whole, none = branch(content(0.0)).train(), branch(content(0.0)).eval()
    torch.testing.assert_close(whole(users).logits, none(users).logits)
    half = branch(content(0.9)).train()
    torch.manual_seed(0)
    assert half(users).features["served"].sum() < 4
    torch.testing.assert_close(half.eval()(users).logits, none(users).logits)


def test_a_score_depends_on_no_other_branch_and_emotions_are_bounded() -> None:
    one, other = branch(content()), branch(content(), emotion=True)
    score = one(RankingInput(torch.tensor([0]))).logits.sum()
    parts = [p for p in other.parameters() if p.requires_grad]
    assert all(g is None for g in torch.autograd.grad(score, parts, allow_unused=True))
    felt = other(RankingInput(torch.tensor([0]))).features["emotion"]
    assert felt.shape == (ITEMS, 2) and felt.abs().max() <= 1


def test_a_saved_branch_brings_its_graph_and_its_features() -> None:
    made, fresh = (
        branch(content()),
        Branch(SocialGraph(USERS, ITEMS, 6, 2), Content(ITEMS, 3, UNITS, 0, 0.0), **USUAL),
    )
    users = RankingInput(torch.arange(USERS))
    fresh(users)  # matrices of a graph without edges are made, and must not stay
    fresh.load_state_dict(made.state_dict())
    torch.testing.assert_close(fresh(users).logits, made(users).logits)


def test_who_is_ranked_for_in_parts_is_propagated_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    made = Branch(graph(), None, **USUAL).eval()
    whole = made(RankingInput(torch.arange(USERS))).logits.detach()
    calls = []
    embeddings = made.embeddings
    monkeypatch.setattr(made, "embeddings", lambda: calls.append(1) or embeddings())
    with torch.no_grad():
        parts = [made(RankingInput(users)).logits for users in torch.arange(USERS).split(2)]
        assert len(calls) == 1
        torch.testing.assert_close(torch.cat(parts), whole)
        made.item_ID.mul_(torch.linspace(-1, 1, UNITS))
        after = made(RankingInput(torch.arange(USERS))).logits
        assert len(calls) == 2 and not after.equal(whole), "weights that changed are seen"
        made.graph.fill(HEARD.flip(1)[:, [0, 0, 0, 0, 0, 0]], FRIENDS)
        assert not made(RankingInput(torch.arange(USERS))).logits.equal(after), "and so are edges"
    assert made(RankingInput(torch.arange(USERS))).logits.requires_grad


@pytest.mark.parametrize("loss", [softmax_loss, bpr_loss])
def test_a_branch_learns_from_the_negatives_that_it_drew_and_from_every_positive(loss) -> None:
    torch.manual_seed(0)
    made = Branch(graph(), None, **(USUAL | {"negatives": 0.5}))
    x = RankingInput(torch.arange(3))
    first, again = (made(x).features[DRAWN] for _ in range(2))
    assert first.shape == (ITEMS,) and not torch.equal(first, again)
    assert DRAWN not in made.eval()(x).features
    scores = torch.randn(3, ITEMS, requires_grad=True)
    y = torch.zeros(3, ITEMS)
    y[0, 0] = y[1, 1] = y[2, 5] = 1
    drawn = torch.tensor([False, True, True, False, True, False])
    loss(scores, y, drawn).backward()
    assert scores.grad is not None
    assert (scores.grad[(y == 0) & ~drawn] == 0).all()
    assert (scores.grad[y > 0] != 0).any()
    everything = torch.ones(ITEMS, dtype=torch.bool)
    torch.testing.assert_close(loss(scores, y, everything), loss(scores, y))
