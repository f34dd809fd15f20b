"""Folders and files as public data sets and other libraries have them."""

import numpy as np
import pytest

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.registry import load_recommendation
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec


def load(name, **spec):
    return load_recommendation(RecommendationDataSpec(name=str(name), **spec))


def told(data):
    return "\n".join(data.account.lines())


def write(path, header, rows, encoding="utf-8"):
    lines = ["\t".join(map(str, row)) for row in (header, *rows)]
    path.write_text("\r\n".join(lines) + "\r\n", encoding=encoding)


@pytest.fixture
def hetrec(tmp_path):
    users, artists = (2, 3, 10), (51, 52, 53, 7)
    listens = [(u, a, 10 * u + n) for u in users for n, a in enumerate(artists)]
    write(tmp_path / "user_artists.dat", ("userID", "artistID", "weight"), listens)
    write(tmp_path / "user_friends.dat", ("userID", "friendID"), [(2, 10), (10, 2), (3, 99)])
    names = [(51, 'Sigur "Rós', "u", "p"), (52, "Björk", "u", "p"), (7, "Air", "u")]
    write(tmp_path / "artists.dat", ("id", "name", "url", "pictureURL"), names)
    write(tmp_path / "tags.dat", ("tagID", "tagValue"), [(1, "sad"), (13, "café")], "latin-1")
    tagged = [(u, a, t, 1, 4, 2009) for u, a, t in ((2, 51, 1), (3, 51, 13), (2, 999, 1))]
    columns = ("userID", "artistID", "tagID", "day", "month", "year")
    write(tmp_path / "user_taggedartists.dat", columns, tagged)
    return tmp_path


def test_the_folder_of_hetrec_lastfm(hetrec):
    data = load(hetrec, components=2)
    assert data.user_ids.tolist() == ["2", "3", "10"]
    assert data.item_ids.tolist() == ["7", "51", "52", "53"]
    assert data.item_names.tolist() == ["Air", 'Sigur "Rós', "Björk", "53"]
    counts = sorted(n for part in (data.train, data.val, data.test) for n in part.count.tolist())
    assert counts == [20, 21, 22, 23, 30, 31, 32, 33, 100, 101, 102, 103]
    assert data.friends_2E.tolist() == [[0], [2]]
    assert list(data.modalities) == ["tags"]
    assert "1 assignment to artists without listeners left out" in told(data)
    assert "friendships of unknown users): 3 - 99" in told(data)


def test_a_wrong_line_of_hetrec_is_named(hetrec):
    path = hetrec / "user_artists.dat"
    path.write_text(path.read_text(encoding="utf-8").replace("\t102", "\tmany"), encoding="utf-8")
    with pytest.raises(InputError, match=r"user_artists.dat, line 12: weight is 'many'"):
        load(hetrec)


@pytest.fixture
def mmrec(tmp_path):
    rows = [(u, i, 5.0 - i, 100 + i, label) for u in range(4)
            for i, label in enumerate([0, 0, 1, 2])]  # fmt: skip
    header = ("userID", "itemID", "rating", "timestamp", "x_label")
    write(tmp_path / "baby.inter", header, rows)
    np.save(tmp_path / "image_feat.npy", np.eye(6, 3))
    np.save(tmp_path / "text_feat.npy", np.eye(6, 4))
    return tmp_path


def test_the_folder_of_mmrec(mmrec):
    data = load(mmrec)
    assert data.name == mmrec.name and load(mmrec / "baby.inter").name == "baby"
    assert (data.users, data.items) == (4, 6)
    assert data.test.item.tolist() == [3] * 4 and data.val.item.tolist() == [2] * 4
    assert {name: tuple(it.x_IF.shape) for name, it in data.modalities.items()} == {
        "image": (6, 3), "text": (6, 4),
    }  # fmt: skip
    assert "2 items without any interaction: kept" in told(data)
    # Ratings go down with the items: of 5, 4, 3 and 2 the last is too low.
    assert load(mmrec, min_value=3, split="per_user").test.item.max() <= 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3\t3\t", "3\t6\t", "line 17: itemID is '6'; allowed: 0 to 5, the rows of image_feat"),
        ("103\t2", "103\t7", "line 5: x_label is 7; allowed: 0 train, 1 val, 2 test"),
        ("userID", "who", "no column 'userID'"),
    ],
)
def test_what_is_wrong_in_mmrec_is_named(mmrec, old, new, message):
    path = mmrec / "baby.inter"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load(mmrec)


