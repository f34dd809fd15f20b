"""Which epoch of each peer counts: the last of the best ones with all edges open."""

from pathlib import Path

import pytest
from tiny import tiny_config, tiny_trainer, weights
from torch import nn

from peerlearn.engine.selection import Selection, first_epoch
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe
from peerlearn.transfer.graph import TransferGraph

OPEN = TransferGraph("none", ["a", "b"])


def late(begin: float, over: float, **more: object) -> TransferGraph:
    """An edge from b to a that opens late; b learns from nobody."""
    schedule = {"kind": "linear", "begin": begin, "over": over}
    edge = {"from": "b", "to": "a", "weight_schedule": schedule} | more
    return TransferGraph({"edges": [edge]}, ["a", "b"])


def chosen(values: list[float], graph: TransferGraph = OPEN, metric: str = "accuracy") -> dict:
    """What is kept of peer a after epochs of these values."""
    selection = Selection(Catalogue(CLASSIFICATION)[metric])
    for epoch, value in enumerate(values, start=1):
        measured = {"a": {metric: value}}
        selection.offer(measured, {"a": nn.Linear(1, 1)}, graph, epoch, len(values))
    return selection.known.get("a", {})


def test_the_last_of_equal_epochs_is_kept() -> None:
    known = chosen([0.5, 0.9, 0.9, 0.7, 0.9, 0.8])
    assert {key: known[key] for key in ("epoch", "since", "of", "from", "accuracy")} == {
        "epoch": 5,
        "since": 2,
        "of": 6,
        "from": 1,
        "accuracy": 0.9,
    }
    assert chosen([2.0, 1.0, 1.5], metric="nll")["epoch"] == 2


def test_epochs_before_edges_have_their_full_weight_do_not_count() -> None:
    values = [0.9, 0.9, 0.1, 0.3, 0.3, 0.2]
    known = chosen(values, late(0.25, 0.25))
    assert (known["epoch"], known["from"], known["since"]) == (5, 3, 4)


def test_where_no_epoch_counts_the_last_one_does() -> None:
    known = chosen([0.9, 0.8, 0.1], late(0.9, 0.5))
    assert (known["epoch"], known["from"]) == (3, None)


@pytest.mark.parametrize(
    ("graph", "peer", "first"),
    [
        (late(0.4, 0.3), "a", 7),
        (late(0.1, 0.2), "a", 3),  # 0.1 + 0.2 is more than 0.3
        (late(0.0, 1.0), "a", 10),
        (late(0.5, 0.9), "a", None),
        (late(0.4, 0.3), "b", 1),
        (late(0.4, 0.3, weight=0), "a", 1),
        (OPEN, "a", 1),
        (TransferGraph("predictions: kl", ["a", "b"]), "a", 1),
    ],
)
def test_the_first_epoch_that_counts(graph: TransferGraph, peer: str, first: int | None) -> None:
    assert first_epoch(graph, peer, 10) == first


def test_an_edge_that_fades_is_open_from_the_start() -> None:
    schedule = {"kind": "linear", "start": 2.0, "over": 0.5}
    assert first_epoch(TransferGraph({"weight_schedule": schedule}, ["a", "b"]), "a", 10) == 1


def test_a_peer_without_edges_chooses_among_all_epochs_beside_one_that_does_not() -> None:
    result = tiny_trainer(
        "epochs=4",
        "transfer={edges: [{from: a, to: b, weight_schedule: {kind: linear, over: 0.75}}]}",
    ).run()
    assert {name: known["from"] for name, known in result.selected.items()} == {"a": 1, "b": 3}
    assert result.selected["b"]["epoch"] >= 3
    assert result.block["epochs"]["b"] == {
        "selected": result.selected["b"]["epoch"],
        "of": 4,
        "from": 3,
    }


def test_patience_waits_for_edges_and_for_what_is_better_not_for_what_is_as_good() -> None:
    graph, selection = late(0.5, 0.1), Selection(Catalogue(CLASSIFICATION)["accuracy"])
    goes_on = []
    for epoch, value in enumerate([0.9, 0.9, 0.5, 0.4, 0.4, 0.6, 0.6, 0.6, 0.6], start=1):
        measured = {"a": {"accuracy": value}}
        selection.offer(measured, {"a": nn.Linear(1, 1)}, graph, epoch, 10)
        goes_on.append(selection.may_improve(["a"], 2, graph, epoch, 10))
    assert goes_on == [True] * 7 + [False] * 2


def test_a_run_that_is_cut_before_edges_open_resumes_exactly(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise Killed

    words = ["epochs=4", "lr=0.3"]
    whole = tiny_trainer(*words, folder=tmp_path / "whole")
    expected = whole.run()
    cut = tiny_trainer(*words, folder=tmp_path / "cut")
    cut.observe = kill
    with pytest.raises(Killed):
        cut.run()
    assert not cut.folder.best("a").exists(), "no epoch counts yet"
    again = tiny_trainer(*words, folder=tmp_path / "cut")
    assert again.run(resume=True).selected == expected.selected
    assert weights(again) == weights(whole)


def test_more_epochs_replace_the_last_one_that_counted_for_want_of_others(tmp_path: Path) -> None:
    recipe, never = find_recipe("dml")[0], "transfer.weight_schedule={kind: linear, begin: 0.9}"
    short = run_recipe(recipe, tiny_config(never, "epochs=1"), tmp_path)
    assert short["selected"]["a"]["from"] is None
    assert "from" not in short["arms"]["mutual"]["epochs"]["a"]
    longer = run_recipe(recipe, tiny_config(never, "epochs=3"), tmp_path, resume=True)
    assert longer["selected"]["a"]["epoch"] == 3
