"""Which network to use: chosen by validation, told by what was measured and no more."""

from typing import Any

import pytest

from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.shipping import Shipping, cell_of, choice, shipping, shipping_of
from peerlearn.report.words import NO_BREAK
from peerlearn.results import one_seed, summary

METRICS = Catalogue(CLASSIFICATION)


def arm(validation: dict[str, Any], test: dict[str, Any], ensemble: float = 0.9) -> Any:
    """Peers with their accuracy on validation and on test, one value a seed."""
    return {
        "peers": {name: {"accuracy": summary(values)} for name, values in test.items()},
        "mean_peer": {},
        "ensemble": {"accuracy": summary([ensemble] * len(next(iter(test.values()))))},
        "members": list(test),
        "validation": {name: {"accuracy": summary(v)} for name, v in validation.items()},
        "sizes": {
            name: {"parameters": summary([1000.0 * n]), "latency_ms": summary([0.5])}
            for n, name in enumerate(test, start=1)
        },
    }


def told(arms: dict[str, Any], seeds: tuple[int, ...] = (0,), folder: str = "runs/x") -> Shipping:
    made = shipping(arms, seeds, METRICS, cell_of(folder, len(arms) * len(seeds) > 1))
    assert made is not None
    return plain(made)


def plain(made: Shipping) -> Shipping:
    """With spaces that may be broken."""
    return Shipping(tuple(s.replace(NO_BREAK, " ") for s in made.sentences), made.commands)


def test_a_run_names_its_best_on_validation_with_its_own_test_figure() -> None:
    said = told({"mutual": arm({"a": [0.8], "b": [0.7]}, {"a": [0.75], "b": [0.95]}, 0.76)})
    assert said.sentences == (
        "peer a: best of 2 on validation (accuracy 80.0 %).",
        "On test rows: accuracy 75.0 %.",
        "It has 1,000 parameters; where it was trained, one row alone took 0.5 ms.",
        "The ensemble of a and b: +1.00 points accuracy on test rows; one run, so this may be "
        "chance. It costs 2 forwards and 3.0 × the parameters.",
    )
    assert said.commands == (
        "peerlearn predict runs/x INPUT --peer a",
        "peerlearn export runs/x --peer a --out a.pt2",
        "peerlearn report runs/x",
    )
    assert said.lines()[0] == "Which network to use:" and max(map(len, said.lines())) < 80


def test_a_comparison_names_the_cell_and_the_mean_over_its_seeds() -> None:
    arms = {
        "mutual": arm({"a": [0.8, 0.7], "b": [0.7, 0.9]}, {"a": [0.1, 0.1], "b": [0.6, 0.8]}, 0.7),
        "independent": arm({"a": [0.5, 0.5]}, {"a": [1.0, 1.0]}),
    }
    said = told(arms, (3, 5))
    assert said.sentences[0] == (
        "peer b of arm mutual, seed 5: best of 6 on validation (accuracy 90.0 %)."
    )
    assert said.sentences[1] == (
        "On test rows: accuracy 80.0 %; mean of peer b over 2 seeds 70.0 %."
    )
    assert "−10.00 points accuracy on test rows; in that run." in said.sentences[3]
    assert said.commands[0] == "peerlearn predict runs/x/cells/mutual/seed-5 INPUT --peer b"


def test_equals_are_told_and_the_first_is_taken() -> None:
    arms = {"mutual": arm({"a": [0.8], "b": [0.8]}, {"a": [0.1], "b": [0.2]})}
    score = "peer a: best of 2 on validation (accuracy 80.0 %, 1 other as good)."
    assert f"{score} Its rows do not tell them apart." in told(arms).sentences


def test_a_metric_of_which_less_is_better_chooses_the_least() -> None:
    block = arm({"a": [0.8], "b": [0.7]}, {"a": [0.1], "b": [0.2]})
    block["validation"] = {n: {"nll": summary([v])} for n, v in (("a", 2.0), ("b", 1.0))}
    said = told({"mutual": block}).sentences
    assert said[0] == "peer b: best of 2 on validation (NLL 1.000)."
    assert said[1] == "On test rows: accuracy 20.0 %.", "the headline, not what selected"


def test_teachers_outside_of_the_ensemble_are_not_chosen() -> None:
    block = arm({"a": [0.8], "b": [0.9]}, {"a": [0.1], "b": [0.2]})
    block["members"] = ["a"]
    said = told({"mutual": block}).sentences
    assert said[0] == "peer a, the only one: accuracy 80.0 % on validation."
    assert not any("ensemble" in sentence for sentence in said)


def test_what_was_not_measured_is_not_said() -> None:
    block = arm({"a": [0.8], "b": [0.7]}, {"a": [0.75], "b": [0.95]})
    del block["sizes"]
    said = told({"mutual": block})
    assert len(said.sentences) == 3 and said.sentences[2].endswith("It costs 2 forwards.")
    assert said.commands[1].endswith("--out a.safetensors"), "it may read graphs"
    block["ensemble"] = {}
    assert len(told({"mutual": block}).sentences) == 2


def test_where_nothing_was_validated_nobody_is_best() -> None:
    block = arm({}, {"a": [0.75], "b": [0.95]})
    said = told({"dual": block})
    assert "no peer is called best" in said.sentences[0]
    assert said.sentences[1] == "Name one: a and b, or the ensemble."
    del block["members"]
    assert shipping({"dual": block}, (0,), METRICS, None) is None, "an old run did not say"
    assert shipping({}, (0,), METRICS, None) is None
    mixed = {"x": arm({"a": [1.0]}, {"a": [1.0]}), "y": arm({"a": [1.0]}, {"a": [1.0]})}
    mixed["y"]["validation"] = {"a": {"nll": summary([0.1])}}
    assert choice(mixed, METRICS) is None, "accuracies beside losses"


@pytest.mark.parametrize("is_old", [False, True])
def test_results_of_a_run_are_read_of_older_versions_too(is_old: bool) -> None:
    block = {
        "peers": {"a": {"accuracy": 0.5}, "b": {"accuracy": 0.6}},
        "mean_peer": {"accuracy": 0.55},
        "ensemble": {"accuracy": 0.65},
    }
    new = {"validation": {"a": {"accuracy": 0.7}, "b": {"accuracy": 0.4}}, "members": ["a", "b"]}
    selected = {"a": {"epoch": 2, "accuracy": 0.7, "value": 0.7},
                "b": {"epoch": 1, "accuracy": 0.4, "value": 0.4}}  # fmt: skip
    results: Any = {
        "arms": {"mutual": one_seed(block if is_old else block | new)},
        "seeds": [4],
        "selected": selected,
    }
    made = shipping_of(results, METRICS, "my run")
    assert made is not None
    made = plain(made)
    assert made.sentences[0] == "peer a: best of 2 on validation (accuracy 70.0 %)."
    assert made.sentences[2].startswith("The ensemble of a and b: +15.00 points")
    assert made.commands[2] == "peerlearn report 'my run'"
