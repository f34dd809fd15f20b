"""Stages that several runs have in common: a run that takes one over goes on as if it had been its
own."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_stages import EPOCHS, STEPS, Killed, kill_after, on_a_trunk, state, timeless, two_stages

from peerlearn.engine.shared_stages import SharedStages
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.transfer.graph import TransferGraph

FIRST = EPOCHS * STEPS  # steps of the stage that is shared


def sharing(shared: Path | None, folder: Path, *options: str, edges: str = "kl") -> Trainer:
    """A training whose first stage, of `a`, may be another run's; `edges` are of the second."""
    trainer = on_a_trunk(two_stages(*options, folder=folder, trunk=False))
    first, second = trainer.stages
    graph = TransferGraph(f"predictions: {edges}", trainer.cohort.names)
    trainer.stages = [replace(first, shared=True, learners=["a"]), replace(second, transfer=graph)]
    trainer.shared = SharedStages(shared) if shared is not None else None
    trainer.steps_seen = []
    trainer.observe = lambda event: (
        event["event"] == "step" and trainer.steps_seen.append(event["stage"])
    )
    return trainer


def records(folder: Path) -> list[dict[str, Any]]:
    return timeless([json.loads(line) for line in (folder / "metrics.jsonl").open()])


@pytest.mark.parametrize("options", [[], ["ema=0.8"], ["accumulate=2"]], ids=lambda o: "".join(o))
def test_a_run_that_takes_a_stage_over_is_the_run_that_trains_it(
    tmp_path: Path, options: list[str]
) -> None:
    shared = tmp_path / "shared"
    sharing(shared, tmp_path / "first", *options).run()
    own = sharing(None, tmp_path / "own", *options, edges="js")
    taking = sharing(shared, tmp_path / "taking", *options, edges="js")
    expected, result = own.run(), taking.run()
    assert set(taking.steps_seen) == {"together"}, "it trained the stage again"
    assert set(own.steps_seen) == {"alone", "together"}
    assert state(taking) == state(own)
    assert timeless(result.history) == timeless(expected.history)
    assert records(tmp_path / "taking") == records(tmp_path / "own") == timeless(result.history)
    for part in ("peers", "mean_peer", "ensemble", "between_peers", "edges"):
        assert result.block[part] == expected.block[part]
    cost = [block["cost"]["forwards_per_step"] for block in (result.block, expected.block)]
    assert cost[0] == cost[1]


def test_a_stage_of_other_data_is_trained_anew(tmp_path: Path) -> None:
    seen = {}
    for name, data in (("first", "x"), ("same", "x"), ("other", "y")):
        trainer = sharing(tmp_path / "shared", tmp_path / name)
        trainer.shared = SharedStages(tmp_path / "shared", {"train": {"content": data}})
        trainer.run()
        seen[name] = set(trainer.steps_seen)
    assert seen["first"] == seen["other"] == {"alone", "together"}
    assert seen["same"] == {"together"}


def test_a_stage_that_another_process_trains_is_waited_for(tmp_path: Path) -> None:
    one, two = (sharing(tmp_path / "shared", tmp_path / name) for name in ("one", "two"))
    begun = threading.Event()

    def slowly(event: dict) -> None:
        one.steps_seen.append(event["stage"])
        begun.set()
        time.sleep(0.1)

    one.observe = slowly
    thread = threading.Thread(target=one.run)
    thread.start()
    assert begun.wait(60)
    two.run()
    thread.join()
    assert "alone" in one.steps_seen
    assert set(two.steps_seen) == {"together"}, "both trained it"
    assert not list((tmp_path / "shared").glob(".*"))


@pytest.mark.parametrize("ends", [Killed, KeyboardInterrupt])
def test_a_stage_that_was_not_finished_is_left_to_others(tmp_path: Path, ends: type) -> None:
    one = sharing(tmp_path / "shared", tmp_path / "one")

    def end(event: dict) -> None:
        raise ends

    one.observe = end
    with pytest.raises(ends):
        one.run()
    two = sharing(tmp_path / "shared", tmp_path / "two")
    two.run()
    assert set(two.steps_seen) == {"alone", "together"}


