"""The head: what would be trained, folded to the screen, the same account for every verb."""

import pytest
from tiny_commands import TINY

from peerlearn.cli.head import head

LONG = {
    "data": ["digits: 10 classes, rows of 1×8×8 (1,257 train, 180 val, 360 test)"],
    "classes": [", ".join(["zero (124 training rows)", *(f"class {n} ({n},000)" for n in "1234")])],
    "read": ["read 1,437 files: train 1,257, test 180", "left out 2 (hidden): .a.png, .b.png"],
    "peers": ["a: cnn, 94,186 parameters", "b: cnn, 94,186 parameters"],
    "memory": ["about 3.33 MB, without activations: weights 757 kB, gradients 753 kB, rows 1.2 GB"],
    "edges": ["a → b: predictions through kl, temperature 1, weight linear 0 → 1 over 30%"],
}


@pytest.mark.parametrize("width", [40, 52, 80, 100, 200])
@pytest.mark.parametrize("arms", [["mutual"], ["mutual", "independent"]])
def test_no_line_is_longer_than_the_screen_and_nothing_is_lost(width, arms):
    lines = head(dict.fromkeys(arms, LONG), width, "dml")
    assert max(map(len, lines)) <= min(width, 100)
    told = " ".join(" ".join(line.split()) for line in lines)
    for words in LONG.values():
        for line in words:
            assert line in told
    assert not any(line.lstrip().startswith("(") for line in lines)  # a name keeps its count
    assert not any(line.lstrip().startswith(("kB", "MB", "GB")) for line in lines)


def test_arms_tell_what_is_different_in_them():
    other = LONG | {"peers": ["a: mlp, 7 parameters"], "edges": ["none: peers learn alone"]}
    lines = head({"mutual": LONG, "alone": other}, 80)
    assert (
        lines.count("data     digits: 10 classes, rows of 1×8×8 (1,257 train, 180 val, 360 test)")
        == 1
    )
    assert lines[-4:] == [
        "             over 30%",
        "arm      alone",
        "  peers    a: mlp, 7 parameters",
        "  edges    none: peers learn alone",
    ]


@pytest.mark.parametrize("verb", ["validate", "run", "compare"])
def test_verbs_tell_the_same(cli, verb):
    words = {"validate": [], "run": [], "compare": ["--arms", "mutual", "--seeds", "0"]}[verb]
    said = cli(verb, "dml", *TINY, "precision=fp32", *words)
    told = [line.strip() for line in (said.out + said.err).splitlines()]
    for line in (
        "data     digits: 10 classes, rows of 1×8×8 (100 train, 180 val, 360 test)",
        "classes  0 (10 training rows), 1 (10), 2 (10), 3 (10), 4 (10), 5 (10), 6 (10),",
        "peers    a: mlp, 1,210 parameters",
        "device   cpu, fp32, 1 thread",
        "stages   mutual: 2 steps (2 epochs of 1 batch)",
        "selects  weights of each peer's epoch of best accuracy on val (180 rows)",
        "a, b: epoch 2, in which edges have their full weight",
        "reports  test (360 rows)",
    ):
        assert line in told
    few = (
        "mutual: 2 steps per peer are few, training has hardly begun; epochs=100 makes at least 100"
    )
    assert few in " ".join(" ".join(told).split())
    assert any(line.startswith("memory   about ") for line in told)


def test_compare_says_which_arms_it_leaves_out(cli):
    words = ["dml", *TINY, "arms={one: {}, two: {}, alone: {transfer: none}}", "--seeds", "0"]
    said = cli("compare", *words)
    told = "arm two is left out: with these peers it trains as one does"
    assert f"{told} (--arms names those to train)" in said.err.splitlines()
    assert "\none " in said.out
    assert "\ntwo " not in said.out
    named = cli("compare", *words, "--arms", "one,two", "--out", "named")
    assert "left out: with" not in named.err
    assert "\ntwo " in named.out
