"""Cells on a Ray cluster give what they give one after the other, whatever node dies."""

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray_stand_in import Killed, NodeDiedError, RayError, StandIn, stand_in

from benchmarks.faults.kills import outcome
from peerlearn.compare import on_ray, ray_cluster
from peerlearn.compare.cells import plan_cells
from peerlearn.compare.grid import run_grid
from peerlearn.compare.ray_cluster import Cluster, connected
from peerlearn.engine.interruption import Interrupted
from peerlearn.errors import InputError, RunError
from peerlearn.systems.overrides import apply_overrides, parse_assignments
from peerlearn.systems.registry import find_recipe

TINY = parse_assignments(
    [
        "data.train_size=60",
        "epochs=3",
        "batch_size=32",
        "threads=1",
        "peers.a={model: mlp, arguments: {hidden: [8]}}",
        "peers.b={model: mlp, arguments: {hidden: [8]}}",
    ]
)
ARMS = ["mutual", "independent"]
SLOW = """
import time
from pathlib import Path
from torch import nn

class Slow(nn.Flatten):
    def forward(self, x):
        if Path("slow").exists():
            time.sleep(0.1)
        return super().forward(x)

def net(shape, classes):
    return nn.Sequential(Slow(), nn.Linear(64, classes))
"""


def compare(out: Path, cluster: Cluster | None, observe=lambda e: None, **more: Any) -> Any:
    recipe, given = find_recipe("dml")
    changes, resume = TINY | more, out.exists()
    cells = plan_cells(recipe, given, changes, ARMS, [0, 1])
    given = apply_overrides(given, changes)
    return run_grid(recipe, given, cells, out, resume, observe, cluster=cluster)


