"""Arms × seeds on disk."""

import gc
import json
import os
import threading
import weakref
from pathlib import Path

import pytest

from peerlearn.compare import cells as cells_module
from peerlearn.compare import report
from peerlearn.compare.cells import equal_arms, plan_cells
from peerlearn.compare.folders import read_experiments
from peerlearn.compare.grid import run_grid
from peerlearn.compare.opening import open_grid
from peerlearn.errors import InputError
from peerlearn.locks import held
from peerlearn.report.statistics import contrasts
from peerlearn.row_scores import read_row_scores
from peerlearn.serving import evaluate_run, open_run
from peerlearn.systems.overrides import apply_overrides, parse_assignments
from peerlearn.systems.recipe import Recipe
from peerlearn.systems.registry import find_recipe

TINY = parse_assignments(
    [
        "data.train_size=60",
        "epochs=3",
        "batch_size=32",
        "precision=fp32",
        "peers.a=mlp",
        "peers.b=mlp",
    ]
)
ARMS = ["mutual", "independent"]


def compare(out: Path, seeds: list[int], resume: bool = False, observe=lambda e: None, **more):
    recipe, given = find_recipe("dml")
    changes = TINY | more
    cells = plan_cells(recipe, given, changes, ARMS, seeds)
    return run_grid(recipe, apply_overrides(given, changes), cells, out, resume, observe)


def trained(events: list[dict]) -> list[tuple[str, int]]:
    return [(e["arm"], e["seed"]) for e in events if e["event"] == "epoch" and e["epoch"] == 3]


def test_results_pair_arms_by_seed(tmp_path: Path) -> None:
    results = compare(tmp_path / "out", [0, 1, 2])
    assert results["seeds"] == [0, 1, 2]
    a, b = (results["arms"][arm]["mean_peer"]["nll"]["values"] for arm in ARMS)
    (entry,) = [
        e for e in results["differences"] if (e["who"], e["metric"]) == ("mean_peer", "nll")
    ]
    assert (entry["arm"], entry["against"], entry["n"]) == ("mutual", "independent", 3)
    assert entry["mean"] == pytest.approx(sum(x - y for x, y in zip(a, b, strict=True)) / 3)
    assert entry["ci95"][0] < entry["mean"] < entry["ci95"][1]
    assert (entry["covers"], entry["rows_shared"]) == ("seeds and test rows", True)
    cells = [tmp_path / f"out/cells/{arm}/seed-{seed}" for arm in ARMS for seed in range(3)]
    (together,) = read_experiments(cells)
    beside = contrasts(results["differences"], find_recipe("dml")[0].metrics)
    assert sorted(together.differences, key=str) == sorted(beside, key=str)
    for arm in ARMS:
        for seed in range(3):
            run = json.loads((tmp_path / f"out/cells/{arm}/seed-{seed}/results.json").read_text())
            assert run["arms"][arm]["mean_peer"]["nll"]["values"] == [
                results["arms"][arm]["mean_peer"]["nll"]["values"][seed]
            ]
    assert json.loads((tmp_path / "out/results.json").read_text()) == results


def test_there_is_room_for_one_arm_at_a_time(tmp_path: Path, monkeypatch) -> None:
    from peerlearn.cli.validate import checked_arms

    built: list[weakref.ref] = []
    build = Recipe.build

    def counted(self, config, kept=None):
        gc.collect()
        assert not [each for each in built if each() is not None]
        trainer = build(self, config, kept)
        built.append(weakref.ref(trainer.cohort))
        return trainer

    monkeypatch.setattr(Recipe, "build", counted)
    compare(tmp_path, [0])
    recipe, given = find_recipe("dml")
    checked_arms(recipe, given, TINY)
    assert len(built) == len(ARMS) + len(given["arms"])


def test_finished_cells_are_kept_and_seeds_can_be_added(tmp_path: Path) -> None:
    first: list[dict] = []
    before = compare(tmp_path, [0], observe=first.append)
    second: list[dict] = []
    after = compare(tmp_path, [0, 1], resume=True, observe=second.append)
    assert trained(first) == [("mutual", 0), ("independent", 0)]
    assert trained(second) == [("mutual", 1), ("independent", 1)]
    for arm in ARMS:
        old, new = (r["arms"][arm]["mean_peer"]["nll"]["values"] for r in (before, after))
        assert new[:1] == old


