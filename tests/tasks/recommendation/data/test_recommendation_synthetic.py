"""The world of the data set `synthetic`: known factors, seen through three noisy views."""

import pytest
import torch
from torch.nn.functional import normalize

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.registry import load_recommendation
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec, WorldSpec
from peerlearn.tasks.recommendation.data.synthetic import make_world

SMALL = {"users": 80, "items": 60, "listens": 12}


def world(**spec):
    return make_world(WorldSpec(**SMALL | spec))


def alike(made, ends):
    taste = normalize(made.taste_UK, dim=1)
    return float((taste[ends[0]] * taste[ends[1]]).sum(1).mean())


def mean_score(made):
    """How much higher the scores of chosen pairs are than those of all."""
    return float(made.score_UI[made.user_N, made.item_N].mean() - made.score_UI.mean())


def test_the_first_run_needs_no_file_and_is_the_same_each_time(monkeypatch, tmp_path):
    monkeypatch.setenv("PEERLEARN_DATA", str(tmp_path / "nothing"))
    data, again = (load_recommendation(RecommendationDataSpec()) for _ in range(2))
    assert (data.name, data.users, data.items) == ("synthetic", 200, 300)
    assert list(data.modalities) == ["lyrics", "audio", "visual"]
    assert data.friends_2E.shape[1] > 200 and data.emotion_I2 is not None
    assert torch.equal(data.train.item, again.train.item)
    assert torch.equal(data.modalities["audio"].x_IF, again.modalities["audio"].x_IF)


def test_sizes_and_shares_are_those_asked_for():
    made = world(absent=0.4, labelled=0.25, friends=3)
    assert made.score_UI.shape == (80, 60)
    listens = torch.bincount(made.user_N, minlength=80)
    assert int(listens.min()) >= 6 and 10 < float(listens.float().mean()) < 14
    pairs = made.user_N * 60 + made.item_N
    assert len(pairs.unique()) == len(pairs)
    for name, view in made.views.items():
        absent = view.isnan()
        assert torch.equal(absent.all(1), absent.any(1)), name
        assert 0.2 < float(absent.all(1).float().mean()) < 0.6
    assert float(made.labelled_I.float().mean()) < 0.5
    assert 80 < made.friends_2E.shape[1] <= 240
    assert bool((made.friends_2E[0] < made.friends_2E[1]).all())
    assert world(friends=0).friends_2E.shape == (2, 0)


def test_people_choose_by_their_score_and_friends_are_alike():
    made = world()
    assert mean_score(made) > 0.5
    chance = world(homophily=0)
    assert alike(made, made.friends_2E) > alike(chance, chance.friends_2E) + 0.2


def test_social_weight_makes_friends_like_the_same():
    def shared(made):
        likes = normalize(made.score_UI - made.score_UI.mean(0), dim=1)
        return float((likes[made.friends_2E[0]] * likes[made.friends_2E[1]]).sum(1).mean())

    apart = {"homophily": 0, "emotion": 0}
    assert shared(world(social=0.9, **apart)) > shared(world(social=0, **apart)) + 0.2


def test_emotion_weight_draws_people_to_the_moods_that_they_like():
    def drawn(made):
        liked = (made.mood_U2 @ made.mood_I2.T)[made.user_N, made.item_N]
        return float(liked.mean())

    assert drawn(world(emotion=5)) > drawn(world(emotion=0)) + 0.1


def test_views_show_two_thirds_of_the_factors_each_and_noise_hides_them():
    def explained(view, factors):
        known = ~view.isnan().any(1)
        x = torch.cat([view[known], torch.ones(int(known.sum()), 1)], 1)
        fit = x @ torch.linalg.lstsq(x, factors[known]).solution
        return 1 - (factors[known] - fit).var(0) / factors[known].var(0)

    made = world(noise=0, items=200, factors=6)
    for number, name in enumerate(made.views):
        r2 = explained(made.views[name], made.item_IK)
        seen = torch.arange(6) % 3 != number
        assert bool((r2[seen] > 0.95).all()), name
        assert bool((r2[~seen] < 0.6).all()), name
    noisy = world(noise=3, items=200, factors=6)
    assert explained(noisy.views["audio"], noisy.item_IK)[0] < 0.9


@pytest.mark.parametrize(
    "option", [{"seed": 1}, {"factors": 4}, {"social": 0.9}, {"emotion": 3.0}, {"homophily": 0.1}]
)
def test_every_option_changes_what_people_choose(option):
    assert not torch.equal(world().item_N, world(**option).item_N)


def test_a_world_is_of_synthetic_data_alone_and_fits_into_memory():
    spec = RecommendationDataSpec(name="other.csv", world=WorldSpec())
    with pytest.raises(InputError, match=r"data.world: makes the data set synthetic; other.csv is"):
        load_recommendation(spec)
    with pytest.raises(InputError, match=r"data.world: users times items: needs"):
        make_world(WorldSpec(users=1_000_000, items=1_000_000))


def test_the_seed_of_the_world_is_not_that_of_the_split():
    small = WorldSpec(**SMALL)
    first, other = (
        load_recommendation(RecommendationDataSpec(world=small, split_seed=seed)) for seed in (0, 1)
    )
    assert torch.equal(first.friends_2E, other.friends_2E)
    assert first.test.item.tolist() != other.test.item.tolist()
    assert load_recommendation(
        RecommendationDataSpec(world=small, split="temporal")
    ).test.item.numel()
