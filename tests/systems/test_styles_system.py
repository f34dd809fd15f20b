"""Learning styles: every configuration is a transfer graph; students fit a budget."""

from pathlib import Path
from typing import Any

import pytest
import torch
from overriding import parsed

from peerlearn.errors import InputError
from peerlearn.models.size import parameter_count
from peerlearn.systems.overrides import parse_assignments
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

SYSTEMS = ["styles-classify", "styles-segment"]
TINY = {
    "styles-classify": [
        "data.train_size=64", "batch_size=32", "peers.teacher.arguments.width=8",
    ],
    "styles-segment": [
        "data.train_size=8", "batch_size=4", "peers.teacher.arguments={width: 8, levels: 1}",
        "peers.s1.arguments.levels=1", "peers.s2.arguments.levels=1", "evaluation.batch_size=64",
    ],
}  # fmt: skip
#: S1 and S2 by what each of them gets: from the teacher, and from the other student.
SLOTS = {
    "kdml-v1": ("P", "P", "P", "P"), "kdml-v2": ("F", "F", "F", "F"),
    "kdml-v3": ("P", "F", "P", "P"), "kdml-v4": ("P", "F", "F", "P"),
    "kdml-v5": ("P", "F", "FP", "FP"), "kd-v1": ("P", "P", "", ""), "kd-v2": ("F", "F", "", ""),
    "kd-v3": ("P", "F", "", ""), "ml-v1": ("", "", "P", "P"), "ml-v2": ("", "", "F", "F"),
    "ml-v3": ("", "", "F", "P"), "independent": ("", "", "", ""), "t": ("", "", "", ""),
}  # fmt: skip
EDGES = (("teacher", "s1"), ("teacher", "s2"), ("s2", "s1"), ("s1", "s2"))


def trainer(system: str, *overrides: str) -> Any:
    recipe, given = find_recipe(system)
    common = ["epochs=1", "precision=fp32", "threads=1"]
    config = recipe.resolve(given, parsed(*common, *TINY[system], *overrides))
    return recipe.build(config)


def weights(made: Any, peer: str) -> list[list[float]]:
    return [t.double().flatten().tolist() for t in made.cohort.peers[peer].state_dict().values()]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_arm_is_its_row_of_the_table(system: str) -> None:
    _, given = find_recipe(system)
    assert set(given["arms"]) == set(SLOTS)
    assert next(iter(given["arms"])) == "kdml-v4"
    for arm, slots in SLOTS.items():
        made = trainer(system, f"arm={arm}")
        found = {ends: set() for ends in EDGES}
        for edge in made.cohort.transfer.edges():
            found[edge["from"], edge["to"]].add(edge["knowledge"][0].upper())
        assert found == {ends: set(slot) for ends, slot in zip(EDGES, slots, strict=True)}, arm


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("arm", ["kdml-v4", "kdml-v5", "ml-v3", "t"])
def test_every_kind_of_arm_trains(system: str, arm: str) -> None:
    result = trainer(system, f"arm={arm}").run()
    assert {"ml-v3": ["s1", "s2"], "t": ["teacher"]}.get(arm, ["teacher", "s1", "s2"]) == list(
        result.block["peers"]
    )
    together = result.block["mean_peer"]["accuracy"]
    students = ["teacher"] if arm == "t" else ["s1", "s2"]
    each = [result.block["peers"][name]["accuracy"] for name in students]
    assert together == pytest.approx(sum(each) / len(each)), "the teacher is no member"


def test_equal_seeds_start_every_arm_alike() -> None:
    first, second = (trainer("styles-classify", f"arm={arm}") for arm in ("kdml-v4", "ml-v1"))
    assert weights(first, "s1") == weights(second, "s1")


def test_a_teacher_in_no_edge_is_trained_as_alone() -> None:
    """The teacher learns from nobody, so every arm has the same one."""
    taught = trainer("styles-classify", "arm=kdml-v5", "evaluation.select=last")
    alone = trainer("styles-classify", "arm=t", "evaluation.select=last")
    taught.run(), alone.run()
    assert weights(taught, "teacher") == weights(alone, "teacher")


def test_plain_mutual_learning_is_deep_mutual_learning() -> None:
    """KDML-V1 without a teacher, at temperature 1, is `dml` on the same two networks."""
    plain = trainer(
        "styles-classify", "arm=ml-v1", "transfer.predictions.temperature=1",
        "peers.s1.arguments.width=4", "peers.s2.arguments.width=4",
    )  # fmt: skip
    recipe, given = find_recipe("dml")
    peers = {"a": None, "b": None} | {
        name: {"model": "resnet8", "arguments": {"width": 4}} for name in ("s1", "s2")
    }
    changes = {f"peers.{name}": peer for name, peer in peers.items()}
    changes |= parse_assignments(
        [
            *("epochs=1", "precision=fp32", "threads=1", "lr=0.1", "lr_schedule=cosine"),
            *TINY["styles-classify"][:2],
        ]
    ) | {"transfer.weight_schedule": {"kind": "linear", "over": 0.1}}
    dml = recipe.build(recipe.resolve(given, changes))
    plain.run(), dml.run()
    assert weights(plain, "s1") == weights(dml, "s1")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_teacher_may_train_first_and_is_frozen_then(system: str) -> None:
    offline = trainer(system, "stages.teacher.epochs=2")
    seen = []
    offline.observe = lambda event: (
        event["event"] == "epoch"
        and seen.append((event["stage"], tuple(event["train"]), weights(offline, "teacher")))
    )
    offline.run()
    assert [(stage, names) for stage, names, _ in seen] == [
        ("teacher", ("teacher",)), ("teacher", ("teacher",)), ("mutual", ("s1", "s2")),
    ]  # fmt: skip
    chosen = offline.selection.best["teacher"]["epoch"]
    assert weights(offline, "teacher") == seen[2][2] == seen[chosen - 1][2]
    assert seen[0][2] != seen[1][2]


