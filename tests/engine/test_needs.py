"""The memory that a training needs, beside what torch really takes."""

import time

import numpy as np
import pytest
import torch
from tiny import tiny_config, tiny_trainer
from tiny_graphs import graph_trainer, node_arrays, write
from tiny_masks import TINY_MASKS
from torch import nn

import peerlearn
from peerlearn.engine import needs
from peerlearn.engine.needs import kept_bytes, needed, state_bytes
from peerlearn.engine.optimisers import OptimiserSpec, optimiser_classes
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.systems.registry import find_recipe


def size(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def state_of(optimiser):
    states = optimiser.state.values()
    return size(it for state in states for it in state.values() if isinstance(it, torch.Tensor))


@pytest.mark.parametrize("frozen", [False, True])
def test_of_adam_with_an_average_it_is_what_torch_takes(frozen):
    trainer = tiny_trainer("optimiser=adam", "ema=0.9", f"peers.b.frozen={str(frozen).lower()}")
    told = needed(trainer)
    with trainer.stepping() as step:
        step(*list(trainer.stages[0].loader.epoch(0))[:1])
        updates = trainer.current.updates.values()
        assert len(updates) == 2 - frozen
        networks = trainer.cohort.peers
        weights = size([*networks.parameters(), *networks.buffers()])
        gradients = [it.grad for update in updates for it in update.parameters]
        averages = [it for update in updates for it in update.average.state_dict().values()]
        assert told.device["weights"] == weights
        assert told.device["gradients"] == size(gradients)
        assert told.device["optimiser"] == sum(state_of(update.optimiser) for update in updates)
        assert told.device["averages"] == size(averages)
    trainer.run()
    selected = trainer.selection.weights.values()
    assert told.host["selected weights"] == sum(size(each.values()) for each in selected)


@pytest.mark.parametrize("name", sorted(optimiser_classes()))
def test_what_every_optimiser_keeps_is_told_without_taking_it(name):
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(1, 5))
    spec = OptimiserSpec(name=name)
    told = state_bytes(spec, network.parameters())
    optimiser = spec.build(network.parameters(), 0.1)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    assert told == state_of(optimiser)


def test_what_is_usual_is_not_tried(monkeypatch):
    monkeypatch.setattr("peerlearn.engine.needs._tried", lambda *_: pytest.fail("tried"))
    weight = [torch.zeros(10, 4)]
    for usual in ({"name": "sgd"}, {"name": "sgd", "momentum": 0.9}, {"name": "adamw"}):
        assert state_bytes(OptimiserSpec(**usual, weight_decay=0.1), weight) >= 160


def test_arguments_decide_what_is_kept():
    weight = [torch.zeros(10, 4)]
    assert state_bytes(OptimiserSpec(name="sgd"), weight) == 160
    assert state_bytes(OptimiserSpec(name="sgd", momentum=0), weight) == 0
    assert state_bytes(OptimiserSpec(name="adam"), weight) == 324
    assert state_bytes(OptimiserSpec(name="adam", amsgrad=True), weight) == 484


def test_rows_count_where_they_are_in_memory_and_once():
    x = torch.zeros(8, 4)
    assert kept_bytes({"train": x[:6], "val": x[6:]}) == x.nbytes
    values = np.zeros(10)
    assert kept_bytes([values[:5], values[5:], x]) == 80 + x.nbytes
    assert kept_bytes(None) == kept_bytes(["a", "b"]) == 0
    data = tiny_trainer().task.data
    parts = [data.train, data.val, data.test]
    assert kept_bytes(data) == size(tensor for part in parts for tensor in (part.x, part.y))


