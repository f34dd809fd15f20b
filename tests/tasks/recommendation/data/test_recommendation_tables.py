"""Interactions, friends, features and emotion in tables."""

from pathlib import Path

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.registry import load_recommendation
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec

PAIRS = [(user, item) for user in ("ann", "bob", "cy") for item in ("p", "q", "r", "s")]


def write(path, header, rows):
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def log(tmp_path):
    rows = [(*pair, n + 1, f"2{n:03}") for n, pair in enumerate(PAIRS)]
    return write(tmp_path / "log.csv", "user,item,count,time", rows)


def load(name, **spec):
    return load_recommendation(RecommendationDataSpec(name=name, **spec))


def told(data):
    return "\n".join(data.account.lines())


def pairs_of(data):
    """{(user, item): (part, count)} by ids."""
    return {
        (str(data.user_ids[user]), str(data.item_ids[item])): (part, count)
        for part in ("train", "val", "test")
        for user, item, count in zip(
            *(column.tolist() for column in vars(getattr(data, part)).values()), strict=True
        )
    }


def test_a_table_is_read_with_its_counts_and_times(log):
    data = load(log)
    found = pairs_of(data)
    assert {pair: count for pair, (_, count) in found.items()} == {
        pair: n + 1 for n, pair in enumerate(PAIRS)
    }
    assert load(log, split="temporal").test.count.tolist() == [12]


def test_the_order_of_lines_is_of_no_consequence(log, tmp_path):
    lines = Path(log).read_text(encoding="utf-8").splitlines()
    shuffled = tmp_path / "other.csv"
    shuffled.write_text("\n".join([lines[0], *lines[:0:-1]]), encoding="utf-8")
    assert pairs_of(load(log)) == pairs_of(load(str(shuffled)))


def test_numeric_ids_are_ordered_as_numbers(tmp_path):
    rows = [(user, item) for user in (10, 9, 100) for item in (30, 4, 200)]
    data = load(write(tmp_path / "log.csv", "user,item", rows))
    assert data.user_ids.tolist() == ["9", "10", "100"]
    assert data.item_ids.tolist() == ["4", "30", "200"]


def test_a_column_of_parts_is_the_given_split(tmp_path):
    rows = [(*pair, part) for pair, part in zip(PAIRS, ["train", "train", "val", "test"] * 3,
                                                strict=True)]  # fmt: skip
    data = load(write(tmp_path / "log.csv", "user,item,split", rows))
    assert {pair: part for pair, (part, _) in pairs_of(data).items()} == {
        row[:2]: row[2] for row in rows
    }
    rows[5] = (*rows[5][:2], "tset")
    with pytest.raises(InputError, match=r"line 7: split is 'tset'; allowed: train, val, test"):
        load(write(tmp_path / "log.csv", "user,item,split", rows))


