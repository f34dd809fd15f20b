"""Schedules: end points, shapes and what happens outside the ramp."""

import itertools
import math

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.outputs import Schedule
from peerlearn.validation import validated

MOVING = ["linear", "sigmoid", "cosine", "exponential"]


def schedule(given):
    return validated(Schedule, given, "weight_schedule")


def outputs(*names, rows=6, classes=4):
    generator = torch.Generator().manual_seed(0)
    return {n: PeerOutput(torch.randn(rows, classes, generator=generator)) for n in names}


@pytest.mark.parametrize("progress", [-1.0, 0.0, 0.3, 1.0, 2.0])
def test_constant_is_the_value_from_the_first_step(progress):
    assert schedule("constant").at(progress, 0.7) == 0.7


@pytest.mark.parametrize("kind", MOVING)
def test_a_schedule_ends_exactly_at_its_value(kind):
    made = schedule({"kind": kind, "start": 0.5, "begin": 0.2, "over": 0.4})
    for progress in (0.6 + 1e-9, 0.9, 1.0):
        assert made.at(progress, 3.0) == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize("kind", MOVING)
def test_a_schedule_waits_at_its_start(kind):
    made = schedule({"kind": kind, "start": 0.5, "begin": 0.2, "over": 0.4})
    assert made.at(0.0, 3.0) == pytest.approx(0.5)
    assert made.at(0.19, 3.0) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["linear", "cosine", "exponential"])
def test_a_ramp_begins_at_its_start(kind):
    assert schedule({"kind": kind, "start": 0.5}).at(0.0, 3.0) == pytest.approx(0.5)


def test_sigmoid_begins_at_exp_minus_5():
    assert schedule("sigmoid").at(0.0, 1.0) == pytest.approx(math.exp(-5))


@pytest.mark.parametrize("kind", MOVING)
@pytest.mark.parametrize(("start", "value"), [(0.1, 2.0), (2.0, 0.5)])
def test_a_schedule_moves_one_way_and_stays_between_its_ends(kind, start, value):
    made = schedule({"kind": kind, "start": start})
    path = [made.at(i / 50, value) for i in range(51)]
    steps = [(b - a) * (value - start) for a, b in itertools.pairwise(path)]
    assert all(step > 0 for step in steps)
    assert min(path) >= min(start, value)
    assert max(path) <= max(start, value)


@pytest.mark.parametrize(
    ("kind", "quarter", "half"),
    [
        ("linear", 1 + 0.25 * 3, 2.5),
        ("cosine", 1 + 3 * (1 - math.cos(math.pi / 4)) / 2, 2.5),
        ("sigmoid", 1 + 3 * math.exp(-5 * 0.75**2), 1 + 3 * math.exp(-5 * 0.25)),
        ("exponential", 4**0.25, 2.0),
    ],
)
def test_shapes_of_the_ramps(kind, quarter, half):
    made = schedule({"kind": kind, "start": 1.0})
    assert made.at(0.25, 4.0) == pytest.approx(quarter)
    assert made.at(0.5, 4.0) == pytest.approx(half)


