"""Features of items: nothing of held-out pairs or of hidden rows is in them."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.emotion import MOODS, tagged_emotion
from peerlearn.tasks.recommendation.data.features import (
    of_counts,
    of_table,
    tag_counts,
    training_tags,
)
from peerlearn.tasks.recommendation.data.modalities import described
from peerlearn.tasks.recommendation.data.raw import TEST, TRAIN, VAL, Raw, Table, Tags, numbered
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec

USERS, ITEMS, TAG_NAMES = 4, 10, np.array(["rock", "pop", "sad", "happy", "PLANTED"])
ROCK, POP, SAD, HAPPY, PLANTED = range(5)


def raw(**others):
    """Everybody has every item; the pairs of the last two items are in val and test."""
    user, item = np.divmod(np.arange(USERS * ITEMS), ITEMS)
    part = np.where(item == ITEMS - 1, TEST, np.where(item == ITEMS - 2, VAL, TRAIN))
    return Raw("log", numbered("user", USERS), numbered("item", ITEMS), user, item,
               np.ones(len(user)), np.arange(len(user)), part_N=part, **others)  # fmt: skip


def tags(*assignments):
    """Every item is rock or pop to somebody who is not in the data, and what else is given."""
    usual = [(-1, item, item % 2) for item in range(ITEMS)]
    user, item, tag = np.array([*usual, *assignments]).T
    return Tags(user, item, tag, TAG_NAMES)


def describe(data, **spec):
    return described(data, data.part_N, RecommendationDataSpec(**spec))


@pytest.mark.parametrize(("item", "gone"), [(0, False), (ITEMS - 2, True), (ITEMS - 1, True)])
def test_a_tag_planted_on_a_held_out_pair_is_nowhere_in_the_features(item, gone):
    planted = raw(tags=tags((2, item, PLANTED), (2, item, HAPPY)))
    kept, dropped = training_tags(planted, planted.part_N)
    assert dropped == 2 * gone
    assert (PLANTED in kept.tag.tolist()) != gone
    found, clean = describe(planted, components=3), describe(raw(tags=tags()), components=3)
    same = torch.equal(found.modalities["tags"].x_IF, clean.modalities["tags"].x_IF)
    assert same == gone
    assert (found.emotion_I2 is None) == gone, "moods come from the same tags"
    assert f"tags: {2 * gone} assignments to pairs of val and test dropped, of 12" in (
        found.account.notes
    )


def test_a_tag_of_who_has_not_listened_is_no_leak():
    data = raw(tags=tags((1, ITEMS - 1, SAD)))
    without = data.user_N * ITEMS + data.item_N != 1 * ITEMS + ITEMS - 1
    names = ("user_N", "item_N", "count_N", "place_N", "part_N")
    data = replace(data, **{name: getattr(data, name)[without] for name in names})
    assert training_tags(data, data.part_N)[1] == 0


def test_counts_become_the_components_of_their_tf_idf():
    counts = sp.csr_array(np.array([[2, 0, 1], [0, 3, 0], [4, 0, 2], [0, 0, 0]]))
    there = np.array([True, True, True, False])
    found = of_counts(counts, there, 2, "words")
    assert found.there_I.tolist() == there.tolist()
    # Rows of length 1 with two directions, so the products of rows survive up to the scale.
    idf = 1 + np.log(4 / np.array([3, 2, 3]))
    weights = np.where(counts.toarray() > 0, 1 + np.log(np.maximum(counts.toarray(), 1)), 0) * idf
    weights = weights[:3] / np.linalg.norm(weights[:3], axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(weights)
    expected = (u[:, :2] * s[:2]) @ (u[:, :2] * s[:2]).T
    product = (found.x_IF[:3] @ found.x_IF[:3].T).numpy()
    assert np.allclose(product / product[0, 0], expected / expected[0, 0], atol=1e-5)
    assert found.x_IF[:3].square().mean() == pytest.approx(1)
    assert torch.equal(found.x_IF, of_counts(counts, there, 2, "words").x_IF), "deterministic"


def test_components_beyond_the_counts_are_zero():
    counts = sp.csr_array(np.eye(3))
    found = of_counts(counts, np.ones(3, bool), 5, "words").x_IF
    assert found.shape == (3, 5)
    assert not found[:, 3:].any() and found[:, :3].any()
    single = of_counts(sp.csr_array([[3], [1]]), np.ones(2, bool), 2, "words")
    assert single.x_IF.tolist() == [[1, 0], [1, 0]]
    nothing = of_counts(counts, np.zeros(3, bool), 5, "words")
    assert nothing.x_IF.shape == (3, 5) and not nothing.there_I.any()


def test_tables_are_standardised_over_the_items_that_are_there():
    x = np.array([[1.0, 7], [3, 7], [np.nan, np.nan]])
    there = np.array([True, True, False])
    assert of_table(x, there, True).x_IF.tolist() == [[-1, 0], [1, 0], [0, 0]]
    assert of_table(x, there, False).x_IF.tolist() == [[1, 7], [3, 7], [0, 0]]


def views():
    x = np.random.default_rng(0).normal(size=(ITEMS, 2)).astype(np.float32)
    x[0] = np.nan
    return {"a": Table(x), "b": Table(x.copy())}


def test_what_is_hidden_at_a_fifth_is_hidden_at_two_fifths():
    data = raw(tables=views())
    hidden = {}
    for share in (0, 0.2, 0.4, 1):
        modality = describe(data, missing=share).modalities["a"]
        hidden[share] = set((~modality.there_I).nonzero().flatten().tolist())
        assert not modality.x_IF[list(hidden[share])].any()
        assert len(hidden[share]) == 1 + int(share * (ITEMS - 1) + 0.5)
    assert hidden[0] < hidden[0.2] < hidden[0.4] < hidden[1]


def test_hidden_rows_are_those_of_the_seed_and_of_each_modality():
    data = raw(tables=views())
    first = describe(data, missing=0.5).modalities
    assert not torch.equal(first["a"].there_I, first["b"].there_I)
    alone = describe(data, missing=0.5, without=("b",)).modalities
    assert list(alone) == ["a"] and torch.equal(alone["a"].there_I, first["a"].there_I)
    other = describe(data, missing=0.5, split_seed=1).modalities
    assert not torch.equal(other["a"].there_I, first["a"].there_I)


def test_hidden_rows_are_in_no_mean():
    tables = views()
    modality = describe(raw(tables=tables), missing=0.5).modalities["a"]
    changed = tables["a"].x_IF.copy()
    changed[~modality.there_I.numpy()] *= 100
    again = describe(raw(tables=tables | {"a": Table(changed)}), missing=0.5).modalities["a"]
    assert torch.equal(again.x_IF, modality.x_IF)


def test_without_names_what_there_is():
    data = raw(tables=views(), tags=tags())
    assert list(describe(data, without="tags").modalities) == ["a", "b"]
    assert describe(data, without=("a", "b", "tags")).modalities == {}
    with pytest.raises(
        InputError, match=r"data.without: unknown modality 'tag'. Did you mean 'tags'"
    ):
        describe(data, without=("tag",))


def test_emotion_is_measured_where_it_can_be_and_else_read_from_mood_tags():
    x = np.full((ITEMS, 3), np.nan, np.float32)
    x[0] = [0.25, 99, 1]  # valence, tempo, energy
    table = Table(x, ("valence", "tempo", "energy"))
    marks = tags((0, 0, SAD), (0, 1, SAD), (1, 1, HAPPY))
    data = raw(tables={"acoustic": table}, tags=marks)
    emotion = describe(data).emotion_I2
    assert emotion[0].tolist() == [-0.5, 1]
    mean = np.mean([MOODS["sad"], MOODS["happy"]], 0)
    assert emotion[1].tolist() == pytest.approx(mean.tolist())
    assert emotion[2:].isnan().all()
    # What is left out or hidden does not speak through emotion either.
    assert describe(data, without="acoustic").emotion_I2[0].tolist() == pytest.approx(MOODS["sad"])
    assert describe(data, without=("acoustic", "tags")).emotion_I2 is None
    assert describe(data, missing=1).emotion_I2 is None
    told = np.zeros((ITEMS, 2), np.float32)
    assert not describe(replace(data, emotion_I2=told)).emotion_I2.any(), "what is given counts"


def test_the_lexicon_is_of_numbers_between_minus_one_and_one():
    assert 30 <= len(MOODS) <= 45
    assert all(-1 <= value <= 1 for mood in MOODS.values() for value in mood)
    assert MOODS["happy"][0] > 0 > MOODS["sad"][0] and MOODS["party"][1] > 0 > MOODS["ambient"][1]
    names = Tags(np.array([0]), np.array([0]), np.array([0]), np.array(["Happy"]))
    assert tagged_emotion(names, np.ones(1, bool))[0].tolist() == pytest.approx(MOODS["happy"])


def test_tags_are_counted_by_item():
    counts = tag_counts(tags((0, 3, SAD), (1, 3, SAD)), ITEMS).toarray()
    assert counts[3].tolist() == [0, 1, 2, 0, 0]