def test_finished_cells_are_not_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = compare(tmp_path, [0])
    recipe, given = find_recipe("dml")
    built, build = [], Recipe.build

    def counted(self, config, kept=None):
        built.append(config.arm)
        return build(self, config, kept)

    monkeypatch.setattr(Recipe, "build", counted)

    cells = plan_cells(recipe, given, TINY, ARMS, [0])
    again = run_grid(recipe, apply_overrides(given, TINY), cells, tmp_path, resume=True)
    assert again == before
    assert not built, "what is finished is neither read nor built"


def test_two_processes_share_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A held cell is left to its holder; both come back with every result."""
    run = cells_module.run_recipe
    entered, go_on = threading.Event(), threading.Event()

    def slow(recipe, config, out, **more):
        if (config.arm, config.seed) == ("mutual", 0) and not entered.is_set():
            entered.set()
            assert go_on.wait(60)
        return run(recipe, config, out, **more)

    monkeypatch.setattr(cells_module, "run_recipe", slow)
    seen: dict[str, list[dict]] = {"one": [], "two": []}
    results = {}

    def work(name: str) -> None:
        def observe(event: dict) -> None:
            seen[name].append(event)
            if name == "two" and event["event"] == "cell done":
                go_on.set()

        results[name] = compare(tmp_path, [0, 1], resume=True, observe=observe)

    one = threading.Thread(target=work, args=("one",))
    one.start()
    assert entered.wait(60)
    work("two")
    one.join(60)
    assert ("mutual", 0) in trained(seen["one"])
    assert ("mutual", 0) not in trained(seen["two"])
    assert sorted(trained(seen["one"]) + trained(seen["two"])) == sorted(
        (arm, seed) for arm in ARMS for seed in (0, 1)
    )
    assert results["one"] == results["two"]


def test_a_comparison_is_not_overwritten_nor_continued_with_another_configuration(
    tmp_path: Path,
) -> None:
    compare(tmp_path, [0])
    with pytest.raises(InputError, match="already holds a comparison"):
        compare(tmp_path, [0])
    with pytest.raises(InputError, match=r"batch_size: was 32, now 16"):
        compare(tmp_path, [0], resume=True, batch_size=16)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        compare(other, [0])


def test_an_arm_can_be_added_and_none_changed(tmp_path: Path) -> None:
    before = compare(tmp_path, [0])
    events: list[dict] = []
    recipe, given = find_recipe("dml")
    for change, label in (({"lr": 0.01}, "slow"), ({"lr": 0.02}, "slow")):
        changes = TINY | {f"arms.{label}": change}
        cells = plan_cells(recipe, given, changes, [*ARMS, label], [0])
        if change["lr"] == 0.02:
            with pytest.raises(InputError, match=r"lr: was 0\.01, now 0\.02"):
                run_grid(recipe, apply_overrides(given, changes), cells, tmp_path, True)
            continue
        after = run_grid(
            recipe, apply_overrides(given, changes), cells, tmp_path, True, events.append
        )
        assert trained(events) == [("slow", 0)]
        assert {arm: after["arms"][arm] for arm in ARMS} == before["arms"]


def test_an_arm_that_cannot_be_built_stops_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"peers\.b"):
        compare(tmp_path / "out", [0], **{"arms.independent": {"peers.b.model": "resnet9"}})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arms", "seeds", "message"),
    [
        (["mutal"], [0], "--arms: unknown arm 'mutal'. Did you mean 'mutual'"),
        (None, [1, 1], "different seeds"),
        (None, [], "different seeds"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(arms, seeds, message) -> None:
    recipe, given = find_recipe("dml")
    with pytest.raises(InputError, match=message):
        plan_cells(recipe, given, {}, arms, seeds)


def test_every_seed_may_have_a_split_of_its_own() -> None:
    recipe, given = find_recipe("gml-graph")
    cells = plan_cells(recipe, given, {"data.fold_index": "seed"}, ["full", "independent"], [0, 3])
    folds = [(cell.arm, cell.seed, cell.config.data.fold_index) for cell in cells]
    assert set(folds) == {(arm, n, n) for arm in ("full", "independent") for n in (0, 3)}


def equal(name, *overrides):
    from peerlearn.systems.overrides import parse_assignments
    from peerlearn.systems.registry import find_recipe

    recipe, given = find_recipe(name)
    changes = parse_assignments(list(overrides))
    return equal_arms(recipe, given, changes), [
        cell.arm for cell in plan_cells(recipe, given, changes, None, [0])
    ]


def test_an_arm_that_trains_as_another_is_left_out_by_default():
    left_out, planned = equal("dml")
    assert left_out == {"ensemble-target": "mutual"}  # of one teacher, the mean is the teacher
    assert planned == ["mutual", "independent", "sequential", "soft"]
    left_out, planned = equal("dml", "peers.c.model=mlp")
    assert left_out == {}
    assert "ensemble-target" in planned
    left_out, _ = equal(
        "dml",
        "transfer.edges=[{from: self, to: [a, b], teacher_temperature: 0.5}, {from: a, to: b}]",
    )
    assert "ensemble-target" not in left_out  # a peer may have two teachers then


def test_an_arm_of_equal_overrides_is_left_out_by_default():
    left_out, planned = equal("dml", "arms={one: {}, two: {lr: 0.05}, three: {lr: 0.1}}")
    assert left_out == {"two": "one"}
    assert planned == ["one", "three"]


def test_cells_that_were_made_by_another_commit_are_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (alike,) = compare(out, [0])["made_by"]
    assert alike["processor"] and "cells" not in alike
    path = out / "cells/mutual/seed-0/results.json"
    run = json.loads(path.read_text())
    assert run["made_by"] == [alike]
    run["made_by"][0]["commit"] = "0123456789ab"
    path.write_text(json.dumps(run))
    old = out / "cells/independent/seed-0/results.json"
    text = json.loads(old.read_text())
    del text["made_by"]
    old.write_text(json.dumps(text))
    makers = compare(out, [0, 1], resume=True)["made_by"]
    assert [(maker.get("commit"), maker["cells"]) for maker in makers] == [
        ("0123456789ab", {"mutual": [0]}),
        (None, {"independent": [0]}),
        (alike["commit"], {"mutual": [1], "independent": [1]}),
    ]
    (experiment,) = read_experiments([out])
    said = report._made_by(experiment)
    assert said.startswith("Not all cells were made alike: ") and "0123456789ab" in said
    runs = read_experiments([out / f"cells/mutual/seed-{seed}" for seed in (0, 1)])
    assert [maker["cells"] for maker in runs[0].made_by] == [{"mutual": [0]}, {"mutual": [1]}]


def test_rows_are_those_of_the_results_beside_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare(out, [0])
    rows = out / "cells/mutual/seed-0/rows.npz"
    before = read_row_scores(rows)["a"]["nll"]
    compare(out, [0], resume=True)
    assert (read_row_scores(rows)["a"]["nll"] == before).all()
    results = compare(out, [0], resume=True, epochs=4)
    after = read_row_scores(rows)["a"]["nll"]
    assert not (after == before).all()
    told = results["arms"]["mutual"]["peers"]["a"]["nll"]["mean"]
    assert after.mean(dtype=float) == pytest.approx(told, abs=1e-6)


def test_a_run_without_rows_is_read_as_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = compare(out, [0])
    for path in out.rglob("rows.npz"):
        path.unlink()
    without = compare(out, [0], resume=True)
    assert without["arms"] == results["arms"]
    assert {entry["rows"] for entry in without["differences"]} == {None}
    of_rows = [entry for entry in results["differences"] if entry["metric"] != "aurc"]
    assert None not in {entry["rows"] for entry in of_rows}
    assert [e["mean"] for e in without["differences"]] == [
        e["mean"] for e in results["differences"]
    ]
    assert evaluate_run(open_run(out / "cells/mutual/seed-0"))["arms"]["mutual"]["peers"]


def test_a_second_comparison_is_told_who_works_there(tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "mutual" / "seed-0"
    (tmp_path / "config.yaml").write_text("recipe: dml\n")
    with held(cell), pytest.raises(InputError) as told:
        open_grid(tmp_path, {}, False, [], {})
    assert f"process {os.getpid()} on host" in str(told.value)
    assert "works at a comparison there; the same command with --resume helps it" in str(told.value)
    with pytest.raises(InputError, match="already holds a comparison; continue it with --resume"):
        open_grid(tmp_path, {}, False, [], {})


def test_cells_of_a_comparison_read_their_data_once(tmp_path: Path, monkeypatch) -> None:
    from peerlearn.tasks.classification.task import ClassificationTask

    read, reads = ClassificationTask.read.__func__, []

    def counted(cls, config):
        reads.append(config.arm)
        return read(cls, config)

    monkeypatch.setattr(ClassificationTask, "read", classmethod(counted))
    compare(tmp_path, [0, 1])
    assert len(reads) == 1
    compare(tmp_path, [0, 1], resume=True)
    assert len(reads) == 1, "nothing is left to train"
