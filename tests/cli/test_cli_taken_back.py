"""What is typed beside an arm that sets it too is not lost without a word."""

import pytest
from overriding import over
from tiny_commands import TINY


def test_a_run_whose_arm_takes_back_what_is_typed_is_refused(cli, tmp_path):
    words = ["transfer.weight=0.5", "arm=independent"]
    found = cli("run", "dml", *over(*TINY, *words), "--out", "run")
    assert found.status == 2 and not (tmp_path / "run").exists()
    assert "transfer.weight: the arm sets transfer after it" in found.err


def test_a_comparison_says_which_arms_do_not_have_it_and_needs_one_that_has(cli, tmp_path):
    words = ["compare", "dml", *over(*TINY, "transfer.weight=0.5", "epochs=1"), "--seeds", "0"]
    found = cli(*words, "--arms", "independent,mutual", "--out", "two")
    assert found.status == 0, found.err
    told = "transfer.weight: not in arm independent, which sets transfer"
    assert told in found.err + found.out
    found = cli(*words, "--arms", "independent", "--out", "none")
    assert found.status == 2 and not (tmp_path / "none").exists()
    assert "transfer.weight: every arm takes it back" in found.err


@pytest.mark.parametrize("word", ["transfer.weight=1", "epochs=1"])
def test_what_an_arm_leaves_is_as_before(cli, word):
    found = cli("run", "dml", *over(*TINY, "epochs=1", word), "--out", "run")
    assert found.status == 0, found.err
