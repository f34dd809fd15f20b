"""Interactions in `.npz` files: what is read, what is told, and what is refused."""

import numpy as np
import pytest

from peerlearn.data.fingerprint import changes, data_fingerprint
from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.registry import load_recommendation
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec

USERS, ITEMS = 6, 8


def arrays(**others):
    """Every user with five items, of which the last is in test."""
    user = np.repeat(np.arange(USERS), 5)
    item = (user + np.tile(np.arange(5), USERS)) % ITEMS
    test = np.tile([False] * 4 + [True], USERS)
    return {"user": user, "item": item, "test": test} | others


def load(tmp_path, given, **spec):
    np.savez(tmp_path / "mine.npz", **{name: it for name, it in given.items() if it is not None})
    return load_recommendation(RecommendationDataSpec(name=str(tmp_path / "mine.npz"), **spec))


def told(data):
    return "\n".join(data.account.lines())


def view(rows=ITEMS, width=3):
    return np.arange(rows * width, dtype=np.float32).reshape(rows, width)


def test_pairs_ids_and_parts_are_as_in_the_file(tmp_path):
    given = arrays(
        plays=np.arange(1, 31), user_id=np.arange(USERS) + 100,
        item_id=np.array([f"song {n}" for n in range(ITEMS)]),
        item_name=np.array([f"Title {n}" for n in range(ITEMS)]),
    )  # fmt: skip
    data = load(tmp_path, given)
    assert data.name == "mine"
    assert data.user_ids.tolist() == ["100", "101", "102", "103", "104", "105"]
    assert (data.item_ids[3], data.item_names[3]) == ("song 3", "Title 3")
    assert data.test.item.tolist() == [(user + 4) % ITEMS for user in range(USERS)]
    # Of four training items each gives one to validation: half an item, rounded up.
    assert (len(data.train), len(data.val), len(data.test)) == (18, 6, 6)
    assert data.test.count.tolist() == [5, 10, 15, 20, 25, 30]


def test_val_of_the_file_is_taken_as_it_is(tmp_path):
    val = np.tile([True, False, False, False, False], USERS)
    data = load(tmp_path, arrays(val=val))
    assert data.val.item.tolist() == list(range(USERS))
    assert len(data.train) == 18


def test_numbers_without_an_array_of_rows_may_be_any(tmp_path):
    given = arrays()
    given["user"] = given["user"] * 1_000_000_007 + 5
    given["item"] = given["item"] * 1_000 + 3
    data = load(tmp_path, given)
    assert data.users == USERS and data.items == ITEMS
    assert data.user_ids.tolist() == [str(n * 1_000_000_007 + 5) for n in range(USERS)]


def test_repeated_pairs_are_merged_and_their_counts_added(tmp_path):
    given = arrays(count=np.ones(30), time=np.arange(30.0))
    for name in given:
        given[name] = np.append(given[name], given[name][7])
    given["count"][-1] = 4
    data = load(tmp_path, given)
    assert "1 interaction of a pair that was there before: merged, counts added" in told(data)
    everything = [data.train, data.val, data.test]
    assert sum(map(len, everything)) == 30
    assert max(float(part.count.max()) for part in everything) == 5


