"""The last lines of a comparison with few labels: what was gained, and what to do next."""

import shlex

from peerlearn.cli.closing import closing_lines
from peerlearn.report.statistics import differences
from peerlearn.results import summary
from peerlearn.systems.registry import RECIPES

TINY = ["epochs=1", "data.train_size=100", "batch_size=32", "threads=1"]


def results(seeds, data):
    def arm(accuracy, nll):
        one = {
            "accuracy": summary([accuracy + accuracy * seed / 20 for seed in range(seeds)]),
            "nll": summary([nll + nll * seed / 20 for seed in range(seeds)]),
        }
        ensemble = {"accuracy": summary([accuracy + 0.02 + seed / 25 for seed in range(seeds)])}
        return {"peers": {"a": one, "b": one}, "mean_peer": one, "ensemble": ensemble}

    arms = {"mutual": arm(0.88, 0.5), "independent": arm(0.82, 0.7), "self": arm(0.83, 0.9)}
    found = {"arms": arms, "differences": differences(arms), "seeds": list(range(seeds))}
    return found | {"data": data}


def said(seeds, recipe="dml-few-labels", data="digits"):
    return "\n".join(closing_lines(results(seeds, data), RECIPES[recipe]))


def test_the_gain_is_told_with_its_interval_and_beside_the_ensemble():
    text = " ".join(said(3).split())
    assert "What was gained, on test rows:" in text
    assert "mutual beats independent on mean-peer accuracy: +6.30 points (95 % interval" in text
    assert "Calibration, not tested: NLL −0.210" in text
    beside = (
        "One network of mutual beside the ensemble of 2 of independent, not tested: +4.40 points"
    )
    assert f"{beside} [3.41, 5.39] over 3 seeds." in text
    assert "self" not in text.partition("On data of your own")[0]


def test_with_one_seed_it_may_be_chance():
    assert "One seed: no interval, so this may be chance." in " ".join(said(1).split())


def test_lines_fit_a_terminal_and_other_recipes_say_nothing():
    assert max(map(len, said(3).splitlines())) <= 90
    assert said(3, "dml") == ""
    assert said(3, data="mine") == said(3).partition("\nOn data of your own")[0]


def test_a_comparison_ends_with_them_and_its_command_can_be_typed(cli):
    words = ["--arms", "mutual,independent", "--seeds", "0-1", "--out", "runs/demo"]
    done = cli("compare", "dml-few-labels", *TINY, *words)
    assert done.status == 0, done.err
    closing = done.out.partition("What was gained, on test rows:")[2].replace("\\\n", "")
    command = next(line for line in closing.splitlines() if "peerlearn compare" in line)
    program, verb, recipe, *others = shlex.split(command.replace("PATH", "digits"))
    assert (program, verb, recipe) == ("peerlearn", "compare", "dml-few-labels")
    typed = [word.replace("0-4", "0").replace("null", "50") for word in others]
    assert cli(verb, recipe, *TINY, *typed).status == 0
    export = closing.partition("peerlearn export")[2].splitlines()[0]
    assert cli("export", *shlex.split(export)).status == 0
