"""Names of recommendation data, the `data` block, and the shared Last.fm file."""

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.registry import (
    RECOMMENDATION_SETS,
    load_recommendation,
)
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec
from peerlearn.validation import validated

HEAVY = ("tags", "lyrics", "text_minilm", "audio_vggish", "audio_whisper")


@pytest.fixture
def music(shared_data):
    if not (shared_data / "music" / "lastfm.npz").is_file():
        pytest.skip(f"needs {shared_data}/music/lastfm.npz")
    return str(shared_data)


def test_the_catalogue_names_what_needs_no_file_and_what_lies_below_the_root(tmp_path):
    (tmp_path / "music").mkdir()
    np.savez(tmp_path / "music" / "ours.npz", user=np.arange(3), item=np.arange(3))
    np.savez(tmp_path / "music" / "images.npz", x=np.arange(3))
    found = {it.name: it for it in RECOMMENDATION_SETS.describe(str(tmp_path))}
    assert set(found) == {"synthetic", "lastfm", "ours"}
    assert found["synthetic"].place == "embedded" and found["synthetic"].classes is None
    assert found["lastfm"].place.startswith("not there")


def test_lastfm_that_is_not_there_is_said_with_where_it_belongs(tmp_path):
    with pytest.raises(InputError, match=f"lastfm is not below {tmp_path}; put lastfm.npz into"):
        load_recommendation(RecommendationDataSpec(name="lastfm", root=str(tmp_path)))
    with pytest.raises(InputError, match=r"lastfm is not below"):
        RECOMMENDATION_SETS.get("lastfm", str(tmp_path))


def test_unknown_names_and_paths():
    with pytest.raises(InputError, match=r"data.name: unknown .* 'synthetik'. Did you mean"):
        load_recommendation(RecommendationDataSpec(name="synthetik"))
    with pytest.raises(InputError, match=r"data.name: nothing.npz: no such file"):
        load_recommendation(RecommendationDataSpec(name="nothing.npz"))
    with pytest.raises(InputError, match=r"nothing.csv: no such file"):
        load_recommendation(RecommendationDataSpec(name="nothing.csv"))


def test_training_pairs_are_kept_and_the_others_told_of():
    whole = load_recommendation(RecommendationDataSpec())
    some, fewer = (
        load_recommendation(RecommendationDataSpec(train_size=size)) for size in (500, 200)
    )
    assert (len(some.train), len(fewer.train)) == (500, 200)
    assert len(some.test) == len(whole.test) and some.users == whole.users
    pairs = [
        set(zip(each.train.user.tolist(), each.train.item.tolist(), strict=True))
        for each in (fewer, some, whole)
    ]
    assert pairs[0] < pairs[1] < pairs[2], "a smaller choice is part of a larger one"
    assert any("500 of" in line for line in some.account.lines())
    with pytest.raises(InputError, match=r"data\.train_size: 99,999 pairs .* allowed: up to"):
        load_recommendation(RecommendationDataSpec(train_size=99_999))


def test_what_the_data_block_refuses_is_named():
    given = {"train_size": 0, "split": "per-user", "k_core": -1, "missing": 1.5, "val_share": 1}
    with pytest.raises(InputError) as error:
        validated(RecommendationDataSpec, given, "data")
    message = str(error.value)
    for part in (
        "data.train_size: input should be greater than", "data.split: found 'per-user'",
        "Did you mean 'per_user'", "data.k_core", "data.missing", "data.val_share",
    ):  # fmt: skip
        assert part in message
    with pytest.raises(InputError, match=r"test_share: 0.7 and val_share: 0.3 leave nothing"):
        validated(RecommendationDataSpec, {"test_share": 0.7, "val_share": 0.3}, "data")
    assert validated(RecommendationDataSpec, "lastfm").name == "lastfm"
    assert validated(RecommendationDataSpec, {"without": "tags"}).without == ("tags",)


@pytest.mark.shared_data
def test_lastfm_has_its_published_sizes(music):
    data = load_recommendation(RecommendationDataSpec(name="lastfm", root=music, without=HEAVY))
    assert (data.users, data.items) == (1_892, 17_632)
    pairs = len(data.train) + len(data.val) + len(data.test)
    assert pairs == 92_834 and data.friends_2E.shape == (2, 12_717)
    assert len(data.test) / pairs == pytest.approx(0.2, abs=5e-4)
    assert len(data.val) / (pairs - len(data.test)) == pytest.approx(0.125, abs=5e-3)
    assert int(data.modalities["acoustic"].there_I.sum()) == 17_632 - 12_924
    assert data.item_names[0] == "MALICE MIZER"
    known = ~data.emotion_I2.isnan().any(1)
    assert torch.equal(known, data.modalities["acoustic"].there_I)
    assert float(data.emotion_I2[known].abs().max()) <= 1


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("option", "users", "items", "pairs"),
    [({"core": True}, 1_877, 1_778, 59_631), ({"k_core": 5}, 1_859, 2_823, 71_355)],
)
def test_cores_of_lastfm_have_their_published_sizes(music, option, users, items, pairs):
    spec = RecommendationDataSpec(name="lastfm", root=music, without=HEAVY, **option)
    data = load_recommendation(spec)
    assert (data.users, data.items) == (users, items)
    assert len(data.train) + len(data.val) + len(data.test) == pairs


@pytest.mark.shared_data
def test_modalities_of_lastfm(music):
    spec = RecommendationDataSpec(name="lastfm", root=music, core=True, components=8)
    data = load_recommendation(spec)
    widths = {name: it.x_IF.shape[1] for name, it in data.modalities.items()}
    assert widths == {
        "tags": 8, "lyrics": 8, "acoustic": 13, "text_minilm": 384, "audio_vggish": 128,
        "audio_whisper": 512,
    }  # fmt: skip
    assert int(data.modalities["text_minilm"].there_I.sum()) == 1_020
    assert any("cannot be taken out" in line for line in data.account.lines())