def test_a_pair_in_train_and_in_test_is_refused_with_both_rows(tmp_path):
    given = arrays()
    for name, value in (("user", 0), ("item", 4), ("test", False)):
        given[name] = np.append(given[name], value)
    message = r"mine.npz, row 30: user 0 and item 4 are in train, and in test in row 4; allowed"
    with pytest.raises(InputError, match=message):
        load(tmp_path, given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": None}, "array 'user' is missing"),
        ({"item": None}, "array 'item' is missing"),
        ({"user": np.arange(30.0)}, r"user: float64 of shape \(30,\); allowed: whole numbers"),
        ({"item": np.arange(7)}, "item has 7 rows; user has 30"),
        ({"count": np.ones(3)}, r"count: float64 of shape \(3,\); allowed: numbers of shape"),
        ({"count": np.ones(30), "plays": np.ones(30)}, "holds both 'count' and 'plays'"),
        ({"plays": np.where(np.arange(30) == 3, -2, 1)}, "row 3: plays is -2; allowed: 0 and more"),
        ({"count": np.where(np.arange(30) == 9, np.nan, 1)}, "row 9: count is nan"),
        ({"time": np.where(np.arange(30) == 2, np.inf, 1)}, "row 2: time is inf"),
        ({"test": np.full(30, 2)}, r"test: int64 of shape \(30,\); allowed: true and false"),
        ({"test": None, "val": np.zeros(30, bool)}, "array 'val' needs an array 'test'"),
        ({"val": np.ones(30, bool)}, "row 4: is in test and in val, as 6 rows are"),
        ({"item_id": np.arange(5)}, "row 9: item is 5; allowed: 0 to 4, for item_id has 5 rows"),
        ({"item_id": np.arange(8), "a_x": view(7)}, "a_x has 7 rows; item_id has 8"),
        ({"a_x": view()[:, 0]}, r"a_x: float32 of shape \(8,\); allowed: numbers of shape"),
        ({"a_x": np.where(view() == 4, np.nan, view())}, "item 1: column 1 is nan, but other"),
        ({"a_x": np.where(view() == 4, np.inf, view())}, "item 1: column 1 is infinite"),
        ({"a_x": np.full((8, 2), np.nan)}, "every row is nan"),
        ({"friends": np.array([[0, 1, 2]])}, r"friends: int64 of shape \(1, 3\)"),
        ({"friends": np.array([[90, 91]])}, "none of 1 friendship is between two users"),
        ({"emotion": np.zeros((8, 3))}, r"emotion: shape \(8, 3\); allowed: \(I, 2\)"),
        ({"emotion": np.full((8, 2), 1.5)}, "item 0: valence is 1.5; allowed: -1 to 1"),
        ({"acoustic": view(), "acoustic_cols": np.array(["a"])}, "acoustic_cols: shape"),
        ({"core_item": np.arange(8)}, "core_item: int64"),
        ({"tag_user_item_tag": np.array([[0, 8, 0]]), "item_id": np.arange(8)},
         "tag_user_item_tag, column 1, row 0: 8; allowed: 0 to 7"),
        ({"lyric_indptr": np.arange(9)}, "array 'lyric_word' is missing"),
        ({"lyric_indptr": np.arange(9), "lyric_word": np.zeros(5, int),
          "lyric_count": np.ones(5, int)}, "lyric_indptr: does not divide the 5 rows"),
        ({"lyric_indptr": np.empty(0, int)}, r"lyric_indptr: shape \(0,\).*and one more"),
        ({"user_id": np.array("x")}, r"user_id: shape \(\); allowed: a row for each user"),
        ({"item_id": np.arange(8)[:, None]}, r"item_id: int64 of shape \(8, 1\); allowed: texts"),
        ({"item_id": np.linspace(0, 1, 8)}, "item_id: float64 of shape"),
        ({"item_id": np.array([b"\xff"] * 8)}, "item_id: holds bytes that are no UTF-8"),
        ({"user_id": np.array([*"abcdea"])}, "user_id: 'a' stands in rows 0 and 5; allowed: each"),
        ({"item_id": np.arange(8), "item_name": np.zeros((8, 2))}, "item_name: float64 of shape"),
        ({"user": np.full(30, 1 << 63, np.uint64)}, "user, row 0: 9223372036854775808; allowed"),
        ({"tag_user_item_tag": np.array([[0, 1, 0]]), "tag_name": np.array("x")}, "tag_name: <U1"),
        ({"tag_user_item_tag": np.array([[0, 1, 0]]), "tag_name": np.empty(0, str)},
         "column 2, row 0: 0; allowed: none, for there are no names"),
        ({"none_x": view()}, "a modality 'none'; allowed: a name without"),
        ({"a+b_x": view()}, r"a modality 'a\+b'; allowed: a name without"),
        ({"_x": view()}, "a modality ''; allowed: a name without"),
        ({"user": np.empty(0, int), "item": np.empty(0, int), "test": None},
         "holds no interactions"),
        ({"item": np.zeros(30, int), "test": None}, "with 1 item; to rank items, two are needed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_array_and_row(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path, arrays(**changes))
    assert "mine.npz" in str(error.value)


def test_numbers_of_words_and_tags_without_names_may_be_any(tmp_path):
    start, count = np.arange(ITEMS + 1), np.arange(1, ITEMS + 1)
    word, tag = np.arange(ITEMS) % 3, np.stack([np.arange(6), np.arange(6), np.arange(6) % 2], 1)
    lyrics = {"lyric_indptr": start, "lyric_count": count}
    few = load(tmp_path, arrays(**lyrics, lyric_word=word, tag_user_item_tag=tag))
    far = load(
        tmp_path,
        arrays(**lyrics, lyric_word=word << 40, tag_user_item_tag=tag * [1, 1, 1 << 45]),
    )
    for name in ("lyrics", "tags"):
        one, other = few.modalities[name], far.modalities[name]
        assert one.there_I.equal(other.there_I) and np.allclose(one.x_IF.abs(), other.x_IF.abs())


def test_a_word_that_occurs_no_times_is_none(tmp_path):
    start, word = np.arange(0, 2 * ITEMS + 1, 2), np.tile([0, 1], ITEMS)
    count = np.tile([3, 0], ITEMS)
    given = {"lyric_indptr": start, "lyric_word": word, "lyric_count": count}
    without = {"lyric_indptr": start // 2, "lyric_word": word[::2], "lyric_count": count[::2]}
    found = load(tmp_path, arrays(**given)).modalities["lyrics"]
    expected = load(tmp_path, arrays(**without)).modalities["lyrics"]
    assert found.x_IF.equal(expected.x_IF) and found.there_I.equal(expected.there_I)


def test_pickled_arrays_are_never_loaded(tmp_path):
    with pytest.raises(InputError, match=r"pickled"):
        load(tmp_path, arrays(count=np.array([object()] * 30)))


def test_what_is_left_out_of_friendships_is_told(tmp_path):
    friends = np.array([[0, 1], [1, 0], [2, 2], [3, 99], [4, 5]])
    data = load(tmp_path, arrays(friends=friends))
    assert data.friends_2E.tolist() == [[0, 4], [1, 5]]
    assert "friends: 5 rows, 2 friendships" in told(data)
    assert "friends: 1 friendship of a user with themselves, left out" in told(data)
    assert "left out 1 (friendships of unknown users): 3 - 99" in told(data)


def test_users_and_items_without_history_are_kept_and_told(tmp_path):
    given = arrays(user_id=np.arange(USERS + 2), item_id=np.arange(ITEMS + 3))
    given["test"] = given["test"] | (given["user"] == 1)
    data = load(tmp_path, given)
    assert (data.users, data.items) == (USERS + 2, ITEMS + 3)
    lines = told(data)
    assert "2 users without any interaction: kept" in lines
    assert "3 items without any interaction: kept" in lines
    assert "1 user in val or test and not in train: kept" in lines


def test_rows_of_nan_are_missing_and_items_without_any_modality_are_told(tmp_path):
    first, second = view(), view(width=2)
    first[:2], second[1:3] = np.nan, np.nan
    data = load(tmp_path, arrays(a_x=first, b_x=second))
    assert list(data.modalities) == ["a", "b"]
    assert data.modalities["a"].there_I.tolist() == [False, False] + [True] * 6
    assert not data.modalities["a"].x_IF[:2].any()
    assert "1 item without any modality: kept" in told(data)


def test_zero_counts_are_no_interactions_and_other_arrays_are_named(tmp_path):
    count = np.ones(30)
    count[0] = 0
    data = load(tmp_path, arrays(count=count, colour=np.ones(3)))
    assert len(data.train) + len(data.val) + len(data.test) == 29
    assert "1 row with count 0: left out" in told(data)
    assert "arrays that are not read: colour" in told(data)


def test_data_core_keeps_the_marked_items_and_who_hears_them(tmp_path):
    core = np.arange(ITEMS) < 4
    data = load(tmp_path, arrays(core_item=core, a_x=view()), core=True, standardise=False)
    assert data.item_ids.tolist() == ["0", "1", "2", "3"]
    assert data.modalities["a"].x_IF[3].tolist() == [9, 10, 11]
    assert "data.core: 0 users, 4 items and" in told(data)
    with pytest.raises(InputError, match=r"data.core: .* names no core"):
        load(tmp_path, arrays(), core=True)


def test_a_k_core_is_a_fixed_point(tmp_path):
    # Item 9 has two listeners; without it user 7 has one item left, and goes too.
    user = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 7, 7, 8])
    item = np.array([1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 9, 9])
    given = {"user": user, "item": item, "friends": np.array([[0, 1], [1, 7]])}
    data = load(tmp_path, given, k_core=3)
    assert data.user_ids.tolist() == ["0", "1", "2"] and data.item_ids.tolist() == ["1", "2", "3"]
    assert data.friends_2E.tolist() == [[0], [1]]
    assert "data.k_core=3: 2 users, 1 item and 3 interactions left out" in told(data)
    assert load(tmp_path, given).users == 5
    unheard = given | {"user_id": np.arange(9)}
    assert load(tmp_path, unheard).users == 9 and load(tmp_path, unheard, k_core=1).users == 5
    with pytest.raises(InputError, match=r"data.k_core: 4 leaves nothing"):
        load(tmp_path, given, k_core=4)


def test_min_value_bounds_ratings_where_there_are_some_else_counts(tmp_path):
    count = np.tile([1, 2, 3, 4, 5], USERS)
    data = load(tmp_path, arrays(count=count), min_value=2, val_share=0.4)
    assert len(data.train) + len(data.val) + len(data.test) == 24
    assert "data.min_value: 6 rows with count below 2 left out" in told(data)
    data = load(tmp_path, arrays(count=count, rating=6 - count), min_value=3, split="per_user")
    assert len(data.train) + len(data.val) + len(data.test) == 18
    assert "6 rows" not in told(data) and "12 rows with rating below 3" in told(data)
    with pytest.raises(InputError, match=r"data.min_value: 9 leaves nothing .* count goes up to 5"):
        load(tmp_path, arrays(count=count), min_value=9)


def test_a_file_of_features_beside_it_is_read_too(tmp_path):
    np.savez(tmp_path / "mine_features.npz", item=np.array([1, 3]), sound=view(2))
    data = load(tmp_path, arrays(item_id=np.arange(ITEMS) + 70))
    assert data.modalities["sound"].there_I.nonzero().flatten().tolist() == [1, 3]
    assert "mine_features.npz, which lies beside it, is read too" in told(data)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"count": np.full(USERS * 5, 2)}, ["train differs", "val differs", "test differs"]),
        ({"friends": np.array([[0, 2]])}, ["friends_2E differs"]),
        ({"sound_x": view()[::-1]}, ["modalities.sound differs"]),
        ({"sound_x": None}, ["modalities.sound is not there any more"]),
        ({"user_id": np.arange(USERS) + 70}, ["user_ids differs"]),
    ],
)
def test_other_listening_friends_features_and_ids_are_seen(tmp_path, changed, said):
    given = arrays(friends=np.array([[0, 1]]), sound_x=view(), user_id=np.arange(USERS))
    before = data_fingerprint(load(tmp_path, given))
    assert changes(before, data_fingerprint(load(tmp_path, given))) == []
    assert changes(before, data_fingerprint(load(tmp_path, given | changed))) == said