# Without Ray --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("ray", ""),
        ("ray:head.example:6379", "head.example:6379"),
    ],
)
def test_addresses_that_can_be_typed(typed: str, address: str) -> None:
    assert Cluster.typed(typed) == Cluster(address)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"cluster": "rya"}, "--cluster: unknown kind of cluster 'rya'. Did you mean 'ray'?"),
        ({"cluster": "ray:"}, "--cluster ray:: '' is no address; expected ray or ray:HOST:PORT"),
        ({"cluster": "ray:head"}, "'head' is no address"),
        ({"cluster": "ray:http://head:8265"}, "'http://head:8265' is no address"),
        ({"cluster": "ray:ray://head:10001"}, "'ray://head:10001' is no address"),
        ({"cluster": "ray", "cpus": 0}, "--cpus: 0; allowed: 1 or more"),
        ({"cluster": "ray", "gpus": 1.5}, "--gpus: 1.5; allowed: 0 to 1, or a whole number"),
        ({"cluster": "ray", "gpus": -1}, "--gpus: -1; allowed"),
        ({"cluster": "ray", "gpus": float("nan")}, "--gpus: nan; allowed"),
    ],
)
def test_what_cannot_be_asked_for(typed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        Cluster.typed(**typed)
    assert said in str(error.value)


CPU_NODE, GPU_NODE = {"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("asked", "config", "nodes", "expected"),
    [
        ({}, {}, [CPU_NODE], {"CPU": 1, "GPU": 0}),
        ({}, {"threads": 3}, [CPU_NODE], {"CPU": 3, "GPU": 0}),
        ({"cpus": 2}, {"threads": 3}, [CPU_NODE], {"CPU": 2, "GPU": 0}),
        ({}, {}, [CPU_NODE, GPU_NODE], {"CPU": 1, "GPU": 1}),
        ({}, {"device": "cpu"}, [GPU_NODE], {"CPU": 1, "GPU": 0}),
        ({}, {"device": "cuda"}, [GPU_NODE], {"CPU": 1, "GPU": 1}),
        ({"gpus": 0.5}, {}, [GPU_NODE], {"CPU": 1, "GPU": 0.5}),
        ({"gpus": 0}, {}, [GPU_NODE], {"CPU": 1, "GPU": 0}),
    ],
)
def test_what_a_cell_asks_for(asked: dict, config: dict, nodes: list, expected: dict) -> None:
    typed = SimpleNamespace(**({"threads": None, "device": "auto"} | config))
    assert Cluster(**asked).request(typed, nodes) == expected


def test_more_than_any_node_has_is_refused() -> None:
    config = SimpleNamespace(threads=3, device="cuda")
    with pytest.raises(InputError) as said:
        Cluster().request(config, [CPU_NODE, GPU_NODE])
    assert str(said.value) == (
        "--cluster: a cell asks for 3 CPUs and 1 GPU, and no node has so many; nodes have: "
        "2 CPUs and 1 GPU; 4 CPUs and 0 GPUs. To lower: --cpus (or threads) and --gpus (or device)"
    )


def test_without_ray_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r'needs Ray: pip install "peerlearn\[cluster\]"'):
        compare(tmp_path / "out", Cluster())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray that is there and must not be asked for a connection."""
    monkeypatch.setitem(
        __import__("sys").modules, "ray", SimpleNamespace(is_initialized=lambda: False)
    )


def test_an_address_where_nothing_answers_is_refused(unconnected: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match=rf"ray:127.0.0.1:{port}: nothing answers there \("):
        connected(Cluster(f"127.0.0.1:{port}")).__enter__()


def test_a_server_that_says_nothing_is_not_waited_for(
    unconnected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "REACHED", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, began = server.getsockname()[1], time.monotonic()
        with pytest.raises(InputError, match="nothing answers there"):
            connected(Cluster(f"127.0.0.1:{port}")).__enter__()
        assert time.monotonic() - began < 10


# With a stand-in for Ray --------------------------------------------------------------------------


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """A Ray of two nodes that runs tasks here, and keeps what is on nodes in a folder."""
    (tmp_path / "nodes").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nodes"))
    return stand_in(monkeypatch)


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grid") / "in-turn"
    compare(out, None)
    return out


def die_once(ray: StandIn, number: int, error: Exception, node: bool = False) -> None:
    """Let what a task runs on die when something is told for the n-th time."""
    told: list[str] = []

    def tell(here: str) -> None:
        told.append(here)
        if len(told) == number:
            if node:
                del ray.living[here]
            raise Killed(error)

    ray.on_tell = tell


def test_cells_of_a_node_that_dies_are_trained_on_another(
    tmp_path: Path, ray: StandIn, in_turn: Path
) -> None:
    die_once(ray, 9, NodeDiedError("the node is gone\nand more"), node=True)
    events: list[dict[str, Any]] = []
    compare(tmp_path / "out", Cluster(), events.append)
    assert dict(outcome(tmp_path / "out")) == dict(outcome(in_turn))
    assert len(set(ray.started)) == 2
    (note,) = [event["text"] for event in events if event["event"] == "note"]
    assert note == ("its node (host of node00000000) died; begun again. Ray says: the node is gone")
    done = [(e["arm"], e["seed"]) for e in events if e["event"] == "cell done"]
    assert sorted(done) == sorted((arm, seed) for arm in ARMS for seed in (0, 1))
    assert events[0]["facts"]["mutual"]["device"] == ["1 CPU and 0 GPUs of a node, for each cell"]
    left = {path.name.rpartition("-")[2] for path in (tmp_path / "nodes").iterdir()}
    assert left <= {"node00000000"}, "nodes that live keep nothing"


def test_a_board_that_is_lost_costs_nothing_but_progress(
    tmp_path: Path, ray: StandIn, in_turn: Path
) -> None:
    def tell(here: str) -> None:
        raise RayError("the actor is unavailable")

    ray.on_tell = tell
    events: list[dict[str, Any]] = []
    compare(tmp_path / "out", Cluster(), events.append)
    assert [event["event"] for event in events] == ["compare", *["cell done"] * 4]
    assert dict(outcome(tmp_path / "out")) == dict(outcome(in_turn))


def test_data_are_read_once_and_runs_say_who_began_them(
    tmp_path: Path, ray: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, times = find_recipe("dml")[0].task.read.__func__, []  # type: ignore[attr-defined]

    def counted(cls: Any, config: Any) -> Any:
        times.append(config)
        return read(cls, config)

    monkeypatch.setattr(find_recipe("dml")[0].task, "read", classmethod(counted))
    compare(tmp_path / "out", Cluster())
    assert len(times) == 1
    begun = [json.loads(path.read_text()) for path in tmp_path.glob("out/cells/*/*/env.json")]
    assert {it["folder"] for it in begun} == {str(Path.cwd())} and len(begun) == 4


def test_a_cell_whose_process_dies_too_often_fails_by_name(tmp_path: Path, ray: StandIn) -> None:
    def tell(here: str) -> None:
        raise Killed(RayError("the worker was killed"))

    ray.on_tell = tell
    with pytest.raises(RunError) as said:
        compare(tmp_path / "out", Cluster())
    assert str(said.value) == (
        "arm 'mutual', seed 0: its process died 3 times, last on unknown: the worker was killed"
    )
    assert not list(tmp_path.rglob("out/**/.lock"))


def test_a_cell_that_was_begun_here_goes_on_there(
    tmp_path: Path, ray: StandIn, in_turn: Path
) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted):
        compare(tmp_path / "out", None, stop)
    epochs: list[dict[str, Any]] = []
    compare(tmp_path / "out", Cluster(), lambda e: epochs.append(e) if "of" in e else None)
    assert len([e for e in epochs if e["event"] == "epoch"]) < 3 * 4
    assert dict(outcome(tmp_path / "out")) == dict(outcome(in_turn))


def test_what_another_process_has_finished_is_taken(
    tmp_path: Path, ray: StandIn, in_turn: Path
) -> None:
    shutil.copytree(in_turn, tmp_path / "out")
    (tmp_path / "out" / "results.json").unlink()
    compare(tmp_path / "out", Cluster())
    assert ray.started == []
    assert dict(outcome(tmp_path / "out")) == dict(outcome(in_turn))


def test_a_node_with_another_version_is_refused(
    tmp_path: Path, ray: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerlearn.compare.ray_node.version_of", lambda package: "0.0.1")
    with pytest.raises(InputError, match=r"node host of node00000000 has peerlearn 0.0.1, and"):
        compare(tmp_path / "out", Cluster())


def test_a_cluster_that_has_no_room_any_more_is_not_waited_for(
    tmp_path: Path, ray: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "GRACE", 0.1)
    with pytest.raises(RunError, match="no node has had room for a cell"):
        compare(tmp_path / "out", Cluster(), lambda event: ray.living.clear())


# On two nodes -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray cluster of one node, which tests add others to; each has one CPU."""
    if not os.environ.get("PEERLEARN_NEEDS_RAY"):  # where it must not be missing
        pytest.importorskip("ray", reason="needs Ray: make test-cluster")
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield nodes
    finally:
        nodes.shutdown()


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Networks of this folder's own, which are slow where it has a file `slow`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow_networks.py").write_text(SLOW)
    return {f"peers.{peer}": {"model": "python:slow_networks:net"} for peer in "ab"}


