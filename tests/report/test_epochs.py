"""From which epochs the weights are, in words."""

from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.epochs import told_epochs
from peerlearn.results import Arm, summary

METRICS = Catalogue(CLASSIFICATION)


def arm(**peers: tuple[list[int], int, int | None]) -> Arm:
    """By peer the epochs of all seeds, of how many, and the first that counts."""
    epochs = {}
    for peer, (selected, of, first) in peers.items():
        found = {"selected": selected, "of": [of] * len(selected)}
        found |= {} if first is None else {"from": [first] * len(selected)}
        epochs[peer] = {key: summary(values) for key, values in found.items()}
    return {"epochs": epochs, "validation": {"a": {"accuracy": summary([0.9])}}}


def test_a_run_says_of_which_epoch_each_peer_is() -> None:
    arms = {"independent": arm(a=([12], 15, 1), b=([14], 15, 1))}
    assert told_epochs(arms, METRICS) == [
        "Weights by accuracy on validation: a of epoch 12 of 15, b of epoch 14 of 15."
    ]


def test_it_says_which_epochs_do_not_count() -> None:
    said = told_epochs({"mutual": arm(a=([12], 15, 11), b=([14], 15, 11))}, METRICS)
    assert said[1:] == [
        "Epochs before 11 of a and b do not count: edges have not their full weight there."
    ]
    one_sided = told_epochs({"x": arm(a=([12], 15, 1), b=([14], 15, 11))}, METRICS)
    assert one_sided[1].startswith("Epochs before 11 of b do not count")
    never = told_epochs({"mutual": arm(a=([15], 15, None))}, METRICS)
    assert never[1].startswith("No epoch of a has edges of full weight, so the last one counts")


def test_a_comparison_says_it_of_every_arm_and_seed() -> None:
    arms = {"mutual": arm(a=([12, 13], 15, 11)), "independent": arm(a=([1, 15], 15, 1))}
    assert told_epochs(arms, METRICS) == [
        "Weights of mutual by accuracy on validation: a of epochs 12 and 13 of 15.",
        "Epochs before 11 of a do not count: edges have not their full weight there.",
        "Weights of independent by accuracy on validation: a of epochs 1 and 15 of 15.",
    ]
    assert told_epochs({"old": {"peers": {}}}, METRICS) == []