def test_an_interrupted_teacher_resumes_to_the_same_students(tmp_path: Path) -> None:
    recipe, given = find_recipe("styles-classify")
    options = ["epochs=2", "stages.teacher.epochs=2", "precision=fp32", "threads=1"]
    config = recipe.resolve(given, parsed(*options, *TINY["styles-classify"]))
    whole = run_recipe(recipe, config, tmp_path / "whole")

    class Stop(Exception):
        pass

    for stop_after in (1, 2, 3):  # in the first stage, between the two, in the second

        def stopping(event: dict[str, Any], left: list[int] = [stop_after]) -> None:  # noqa: B006
            left[0] -= event["event"] == "epoch"
            if left[0] == 0:
                raise Stop

        out = tmp_path / f"stopped-{stop_after}"
        with pytest.raises(Stop):
            run_recipe(recipe, config, out, observe=stopping)
        resumed = run_recipe(recipe, config, out, resume=True)
        for results in (whole, resumed):
            for measured in ("cost", "sizes"):  # times differ from run to run
                results["arms"]["kdml-v4"].pop(measured, None)
        assert resumed == whole


# Compression -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "model"),
    [
        ("styles-classify", "resnet20"),
        ("styles-classify", "wrn16_2"),
        ("styles-segment", "unet"),
        ("styles-segment", "fpn"),
        ("styles-segment", "deeplab"),
    ],
)
@pytest.mark.parametrize(("of", "width"), [("together", 32), ("each", 64)])
def test_students_keep_to_their_budget(system: str, model: str, of: str, width: int) -> None:
    peers = [f"peers.{name}={{model: {model}}}" for name in ("s1", "s2")]
    made = trainer(
        system,
        f"peers.teacher={{model: {model}, arguments: {{width: {width}}}}}",
        *peers,
        f"compression={{ratio: 0.15, of: {of}}}",
    )
    teacher, s1, s2 = (parameter_count(made.cohort.peers[n]) for n in ("teacher", "s1", "s2"))
    kept = (s1 + s2) / 2 if of == "each" else s1 + s2
    assert kept / teacher == pytest.approx(0.85, abs=0.02)


def test_a_width_that_is_a_factor_is_set_in_thousandths() -> None:
    peers = [f"peers.{name}={{model: cnn}}" for name in ("teacher", "s1", "s2")]
    made = trainer("styles-classify", *peers)
    teacher, *students = (parameter_count(peer) for peer in made.cohort.peers.values())
    assert sum(students) / teacher == pytest.approx(0.85, abs=0.02)
    assert made.peers["s1"].arguments["width"] == pytest.approx(0.652, abs=0.02)


def test_a_width_of_ones_own_is_kept() -> None:
    made = trainer("styles-classify", "peers.s2.arguments.width=5")
    assert made.peers["s2"].arguments["width"] == 5
    assert made.peers["s1"].arguments["width"] == 5  # 0.652 · 8


def test_compression_is_an_option() -> None:
    small, free = trainer("styles-classify"), trainer("styles-classify", "compression=null")
    assert parameter_count(free.cohort.peers["s1"]) > parameter_count(small.cohort.peers["s1"])


def test_two_families_can_teach_each_other() -> None:
    made = trainer("styles-segment", "peers.s2={model: fpn, arguments: {blocks: 1}}", "epochs=1")
    made.run()
    entries = made.cohort.transfer.entries
    assert [list(entry.adapters) for entry in entries[1:3]] == [["s2:teacher"], ["s1:s2"]]


REFUSED = {
    "a student without a width": (
        "peers.s1=mlp", r"compression: peers.s1.model: 'mlp' has no width to set",
    ),
    "a share below one channel": ("compression=0.999", "at width 1"),
    "no such teacher": ("teacher=tutor", "teacher: 'tutor' is no peer; allowed: teacher, s1, s2"),
    "no such peer": ("without=[s3]", "without: 's3' is no peer"),
    "nobody left": ("without=[teacher, s1, s2]", "at least one must take part"),
    "a ratio above one": ("compression=1.5", "compression.ratio"),
    "an unknown layer": ("transfer.features.layer=stage9", "unknown layer.*'stage9'.*'stage"),
    "a metric of masks": ("evaluation.metric=iou", "'iou' is not measured by recipe 'styles-cla"),
}  # fmt: skip


@pytest.mark.parametrize("override, message", REFUSED.values(), ids=REFUSED)
def test_wrong_configurations_say_what_is_wrong(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainer("styles-classify", override)


def test_a_loss_that_masks_do_not_have_is_refused_before_training() -> None:
    with pytest.raises(InputError, match=r"objective\.loss: 'bce'.*Did you mean 'ce'"):
        trainer("styles-segment", "objective.loss=bce")


def test_the_order_of_students_does_not_matter() -> None:
    edges = (
        "[{from: teacher, to: s2, knowledge: features}, {from: s1, to: s2}, "
        "{from: s2, to: s1, knowledge: features}, {from: teacher, to: s1}]"
    )
    one, other = trainer("styles-classify"), trainer("styles-classify", f"transfer.edges={edges}")
    one.run(), other.run()
    for a, b in zip(
        one.cohort.peers["s1"].parameters(), other.cohort.peers["s1"].parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
