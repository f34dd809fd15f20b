"""Whom a finished recommender suggests what: `peerlearn recommend`, and what it is made of."""

import csv
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from peerlearn.serving import open_run
from peerlearn.serving.run import TrainedRun
from peerlearn.tasks.recommendation.recommending import friends_of, heard_by, suggestions

TINY = ["data.world={users: 40, items: 30, listens: 8}", "epochs=2", "threads=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peerlearn.cli import app

    out = tmp_path_factory.mktemp("music") / "run"
    app(["run", "music", *TINY, "--out", str(out)], standalone_mode=False)
    return out


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    return open_run(folder)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_what_a_user_knows_is_left_out_and_the_best_come_first(run: TrainedRun) -> None:
    peers = dict(run.cohort.peers.items())
    graph = peers["audio"].graph
    heard, friends = heard_by(graph), friends_of(graph)
    found = list(suggestions(peers, graph, [3, 0], 30))
    for user, each in zip([3, 0], found, strict=True):
        assert {one.user for one in each} == {user}
        assert not {one.item for one in each} & set(heard[user])
        assert len(each) == 30 - len(heard[user]), "all others, where so many are asked for"
        scores = [one.score for one in each]
        assert scores == sorted(scores, reverse=True)
        for one in each:
            assert one.by.keys() == peers.keys()
            mean = sum(one.by.values()) / len(one.by)
            assert one.score == pytest.approx(mean, abs=1e-4), "every branch ranks every item"
            expected = [f for f in friends[user] if one.item in heard[f]]
            assert list(one.friends) == expected


def test_of_equal_scores_a_list_is_the_beginning_of_a_longer_one_as_it_is_measured(
    folder: Path, cli, tmp_path: Path
) -> None:
    assert cli("run", "music", *TINY, "arm=popularity", "--out", tmp_path / "run").status == 0
    few = rows(cli("recommend", tmp_path / "run", "--n", "5").out)
    many = rows(cli("recommend", tmp_path / "run", "--n", "30").out)
    assert few == [row for row in many if int(row["rank"]) <= 5]
    for before, after in pairwise(many):
        if before["user"] == after["user"] and before["score"] == after["score"]:
            assert int(before["item"]) < int(after["item"])


def test_what_is_not_finished_says_so_and_a_finished_run_what_to_type(
    folder: Path, cli, tmp_path: Path
) -> None:
    said = cli("run", "music", *TINY, "data.val_share=0", "--out", tmp_path / "run")
    assert f"peerlearn recommend {tmp_path / 'run'} --user ID --peer ensemble" in said.out
    epochs = [line for line in said.err.splitlines() if line.startswith("epoch ")]
    assert epochs and all(re.search(r"train loss lyrics \d", line) for line in epochs)
    (tmp_path / "run" / "results.json").unlink()
    said = cli("recommend", tmp_path / "run", "--user", "3", "--n", "2")
    assert said.status == 0 and "not finished" in said.err


def test_a_restored_branch_scores_as_the_trained_one_did(run: TrainedRun) -> None:
    graph = run.cohort.peers["audio"].graph
    assert graph.interactions.any() and graph.friends.any(), "they are saved with the weights"
    alone = {"audio": run.cohort.peers["audio"]}
    (found,) = suggestions(alone, graph, [5], 3)
    again = open_run(run.folder)
    (other,) = suggestions({"audio": again.cohort.peers["audio"]}, graph, [5], 3)
    assert found == other
    assert torch.isfinite(torch.tensor([one.score for one in found])).all()


def test_the_command_tells_who_speaks_for_an_item(folder: Path, cli) -> None:
    said = cli("recommend", folder, "--user", "3", "--user", "0", "--n", "4", "--explain")
    assert said.status == 0
    found = rows(said.out)
    assert [row["user"] for row in found] == ["3"] * 4 + ["0"] * 4
    assert [row["rank"] for row in found[:4]] == ["1", "2", "3", "4"]
    assert {"by lyrics", "by audio", "by visual", "friends"} <= found[0].keys()
    one = cli("recommend", folder, "--user", "3", "--n", "4", "--peer", "audio")
    assert rows(one.out) != found[:4]
    assert "by audio" not in rows(one.out)[0]


def test_all_users_are_written_to_a_file_and_to_a_page(folder: Path, tmp_path: Path, cli) -> None:
    assert cli("recommend", folder, "--n", "2", "--out", tmp_path / "all.csv").status == 0
    found = rows((tmp_path / "all.csv").read_text())
    assert len(found) == 80 and len({row["user"] for row in found}) == 40
    assert cli("recommend", folder, "--n", "2", "--out", tmp_path / "page.html").status == 0
    page = (tmp_path / "page.html").read_text()
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    data = json.loads(text)
    assert [user["id"] for user in data["users"]][:2] == ["0", "1"]
    lists = data["users"][3]["lists"]
    assert lists.keys() == {"ensemble", "lyrics", "audio", "visual"}
    of_three = [row["item"] for row in found if row["user"] == "3"]
    assert [data["items"][str(item)] for item, _ in lists["ensemble"]] == of_three


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--user", "x7"], r"--user x7: no user of the run has that id.*There are 40, such as 0"),
        (["--n", "0"], r"--n 0; allowed: 1 or more"),
        (["--peer", "audi"], r"--peer: .*'audi'.*'audio'"),
        (["--out", "all.txt"], r"--out all\.txt: allowed: a file \.csv, \.parquet or \.html"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(folder: Path, words: list[str], message: str, cli) -> None:
    said = cli("recommend", folder, *words)
    assert said.status == 2 and re.search(message, said.err), said.err


def test_a_run_of_another_kind_recommends_nothing(tmp_path: Path, cli) -> None:
    tiny = ["peers.a={model: mlp, arguments: {hidden: [4]}}", "data.train_size=50", "epochs=1"]
    assert (
        cli("run", "dml", *tiny, "peers.b=null", "transfer=none", "--out", tmp_path / "dml").status
        == 0
    )
    said = cli("recommend", tmp_path / "dml")
    assert said.status == 2 and "recommends nothing" in said.err


# Who came later -----------------------------------------------------------------------------------


def table(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def of_user(found: list[dict[str, str]], user: str) -> list[str]:
    return [row["item"] for row in found if row["user"] == user]


def test_who_came_later_is_suggested_what_others_like_them_listen_to(
    folder: Path, run: TrainedRun, cli, tmp_path: Path
) -> None:
    heard = heard_by(run.cohort.peers["audio"].graph)[3]
    lines = [*(f"new,{item}" for item in heard), "new,song", "0,song"]
    pairs = table(tmp_path / "pairs.csv", "user,item", *lines)
    friends = table(tmp_path / "friends.csv", "user,friend", "new,3", "new,new")
    before = rows(cli("recommend", folder, "--n", "30").out)
    words = ["recommend", folder, "--pairs", pairs, "--friends", friends, "--n", "30"]
    said = cli(*words, "--explain")
    assert said.status == 0, said.err
    after = rows(said.out)
    assert {row["user"] for row in after} == {row["user"] for row in before} | {"new"}
    listed, alike = of_user(after, "new"), of_user(before, "3")
    assert set(listed) == set(alike), "all that it did not listen to"
    assert len({*listed[:8]} & {*alike[:8]}) >= 5, "what one who listens alike is suggested"
    assert "song" in of_user(after, "1") and "song" not in of_user(after, "0")
    by = [row for row in after if row["item"] == "song" and row["user"] == "3"]
    assert by[0]["friends"] == "new"


def test_without_anything_new_nothing_changes(folder: Path, run: TrainedRun, cli, tmp_path) -> None:
    graph = run.cohort.peers["audio"].graph
    lines = [f"{user},{item}" for user, item in graph.interactions.T.tolist()]
    pairs = table(tmp_path / "pairs.csv", "user,item", *lines)
    plain = cli("recommend", folder, "--n", "5")
    assert cli("recommend", folder, "--n", "5", "--pairs", pairs).out == plain.out


@pytest.mark.parametrize("arm", ["ease", "popularity", "item-knn", "ngcf"])
def test_what_is_computed_or_has_ids_alone_knows_newcomers(arm: str, cli, tmp_path: Path) -> None:
    assert cli("run", "music", *TINY, f"arm={arm}", "--out", tmp_path / "run").status == 0
    pairs = table(tmp_path / "pairs.csv", "user,item", "new,1", "new,2", "0,song")
    said = cli("recommend", tmp_path / "run", "--user", "new", "--n", "40", "--pairs", pairs)
    assert said.status == 0, said.err
    assert set(of_user(rows(said.out), "new")) == {*map(str, range(30)), "song"} - {"1", "2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pairs", "nope.csv"], "nope.csv"),
        (["--pairs", "friends.csv"], "item"),
        (["--friends", "friends.csv"], "friends.csv, row 1: friend 'who' is no user of the run"),
        (["--user", "new"], "--user new: no user of the run has that id"),
    ],
)
def test_what_came_later_is_named_where_it_is_wrong(
    folder: Path, cli, tmp_path: Path, words: list[str], message: str
) -> None:
    table(tmp_path / "friends.csv", "user,friend", "0,who")
    said = cli("recommend", folder, *words)
    assert (said.status, message in said.err) == (2, True), said.err
