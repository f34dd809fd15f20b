"""Which pairs train, select and test: a function of the seed and the data."""

import numpy as np
import pytest

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.raw import TEST, TRAIN, VAL, Raw, numbered
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec
from peerlearn.tasks.recommendation.data.splits import divided

USERS, ITEMS = 20, 30


def raw(**others):
    """User u has u + 1 items, from u on."""
    pairs = [(u, (u + n) % ITEMS) for u in range(USERS) for n in range(u + 1)]
    user, item = np.array(sorted(pairs)).T
    ones = np.ones(len(user))
    return Raw("log", numbered("user", USERS), numbered("item", ITEMS), user, item, ones,
               np.arange(len(user)), **others)  # fmt: skip


def divide(data, **spec):
    return divided(data, RecommendationDataSpec(**spec))[0]


def test_per_user_takes_eight_one_one_of_each_users_items():
    data = raw()
    part = divide(data, split="per_user")
    for user in range(USERS):
        count = [int(((part == it) & (data.user_N == user)).sum()) for it in (TRAIN, VAL, TEST)]
        few = user + 1 < 3
        share = 0 if few else max(1, int(0.1 * (user + 1) + 0.5))
        assert count == [user + 1 - 2 * share, share, share], f"user {user}"
    notes = divided(data, RecommendationDataSpec(split="per_user"))[1].notes
    assert "2 users with fewer than 3 items: in train alone" in notes


def test_per_user_leaves_one_item_to_train_however_large_the_shares():
    data = raw()
    part = divide(data, split="per_user", test_share=0.6, val_share=0.39)
    assert set(data.user_N[part == TRAIN]) == set(range(USERS))
    assert set(data.user_N[part == VAL]) == set(range(2, USERS))


def test_random_takes_shares_of_all_pairs():
    part = divide(raw(), split="random", test_share=0.3, val_share=0.2)
    assert np.bincount(part).tolist() == [105, 42, 63]


def test_temporal_takes_the_latest_and_keeps_equal_times_together():
    data = raw(time_N=np.arange(210) // 10 * 1.0)
    part = divide(data, split="temporal", test_share=0.1, val_share=0.1)
    assert data.time_N[part == TRAIN].max() < data.time_N[part == VAL].min()
    assert data.time_N[part == VAL].max() < data.time_N[part == TEST].min()
    assert np.bincount(part).tolist() == [160, 20, 30]  # 21 pairs reach into a third ten


def test_temporal_needs_times_and_names_the_others():
    with pytest.raises(InputError, match=r"data.split: temporal, but log has no times; allowed: "
                       r"random, per_user, cold_user, cold_item"):  # fmt: skip
        divide(raw(), split="temporal")
    with pytest.raises(InputError, match=r"data.split: temporal leaves no pair of log for train"):
        divide(raw(time_N=np.zeros(210)), split="temporal")


@pytest.mark.parametrize(("split", "column"), [("cold_user", "user_N"), ("cold_item", "item_N")])
def test_cold_users_and_items_are_in_one_part_alone(split, column):
    data = raw()
    part = divide(data, split=split, test_share=0.2, val_share=0.1)
    owners = [set(getattr(data, column)[part == it].tolist()) for it in (TRAIN, VAL, TEST)]
    assert not owners[TEST] & owners[TRAIN] and not owners[TEST] & owners[VAL]
    assert not owners[VAL] & owners[TRAIN]
    every = len(set(getattr(data, column).tolist()))
    assert len(owners[TEST]) == round(0.2 * every) and len(owners[VAL]) == round(0.1 * every)


@pytest.mark.parametrize("split", ["random", "per_user", "cold_user", "cold_item"])
def test_a_split_is_a_function_of_its_seed_and_test_of_nothing_else(split):
    first = divide(raw(), split=split)
    assert (first == divide(raw(), split=split)).all()
    assert (first != divide(raw(), split=split, split_seed=1)).any()
    more = divide(raw(), split=split, val_share=0.3)
    assert ((more == TEST) == (first == TEST)).all()
    assert (more == VAL).sum() > (first == VAL).sum()
    assert (divide(raw(), split=split, test_share=0.3) == TEST).sum() > (first == TEST).sum()


def test_given_test_stays_and_each_user_gives_an_eighth_to_validation():
    given = np.where(np.arange(210) % 4 == 0, TEST, TRAIN)
    data = raw(part_N=given)
    for spec in ({"split": "given"}, {}):
        part = divide(data, **spec)
        assert ((part == TEST) == (given == TEST)).all()
        for user in range(USERS):
            size = int(((given == TRAIN) & (data.user_N == user)).sum())
            held = int(((part == VAL) & (data.user_N == user)).sum())
            assert held == int(0.125 * size + 0.5)
    half = divide(data, val_share=0.5)
    assert (half == VAL).sum() > (part == VAL).sum()
    trained = set(data.user_N[half == TRAIN].tolist())
    assert trained == set(data.user_N[given == TRAIN].tolist())


def test_given_needs_a_test_and_shares_need_something_to_divide():
    with pytest.raises(InputError, match=r"data.split: given, but log names no test; allowed"):
        divide(raw(), split="given")
    given = np.arange(210) % 3
    with pytest.raises(InputError, match=r"data.test_share: 0.2, but log brings its own test"):
        divide(raw(part_N=given), test_share=0.2)
    with pytest.raises(InputError, match=r"data.val_share: 0.2, but log brings its own validation"):
        divide(raw(part_N=given), val_share=0.2)
    with pytest.raises(InputError, match=r"data.split: given leaves no pair of log for train"):
        divide(raw(part_N=np.where(given == 0, VAL, TEST)))
    with pytest.raises(InputError, match=r"data.test_share: 0.95 and data.val_share: 0.1 leave"):
        divide(raw(), split="random", test_share=0.95)


@pytest.mark.parametrize("split", ["given", "random", "per_user", "cold_user", "cold_item"])
def test_without_validation_its_pairs_train_and_test_stays(split):
    data = raw(part_N=np.arange(210) % 3)
    with_val, without = (divide(data, split=split, **more) for more in ({}, {"val_share": 0}))
    assert (with_val == VAL).any() and not (without == VAL).any()
    assert ((without == TEST) == (with_val == TEST)).all()


def test_a_drawn_split_in_place_of_the_given_one_is_told():
    spec = RecommendationDataSpec(split="random")
    assert (
        "the split of the data is not used"
        in divided(raw(part_N=np.arange(210) % 3), spec)[1].notes
    )
