"""The invariants of the design that the engine must keep; 1 is in test_cohort.py, 6
in test_options.py, 8 in test_readme.py."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from many_processes import together
from safetensors.torch import load_file
from tiny import tiny_trainer, weights

from peerlearn.engine.files import load_state
from peerlearn.engine.result import flatness_curves
from peerlearn.systems.registry import find_recipe

EVERYTHING = [
    "epochs=3",
    "ema=0.9",
    "optimiser=adamw",
    "lr=0.01",
    "transfer.weight_schedule={kind: sigmoid, over: 0.8}",
    "augment.rotation=10",
    "evaluation.metric=nll",
]

OPEN_EDGES = ["transfer.weight_schedule=constant"]
HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.mark.parametrize("peers", [2, 3])
def test_invariant_2_exactly_k_training_forwards_per_simultaneous_step(peers: int) -> None:
    trainer = tiny_trainer(*(["peers.c=cnn"] if peers == 3 else []), "epochs=1")
    calls: Counter[str] = Counter()
    for name, peer in trainer.cohort.peers.items():
        peer.register_forward_hook(lambda m, i, o, name=name: calls.update([name] * m.training))
    result = trainer.run()
    steps = len(trainer.stages[0].loader)
    assert calls == dict.fromkeys(trainer.cohort.names, steps)
    assert result.block["cost"]["forwards_per_step"] == peers


def test_invariant_2_sequential_adds_k_minus_1_forwards_without_statistics() -> None:
    result = tiny_trainer("transfer.update=sequential", "epochs=1").run()
    assert result.block["cost"]["forwards_per_step"] == 3
    alone, together = (
        tiny_trainer("transfer=none", "epochs=1"),
        tiny_trainer("transfer.update=sequential", "epochs=1"),
    )
    alone.run(), together.run()
    counts = [
        [int(b) for n, b in t.cohort.named_buffers() if n.endswith("num_batches_tracked")]
        for t in (alone, together)
    ]
    assert counts[0] == counts[1], "a re-forward counted as a batch of its own"


def test_invariant_3_construction_evaluation_and_metrics_leave_no_trace() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trainer = tiny_trainer()
    trainer.run()
    assert torch.equal(torch.get_rng_state(), before), "the caller's generator moved"

    cohort = trainer.cohort
    cohort.peers["a"].train()
    cohort.peers["b"].eval()
    kept, modes = weights(trainer), [m.training for m in cohort.modules()]
    trainer.task.evaluate(trainer.forward, "validation")
    flatness_curves(cohort, trainer.task.probe(), trainer.precision, seed=0)
    assert weights(trainer) == kept
    assert [m.training for m in cohort.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)


class _StopAt:
    """Interrupts the run, as Ctrl-C does, at one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: dict) -> None:
        if event["event"] == "step":
            if self.step == 0:
                os.kill(os.getpid(), signal.SIGINT)
            self.step -= 1


@pytest.mark.parametrize("step", [0, 2, 3, 7], ids=lambda s: f"after-step-{s + 1}")
@pytest.mark.parametrize("mode", ["simultaneous", "sequential", "accumulate"])
def test_invariant_4_resumed_run_equals_uninterrupted(tmp_path: Path, step: int, mode: str) -> None:
    extra = {"accumulate": ["accumulate=2"]}.get(mode, [f"transfer.update={mode}"])
    options = [*EVERYTHING, *extra]
    whole = tiny_trainer(*options, folder=tmp_path / "whole")
    expected = whole.run()

    if mode == "accumulate":
        step //= 2
    cut = tiny_trainer(*options, folder=tmp_path / "cut")
    cut.observe = _StopAt(step)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = tiny_trainer(*options, folder=tmp_path / "cut")
    result = again.run(resume=True)

    assert weights(again) == weights(whole)
    assert _timeless(result.history) == _timeless(expected.history)
    assert result.selected == expected.selected
    assert _comparable(result.block) == _comparable(expected.block)
    lines = [
        (tmp_path / which / "metrics.jsonl").read_text().count("\n") for which in ("whole", "cut")
    ]
    assert lines == [3, 3]
    for which in ("a", "b"):
        best = [
            load_file(tmp_path / f / "checkpoints/best" / f"{which}.safetensors")
            for f in ("whole", "cut")
        ]
        assert _plain(best[0]) == _plain(best[1])


def test_invariant_4_survives_kill_9(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from tiny import tiny_trainer\n"
        "t = tiny_trainer('epochs=3', folder=Path(sys.argv[1]))\n"
        "def stop(e):\n"
        "    if e['event'] == 'step' and e['done'] == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.observe = stop; t.run()\n"
    )
    died = subprocess.run([sys.executable, "-c", script, tmp_path / "cut", HELPERS], check=False)
    assert died.returncode == -signal.SIGKILL
    whole = tiny_trainer("epochs=3", folder=tmp_path / "whole")
    whole.run()
    again = tiny_trainer("epochs=3", folder=tmp_path / "cut")
    again.run(resume=True)
    assert weights(again) == weights(whole)