def test_a_node_that_dies_changes_nothing(tmp_path: Path, nodes: Any, slow: dict) -> None:
    serial, out = tmp_path / "serial", tmp_path / "out"
    compare(serial, None, **slow)
    (tmp_path / "slow").touch()
    doomed = nodes.add_node(num_cpus=1)
    began: dict[tuple, str] = {}
    events: list[dict] = []

    def observe(event: dict[str, Any]) -> None:
        events.append(event)
        cell = event.get("arm"), event.get("seed")
        if event["event"] == "node":
            began[cell] = event["node"]
        if event["event"] == "epoch" and began[cell] == doomed.node_id and not dead:
            dead.append(doomed.node_id)
            nodes.remove_node(doomed, allow_graceful=False)

    dead: list[str] = []
    compare(out, Cluster(nodes.address), observe, **slow)
    assert dead, "no cell was trained on the second node"
    # One that was trained there, and maybe one that was to be the next.
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert 1 <= len(notes) <= 2 and all("begun again" in note for note in notes), notes
    assert any("its node" in note for note in notes), notes
    assert dict(outcome(out)) == dict(outcome(serial))
    done = [(e["arm"], e["seed"]) for e in events if e["event"] == "cell done"]
    assert sorted(done) == sorted((arm, seed) for arm in ARMS for seed in (0, 1))
    assert events[0]["facts"]["mutual"]["device"] == ["1 CPU and 0 GPUs of a node, for each cell"]
    for place in Path(tempfile.gettempdir()).glob(f"peerlearn-*-{dead[0][:12]}"):
        shutil.rmtree(place)  # which nobody could do for it
    alive = nodes.head_node.node_id
    assert not list(Path(tempfile.gettempdir()).glob(f"peerlearn-*-{alive[:12]}"))


def test_an_interrupted_comparison_goes_on_where_its_cells_were(
    tmp_path: Path, nodes: Any, slow: dict
) -> None:
    serial, out = tmp_path / "serial", tmp_path / "out"
    compare(serial, None, **slow)

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            raise Interrupted(signal.SIGTERM)

    (tmp_path / "slow").touch()
    with pytest.raises(Interrupted):
        compare(out, Cluster(nodes.address), stop, **slow)
    (saved,) = out.glob("cells/*/*/checkpoints/last/state.safetensors")
    assert not list(out.rglob("results.json")) and not list(out.rglob(".lock"))
    (tmp_path / "slow").unlink()
    epochs: list[tuple] = []

    def count(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            epochs.append((event["arm"], event["seed"], event["epoch"]))

    compare(out, Cluster(nodes.address), count, **slow)
    again = [epoch for arm, seed, epoch in epochs if saved.parts[-5:-3] == (arm, f"seed-{seed}")]
    assert len(again) < 3 and len(epochs) == len(again) + 9, "the first epoch was not lost"
    assert dict(outcome(out)) == dict(outcome(serial))


def test_a_cell_that_fails_says_what_it_says_on_one_machine(tmp_path: Path, nodes: Any) -> None:
    with pytest.raises(RunError, match=r"^arm 'mutual', seed [01]: .*lr"):
        compare(tmp_path / "out", Cluster(nodes.address), lr=1e30, **{"arms.independent.lr": 0.1})


def test_a_cell_that_asks_for_too_much_leaves_nothing_behind(tmp_path: Path, nodes: Any) -> None:
    with pytest.raises(InputError, match="a cell asks for 64 CPUs and 0 GPUs, and no node has so"):
        compare(tmp_path / "out", Cluster(nodes.address, cpus=64))
    assert not (tmp_path / "out").exists()