def test_begin_and_over_place_the_ramp():
    made = schedule({"kind": "linear", "begin": 0.2, "over": 0.5})
    assert made.at(0.2, 1.0) == pytest.approx(0.0)
    assert made.at(0.45, 1.0) == pytest.approx(0.5)
    assert made.at(0.7, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", MOVING)
def test_progress_outside_the_stage_is_clamped(kind):
    made = schedule({"kind": kind, "start": 1.0})
    assert made.at(-0.5, 4.0) == pytest.approx(1.0)
    assert made.at(1.5, 4.0) == pytest.approx(4.0)


@pytest.mark.parametrize("top", [2.0, 1.5])
def test_cosine_of_alpha_runs_from_its_maximum_to_0(top):
    made = schedule({"kind": "cosine", "start": top})
    assert made.at(0.0, 0.0) == pytest.approx(top)
    assert made.at(0.5, 0.0) == pytest.approx(top / 2)
    assert made.at(1.0, 0.0) == pytest.approx(0.0, abs=1e-12)


def test_cosine_of_alpha_runs_from_2_to_a_half():
    made = schedule({"kind": "cosine", "start": 2.0})
    assert [made.at(p, 0.5) for p in (0.0, 0.5, 1.0)] == pytest.approx([2.0, 1.25, 0.5])


def test_exponential_with_equal_ends_is_constant():
    made = schedule({"kind": "exponential", "start": 1.5})
    assert [made.at(i / 7, 1.5) for i in range(8)] == pytest.approx([1.5] * 8)


@pytest.mark.parametrize("field", Schedule.model_fields)
def test_every_option_of_a_schedule_changes_its_path(field):
    """A new field needs a case here."""
    base = {"kind": "linear", "start": 0.5, "begin": 0.2, "over": 0.6}
    changed = {
        "kind": ["constant", "sigmoid", "cosine", "exponential"],
        "start": [0.9],
        "begin": [0.3],
        "over": [0.3],
    }
    for value in changed[field]:
        before, after = schedule(base), schedule(base | {field: value})
        assert before.at(0.35, 2.0) != pytest.approx(after.at(0.35, 2.0), rel=1e-3), value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("linaer", "Did you mean 'linear'"),
        ({"kind": "linear", "ovr": 0.2}, "Did you mean 'over'"),
        ({"kind": "linear", "over": 0}, r"weight_schedule\.over"),
        ({"kind": "linear", "over": 1.5}, r"weight_schedule\.over"),
        ({"kind": "linear", "begin": 1.0}, r"weight_schedule\.begin"),
        ("exponential", "start > 0"),
        ({"kind": "linear", "start": -1.0}, r"weight_schedule\.start"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        schedule(given)


def test_description_says_what_happens():
    assert Schedule().describe(1.5) == "1.5"
    made = schedule({"kind": "linear", "begin": 0.1, "over": 0.2})
    assert made.describe(1.0) == "linear 0 → 1 over 20% after 10%"


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5, 1.0])
def test_a_graph_follows_the_weight_schedule(progress):
    peers = outputs("a", "b")
    plain = TransferGraph("predictions: kl", ["a", "b"]).losses(peers)
    moving = TransferGraph(
        {"weight": 3.0, "weight_schedule": {"kind": "linear", "over": 0.5}}, ["a", "b"]
    ).losses(peers, progress=progress)
    for name in peers:
        torch.testing.assert_close(moving[name], plain[name] * 3 * min(1, progress / 0.5))


@pytest.mark.parametrize(("progress", "alpha"), [(0.0, 2.0), (0.5, 1.25), (1.0, 0.5)])
def test_a_graph_follows_the_alpha_schedule(progress, alpha):
    peers = outputs("a", "b")
    moving = {
        "divergence": "renyi",
        "alpha": 0.5,
        "alpha_schedule": {"kind": "cosine", "start": 2.0},
    }
    found = TransferGraph(moving, ["a", "b"]).losses(peers, progress=progress)
    fixed = TransferGraph({"divergence": "renyi", "alpha": alpha}, ["a", "b"]).losses(peers)
    torch.testing.assert_close(found, fixed)


def test_an_order_that_rises_from_0_or_falls_to_0_trains():
    peers = outputs("a", "b")
    rising = {"divergence": "renyi", "alpha": 1.5, "alpha_schedule": "linear"}
    falling = {
        "divergence": "renyi",
        "alpha": 1e-6,
        "alpha_schedule": {"kind": "cosine", "start": 2},
    }
    for spec, quiet in ((rising, 0.0), (falling, 1.0)):
        graph = TransferGraph(spec, ["a", "b"])
        assert abs(graph.losses(peers, progress=quiet)["a"].item()) < 1e-5
        assert graph.losses(peers, progress=0.5)["a"] > 1e-3


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"weight_schedule": "linear"}, "weight_schedule"),
        ({"divergence": "renyi", "alpha": 2, "alpha_schedule": "linear"}, "alpha_schedule"),
    ],
)
def test_a_moving_schedule_without_progress_is_an_input_error(spec, field):
    with pytest.raises(InputError, match=rf"transfer\.{field}.*progress"):
        TransferGraph(spec, ["a", "b"]).losses(outputs("a", "b"))