@pytest.mark.parametrize("mode", ["simultaneous", "sequential", "proven"])
def test_invariant_5_one_process_equals_two(tmp_path: Path, mode: str) -> None:
    options = [
        "peers.c={model: mlp, arguments: {hidden: [8]}}",
        f"transfer.update={'sequential' if mode == 'sequential' else 'simultaneous'}",
        "threads=1",
    ]
    if mode == "proven":
        options += ["transfer.proven={ends: teacher, least: 0.01}", *OPEN_EDGES]
    alone = tiny_trainer(*options, folder=tmp_path / "one")
    expected = alone.run()
    script = "t.run()\nassert len(t.transport.owned) < 3, 'nothing was spread'\n"
    assert _in_two_processes(script, tmp_path / "two", *options) == [0, 0]

    states = [
        load_state(tmp_path / which / "checkpoints/last/state.safetensors")
        for which in ("one", "two")
    ]
    for state in states:
        state["progress"].pop("seconds"), state["progress"].pop("forwards")
        for record in state["progress"]["history"]:
            record.pop("seconds")
    assert _plain(states[0]) == _plain(states[1])
    assert expected.block["cost"]["forwards_per_step"] == (5 if mode == "sequential" else 3)
    told = expected.history[0].get("open", {})
    assert any(1.0 in teachers.values() for teachers in told.values()) is (mode == "proven")


def test_processes_save_together_whatever_their_clocks_say(tmp_path: Path) -> None:
    script = (
        "from peerlearn.engine.checkpoint import Checkpoints\n"
        "saved, save = [], Checkpoints.save\n"
        "Checkpoints.save = lambda *all_: (saved.append(t.progress.steps), save(*all_))\n"
        "Checkpoints.due = lambda self: dist.get_rank() == t.progress.steps % 2\n"
        "Checkpoints.worth_saving = lambda self: dist.get_rank() == 1\n"
        "t.run()\n"
        "assert sorted({*saved}) == list(range(1, t.progress.steps + 1)), saved\n"
    )
    assert _in_two_processes(script, tmp_path / "two", "threads=1") == [0, 0]


def test_processes_stop_together_when_one_is_interrupted(tmp_path: Path) -> None:
    script = (
        "def stop(event):\n"
        "    if event['event'] == 'step' and event['done'] == 3 and dist.get_rank() == 1:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "t.observe = stop\n"
        "try:\n"
        "    t.run()\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    assert _in_two_processes(script, tmp_path / "two", "threads=1") == [7, 7]
    again = tiny_trainer("threads=1", folder=tmp_path / "two")
    whole = tiny_trainer("threads=1", folder=tmp_path / "whole")
    again.run(resume=True), whole.run()
    assert weights(again) == weights(whole)


def test_invariant_7_equal_seeds_give_equal_weights_and_batches_in_every_arm() -> None:
    _, given = find_recipe("dml")
    seen = []
    for arm in given["arms"]:
        trainer = tiny_trainer(f"arm={arm}", "peers.b.view=1", "epochs=2")
        start = weights(trainer)
        batches = [
            (batch.index.tolist(), [view.tolist() for view in batch.views])
            for epoch in range(2)
            for batch in trainer.stages[0].loader.epoch(epoch)
        ]
        seen.append((start, batches))
    assert all(other == seen[0] for other in seen[1:])
    other_seed = tiny_trainer("seed=1")
    assert weights(other_seed) != seen[0][0]


def test_a_third_peer_changes_nothing_for_the_others_when_nobody_teaches() -> None:
    """Randomness is keyed by name, so a peer's training does not depend on who else is there."""
    two, three = tiny_trainer("transfer=none"), tiny_trainer("transfer=none", "peers.c=mlp")
    two.run(), three.run()
    alone, beside = weights(two), weights(three)
    assert alone == {name: value for name, value in beside.items() if name in alone}


def _in_two_processes(script: str, folder: Path, *options: str) -> list[int]:
    """Exit statuses of two processes that run `script` on one spread trainer, `t`."""
    return together(f"t = tiny_trainer(*options, folder=folder)\n{script}", folder, *options)


def _timeless(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def _comparable(block: dict) -> dict:
    return {key: value for key, value in block.items() if key not in ("cost", "sizes")}


def _plain(state: object) -> object:
    if isinstance(state, torch.Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_plain(value) for value in state]
    return state