def test_the_time_of_a_stage_comes_along(tmp_path: Path) -> None:
    sharing(tmp_path / "shared", tmp_path / "first").run()
    taking = sharing(tmp_path / "shared", tmp_path / "taking")
    result = taking.run()
    inside = sum(record["seconds"] for record in result.history[:EPOCHS])
    assert result.block["cost"]["train_s"] > inside > 0


def test_another_learning_rate_makes_another_stage(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    sharing(shared, tmp_path / "first").run()
    other = sharing(shared, tmp_path / "other", "lr=0.01")
    other.run()
    assert "alone" in other.steps_seen
    assert len(list(shared.iterdir())) == 2


def test_another_option_of_an_edge_makes_another_stage(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    for threshold in (0.5, 0.6):
        trainer = sharing(shared, tmp_path / f"{threshold}")
        edges = {"gate": "confident", "gate_threshold": threshold}
        graph = TransferGraph(edges, trainer.cohort.names)
        trainer.stages[0] = replace(trainer.stages[0], transfer=graph)
        trainer.run()
    assert len(list(shared.iterdir())) == 2


def test_a_stage_of_a_runs_own_is_not_shared(tmp_path: Path) -> None:
    trainer = sharing(tmp_path / "shared", tmp_path / "run")
    trainer.stages = [replace(stage, shared=False) for stage in trainer.stages]
    trainer.run()
    assert not (tmp_path / "shared").exists()


def test_records_of_a_shared_stage_say_nothing_of_what_is_the_runs_own(tmp_path: Path) -> None:
    """Who else is in the cohort, and how often it is validated, differs between runs that share."""
    trainer = sharing(None, tmp_path / "run")
    history = trainer.run().history
    assert ["val" in record for record in history] == [False, False, True, True]


@pytest.mark.parametrize("steps", [1, FIRST, FIRST + 1], ids=lambda s: f"after-step-{s}")
@pytest.mark.parametrize("ready", [False, True], ids=["trains-it", "takes-it-over"])
def test_invariant_4_a_run_that_shares_resumes_exactly(
    tmp_path: Path, steps: int, ready: bool
) -> None:
    """Killed with nothing saved since, so that a stage is shared, or taken over, a second time."""
    whole = sharing(None, tmp_path / "whole")
    whole.run()
    shared = tmp_path / "shared"
    if ready:
        sharing(shared, tmp_path / "first").run()
        steps = max(steps - FIRST, 1)
    cut = sharing(shared, tmp_path / "cut")
    cut.observe = kill_after(steps)
    with pytest.raises(Killed):
        cut.run()
    resumed = sharing(shared, tmp_path / "cut")
    resumed.run(resume=True)
    assert state(resumed) == state(whole)
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


def test_the_last_stage_that_is_there_is_taken(tmp_path: Path) -> None:
    def three(folder: Path, shared: Path | None) -> Trainer:
        trainer = sharing(shared, folder)
        first, second = trainer.stages
        trainer.stages = [first, replace(first, name="more"), second]
        return trainer

    whole = three(tmp_path / "whole", None)
    whole.run()
    three(tmp_path / "first", tmp_path / "shared").run()
    taking = three(tmp_path / "taking", tmp_path / "shared")
    taking.run()
    assert set(taking.steps_seen) == {"together"}
    assert state(taking) == state(whole)
    *_, latest = sorted((tmp_path / "shared").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    latest.unlink()
    half = three(tmp_path / "half", tmp_path / "shared")
    half.run()
    assert set(half.steps_seen) == {"more", "together"}
    assert state(half) == state(whole)
    assert records(tmp_path / "half") == records(tmp_path / "whole")


def test_a_damaged_stage_is_named(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    sharing(shared, tmp_path / "first").run()
    (file,) = shared.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"shared/\w+\.safetensors: not a whole"):
        sharing(shared, tmp_path / "second").run()