def test_tabs_and_columns_of_no_meaning(tmp_path):
    path = tmp_path / "log.tsv"
    path.write_text("user\titem\tcolour\n" + "".join(f"{u}\t{i}\tred\n" for u, i in PAIRS))
    assert "columns that are not read: colour" in told(load(str(path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected a header with user, item"),
        ("user,item\n", "has a header and no row below it"),
        ("users,item\na,b\n", "line 1: no column 'user' in the header. Did you mean 'users'"),
        ("user;item\na;b\n", "Its columns are separated otherwise"),
        ("user,item,item\na,b,c\n", "line 1: two columns 'item'"),
        ("user,item\na,b\na\n", "line 3: 1 value; the header has 2"),
        ("user,item\na,b\n,b\n", "line 3: user is empty"),
        ("user,item,count\na,b,1\na,c,many\n", "line 3: count is 'many'; allowed: numbers"),
        ("user,item,count\na,b,1\na,c,-1\n", "line 3: count is -1; allowed: 0 and more"),
        ("user,item,time\na,b,1\na,c,nan\n", "line 3: time is 'nan'; allowed: numbers"),
        ("user,item\na,b\nc,b\n", "2 interactions with 1 item; to rank items, two are needed"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "log.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        load(str(path))
    assert "log.csv" in str(error.value)


def test_friends_of_a_table(log, tmp_path):
    path = write(tmp_path / "friends.csv", "user,friend",
                 [("ann", "cy"), ("cy", "ann"), ("bob", "bob"), ("bob", "zoe")])  # fmt: skip
    data = load(log, friends=path)
    assert data.friends_2E.tolist() == [[0], [2]]
    assert "friendships of unknown users): bob - zoe" in told(data)
    stranger = write(tmp_path / "friends.csv", "user,friend", [("x", "y")])
    with pytest.raises(InputError, match=r"friends.csv: none of 1 friendship .* x - y, and users"):
        load(log, friends=stranger)
    with pytest.raises(InputError, match=r"friend.csv: no such file. Did you mean"):
        load(log, friends=str(tmp_path / "friend.csv"))


def test_features_of_tables_are_modalities_called_like_their_files(log, tmp_path):
    sound = write(tmp_path / "sound.csv", "item,loud,fast",
                  [("q", 1, 2), ("s", "", ""), ("p", 3, 5), ("zz", 0, 0)])  # fmt: skip
    np.savez(tmp_path / "more.npz", item=np.array(["r", "s"]), cover_x=np.eye(2))
    np.save(tmp_path / "text.npy", np.eye(4))
    paths = (sound, str(tmp_path / "more.npz"), str(tmp_path / "text.npy"))
    data = load(log, features=paths, standardise=False)
    assert list(data.modalities) == ["sound", "cover", "text"]
    assert data.modalities["sound"].there_I.tolist() == [True, True, False, False]
    assert data.modalities["sound"].x_IF.tolist() == [[3, 5], [1, 2], [0, 0], [0, 0]]
    assert data.modalities["cover"].there_I.tolist() == [False, False, True, True]
    assert torch.equal(data.modalities["text"].x_IF, torch.eye(4))
    assert "items of sound.csv that the interactions do not have): zz" in told(data)
    scaled = load(log, features=sound).modalities["sound"].x_IF
    assert scaled.tolist() == [[1, 1], [-1, -1], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("item,a,b", [("p", 1, "")], "item p: column b is nan, but other columns are not"),
        ("item,a", [("p", "x")], "line 2: a is 'x'; allowed: numbers, or nothing"),
        ("item,a", [("p", 1), ("p", 2)], "item p has several rows"),
        ("item,a", [("x", 1)], "none of its 1 item is in the interactions; the first is x"),
        ("item", [("p",)], "no column beside item"),
        ("song,a", [("p", 1)], "no column 'item'"),
    ],
)
def test_wrong_features_are_named_with_their_row(log, tmp_path, header, rows, message):
    with pytest.raises(InputError, match=message):
        load(log, features=write(tmp_path / "sound.csv", header, rows))


def test_features_of_another_width_or_kind_are_refused(log, tmp_path):
    np.save(tmp_path / "text.npy", np.eye(3))
    with pytest.raises(InputError, match=r"text.npy: has 3 rows; the interactions have 4 items"):
        load(log, features=str(tmp_path / "text.npy"))
    np.savez(tmp_path / "more.npz", item=np.array(["r"]), cover=np.eye(2))
    with pytest.raises(InputError, match=r"more.npz: cover: has 2 rows; item has 1"):
        load(log, features=str(tmp_path / "more.npz"))
    np.save(tmp_path / "text.npy", np.eye(4))
    with pytest.raises(InputError, match=r"a second modality 'text'"):
        load(log, features=(str(tmp_path / "text.npy"),) * 2)
    with pytest.raises(InputError, match=r"data.features: .*none.npy: no such file"):
        load(log, features=str(tmp_path / "none.npy"))


def test_valence_and_energy_on_another_scale_are_no_emotion(log, tmp_path):
    rows = [("p", 0.2, 0.5), ("q", 1, 0)]
    path = write(tmp_path / "sound.csv", "item,valence,energy", rows)
    assert load(log, features=path).emotion_I2[0].tolist() == pytest.approx([-0.6, 0])
    path = write(
        tmp_path / "sound.csv", "item,valence,energy", [(i, 100 * v, e) for i, v, e in rows]
    )
    data = load(log, features=path)
    assert data.emotion_I2 is None
    assert "sound: valence and energy are not all in 0 to 1, so they are no emotion" in told(data)


def test_a_folder_and_a_second_table_of_a_name_are_refused(log, tmp_path):
    for field in ("features", "emotion"):
        with pytest.raises(InputError, match=rf"data\.{field}: .*: is a folder; expected a file"):
            load(log, **{field: str(tmp_path)})
    table = np.ones((4, 2))
    np.savez(tmp_path / "more.npz", sound=table, sound_x=table)
    with pytest.raises(InputError, match="a second modality 'sound'"):
        load(log, features=str(tmp_path / "more.npz"))


def test_emotion_of_a_table(log, tmp_path):
    path = write(tmp_path / "mood.csv", "item,arousal,valence", [("q", 0.5, -1), ("r", "", "")])
    emotion = load(log, emotion=path).emotion_I2
    assert emotion[1].tolist() == [-1, 0.5]
    assert emotion.isnan().any(1).tolist() == [True, False, True, True]
    path = write(tmp_path / "mood.csv", "item,valence,arousal", [("q", 0.5, -3)])
    with pytest.raises(InputError, match=r"mood.csv, item q: arousal is -3; allowed: -1 to 1"):
        load(log, emotion=path)