def test_rows_that_stay_in_files_take_nothing(tmp_path):
    pytest.importorskip("PIL")
    from PIL import Image

    for part in ("train", "val", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                pixels = np.full((8, 8), number * 9, np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    recipe, _ = find_recipe("dml")
    config = tiny_config(f"data.name={tmp_path}", "data.in_memory=false", "data.train_size=null")
    in_files = needed(recipe.build(config)).host["rows"]
    in_memory = recipe.build(config.model_copy(update={"data": config.data.named("digits")}))
    assert in_files < 1000 < needed(in_memory).host["rows"]


@pytest.mark.parametrize(
    ("changes", "bytes_of_batch"),
    [
        # Of a training row: 64 values, a label, logits of two peers and their gradients.
        (["evaluation.batch_size=1"], 32 * (64 * 4 + 8 + 2 * 2 * 10 * 4)),
        (["evaluation.batch_size=200"], 200 * (64 * 4 + 8 + 2 * 10 * 4)),
        (["evaluation.batch_size=100000"], 360 * (64 * 4 + 8 + 2 * 10 * 4)),  # all there are
    ],
)
def test_batches(changes, bytes_of_batch):
    assert needed(tiny_trainer(*changes)).device["batches"] == bytes_of_batch


def test_batches_of_label_maps_count_pixels():
    trainer = tiny_trainer(recipe="styles-segment", base=TINY_MASKS)
    sizes = trainer.task.batch_sizes()
    _, height, width = trainer.task.info.sample_shape
    assert sizes.outputs == 4 * trainer.task.info.classes * height * width
    assert sizes.targets == 8 * height * width


def test_graphs_count_with_their_features(tmp_path):
    trainer = graph_trainer("gml-node", write(tmp_path / "graph.npz", node_arrays()))
    graph = trainer.task.data.graph
    assert needed(trainer).host["rows"] >= size([graph.x, graph.edge_index])


def test_a_training_beyond_the_machine_is_refused_with_what_to_lower(monkeypatch):
    monkeypatch.setattr(needs, "available_memory", lambda: 10_000)
    with pytest.raises(InputError) as refused:
        tiny_trainer("optimiser=adam")
    said = str(refused.value)
    assert said.startswith("memory: the training needs about ")
    assert "without activations (weights " in said
    assert "this machine has " in said
    assert "To lower: " in said
    assert "batch_size" in said
    monkeypatch.setattr(needs, "available_memory", lambda: None)
    tiny_trainer("optimiser=adam")


def test_what_is_there_already_is_not_asked_for_again(monkeypatch):
    trainer = tiny_trainer("optimiser=adam")
    ((_, parts, taken, _),) = needed(trainer).places
    assert taken == parts["weights"] + parts["rows"]
    further = sum(parts.values()) - taken
    monkeypatch.setattr(needs, "available_memory", lambda: further)
    needed(trainer).check()
    monkeypatch.setattr(needs, "available_memory", lambda: further - 1)
    with pytest.raises(InputError, match="memory: "):
        needed(trainer).check()


def test_an_accelerator_has_a_memory_of_its_own(monkeypatch):
    trainer = tiny_trainer("optimiser=adam")
    trainer.device = torch.device("cuda")
    monkeypatch.setattr(needs, "free_on", lambda device: 1000)
    told = needed(trainer)
    on_it, beside = told.lines
    assert " on cuda, without activations: weights " in on_it
    assert " on this machine, without activations: rows " in beside
    with pytest.raises(InputError, match=r"cuda has 1 kB for it"):
        told.check()
    monkeypatch.setattr(needs, "free_on", lambda device: None)
    told.check()


def test_fit_is_refused_before_anything_is_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(needs, "available_memory", lambda: 1000)
    cohort = peerlearn.Cohort({name: build_model("mlp", (8,), classes=2) for name in "ab"})
    x, y = torch.randn(40, 8), torch.arange(40) % 2
    with pytest.raises(InputError, match="memory: the training needs about"):
        peerlearn.fit(cohort, (x, y), epochs=1, folder=tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_to_count_takes_no_time():
    trainer = tiny_trainer("optimiser=adam", "ema=0.9")
    needed(trainer)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        needed(trainer)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.05