def test_features_of_mmrec_have_one_number_of_rows_and_are_not_unpickled(mmrec):
    np.save(mmrec / "text_feat.npy", np.eye(5))
    with pytest.raises(InputError, match=r"numbers of rows differ: image_feat.npy 6, text_feat"):
        load(mmrec)
    np.save(mmrec / "text_feat.npy", np.array([{}, 1], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"pickled"):
        load(mmrec)


@pytest.fixture
def recbole(tmp_path):
    rows = [(u, i, n, n + 0.5) for u in "abc" for n, i in enumerate("pqrst")]
    header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    write(tmp_path / "ours.inter", header, rows)
    write(tmp_path / "ours.net", ("source_id:token", "target_id:token"), [("a", "c")])
    header = ("item_id:token", "name:token_seq", "year:float", "sound:float_seq", "genre:token_seq")
    rows = [("p", "Song P", 1990, "1 2 3", "rock"), ("q", "Song Q", "", "", "pop"),
            ("z", "Song Z", 2000, "4 5 6", "pop")]  # fmt: skip
    write(tmp_path / "ours.item", header, rows)
    return tmp_path


def test_the_atomic_files_of_recbole(recbole):
    data = load(recbole / "ours.inter", split="temporal", standardise=False)
    assert data.test.item.tolist() == [4] * 3 and data.val.item.tolist() == [3] * 3
    assert data.item_names.tolist() == ["Song P", "Song Q", "r", "s", "t"]
    assert data.friends_2E.tolist() == [[0], [2]]
    assert data.modalities["item"].x_IF[:, 0].tolist() == [1990, 0, 0, 0, 0]
    assert data.modalities["sound"].there_I.tolist() == [True] + [False] * 4
    assert data.modalities["sound"].x_IF[0].tolist() == [1, 2, 3]
    assert "ours.item: columns that are not read: genre:token_seq" in told(data)
    assert "ours.item: 1 item without interactions left out" in told(data)


def test_the_other_token_is_the_item_and_a_weight_counts(recbole):
    for name in ("ours.inter", "ours.item"):
        path = recbole / name
        text = path.read_text(encoding="utf-8").replace("item_id", "artist_id")
        path.write_text(text.replace("rating", "weight"), encoding="utf-8")
    data = load(recbole)
    assert "12 interactions" in told(data) and "3 rows with weight 0: left out" in told(data)
    assert data.item_names[0] == "Song P" and float(data.train.count.max()) > 1
    path = recbole / "ours.inter"
    text = path.read_text(encoding="utf-8").replace("weight:float", "b_id:token")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"no column 'item_id:token' .* and 2 other tokens"):
        load(recbole)


def test_a_sequence_of_another_width_is_refused(recbole):
    path = recbole / "ours.item"
    path.write_text(path.read_text(encoding="utf-8").replace("4 5 6", "4 5"), encoding="utf-8")
    with pytest.raises(InputError, match=r"line 4: sound:float_seq has 2 numbers; others have 3"):
        load(recbole)


def test_folders_that_hold_nothing_or_several(tmp_path):
    with pytest.raises(InputError, match=r"data.name: .*: holds no interactions; expected a csv"):
        load(tmp_path)
    for name in ("a.inter", "b.inter"):
        (tmp_path / name).write_text("userID\titemID\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"has several: a.inter, b.inter; give one of them"):
        load(tmp_path)
