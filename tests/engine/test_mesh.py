"""Invariant 5: one process equals N, whatever edges teach and however peers and batches spread."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from many_processes import together
from tiny import StopAfter, tiny_trainer
from torch import nn

from peerlearn.engine.checks import check_transport
from peerlearn.engine.files import load_state
from peerlearn.engine.mesh import mesh_shape
from peerlearn.engine.parts import own_part, running_statistics
from peerlearn.engine.transports import LocalTransport
from peerlearn.errors import InputError

THIRD = "peers.c={model: mlp, arguments: {hidden: [8]}}"
CONSTANT = "transfer.weight_schedule=constant"
BAYESIAN = [
    f"peers.{name}={{model: mlp, arguments: {{hidden: [8]}}, bayesian: {{}}}}" for name in "ab"
]
FUSED = "{knowledge: feature_distributions, weight: 0.01, supervised_fusion: true, width: 8}"
#: What travels, by the kind of knowledge and by who learns.
TRAVELLERS = {
    "hints": ["transfer={knowledge: features, layer: pooled}", CONSTANT, "epochs=1"],
    "likeness of features": [
        "transfer={knowledge: features, layer: pooled, feature_loss: similarity}",
        "transfer.update=sequential",
        THIRD,
    ],
    "relations": ["transfer={knowledge: relations, layer: pooled, memory: 70}", CONSTANT],
    "relations in turn": [
        "transfer={knowledge: relations, layer: pooled, memory: 70, update: sequential}"
    ],
    "posteriors": [
        *BAYESIAN,
        f"transfer.edges=[{{}}, {{knowledge: posteriors, weight: 0.01}}, {FUSED}]",
        CONSTANT,
    ],
    "weighting": ["transfer.weighting=sample", CONSTANT, THIRD],
    "learned temperatures": ["transfer.temperature=learned", CONSTANT],
    "doubts": ["transfer={knowledge: doubted_labels}", CONSTANT],
    "other classes": ["transfer={knowledge: other_classes, weight: 0.1}", CONSTANT],
    "averages": ["transfer.teacher_ema=0.9", CONSTANT, THIRD],
    "averages in turn": ["transfer={teacher_ema: 0.9, update: sequential}", CONSTANT],
    "a frozen teacher": ["peers.b.frozen=true", CONSTANT],
    "frozen teachers": [
        "peers.b.frozen=true",
        THIRD,
        "peers.c.frozen=true",
        "transfer.update=sequential",
    ],
    "averaged weights": ["ema=0.9", "clip_norm=1"],
    "nobody": ["transfer=none"],
}
#: Of a recipe with a stage in which one peer trains alone, and features that travel in the next.
STAGED = [
    "data.train_size=96",
    "batch_size=32",
    "epochs=2",
    "stages.teacher.epochs=1",
    "peers.teacher.arguments.width=8",
    "precision=fp32",
    "threads=1",
]
RUN_ALL = """
for name, words in json.loads(options[0]).items():
    tiny_trainer(*words, folder=folder / name).run()
"""
RUN_STAGED = """
tiny_trainer(*json.loads(options[1]), folder=folder / "s", recipe="styles-classify", base=()).run()
"""


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves behind but how long it took."""
    state = load_state(folder / "checkpoints/last/state.safetensors")
    state["progress"].pop("seconds")
    for record in state["progress"]["history"]:
        record.pop("seconds")
    return state


def close(one: Any, other: Any) -> bool:
    """Equal but for the rounding of sums in another order."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, torch.Tensor):
        return torch.allclose(one.double(), other.double(), rtol=1e-4, atol=1e-5)
    return one == pytest.approx(other, rel=1e-4) if isinstance(one, float) else one == other


def exact(one: Any, other: Any) -> bool:
    """Equal, bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(exact(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(exact, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of all runs of `TRAVELLERS`, each by two processes."""
    folder = tmp_path_factory.mktemp("two")
    words = json.dumps(TRAVELLERS), json.dumps(STAGED)
    assert together(RUN_ALL + RUN_STAGED, folder, *words) == [0, 0]
    return folder


@pytest.mark.parametrize("what", TRAVELLERS)
def test_invariant_5_one_process_equals_two(what: str, spread: Path, tmp_path: Path) -> None:
    tiny_trainer(*TRAVELLERS[what], folder=tmp_path).run()
    assert exact(outcome(tmp_path), outcome(spread / what))


def test_invariant_5_one_process_equals_two_through_stages(spread: Path, tmp_path: Path) -> None:
    tiny_trainer(*STAGED, folder=tmp_path, recipe="styles-classify", base=()).run()
    assert exact(outcome(tmp_path), outcome(spread / "s"))


#: Over four processes, two of which share the micro-batches of each step.
SHARED_STEPS = {
    "predictions": ["accumulate=2"],
    "more micro-batches": ["accumulate=4", "batch_size=8", "clip_norm=1", "ema=0.9"],
    "hints": ["accumulate=2", "transfer={knowledge: features, layer: pooled}", CONSTANT],
    "posteriors": ["accumulate=2", *TRAVELLERS["posteriors"]],
    "averages": ["accumulate=2", *TRAVELLERS["averages"][:2]],
    "one peer": ["accumulate=4", "batch_size=16", "peers.b=null", "transfer=none"],
}
RESUME = ["accumulate=2", "batch_size=16", "epochs=3"]


def test_invariant_5_one_process_equals_four_and_they_go_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    cut = tiny_trainer(*RESUME, folder=tmp_path / "resumed")
    cut.observe = StopAfter(4)  # inside an epoch: its sums go on too
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resume = "tiny_trainer(*json.loads(options[1]), folder=folder / 'resumed').run(True)"
    words = json.dumps(SHARED_STEPS), json.dumps(RESUME)
    assert together(RUN_ALL + resume, tmp_path, *words, world=4) == [0] * 4
    for name, options in (SHARED_STEPS | {"resumed": RESUME}).items():
        tiny_trainer(*options, folder=tmp_path / "one" / name).run()
        one, four = (outcome(each / name) for each in (tmp_path / "one", tmp_path))
        assert close(one, four), name
        assert one["progress"]["forwards"] == four["progress"]["forwards"] > 0, name


def test_parts_share_every_micro_batch_of_a_step() -> None:
    transport = LocalTransport(["a"])
    for parts, batches in ((1, 3), (2, 4), (2, 3), (4, 2), (3, 0)):
        transport.parts, taken = parts, []
        for transport.part in range(parts):
            taken += own_part(batches, transport)
        assert taken == list(range(batches))


@pytest.mark.parametrize("counts", [(1, 1), (3, 2), (0, 2), (2, 0)])
def test_statistics_of_parts_join_to_those_of_all_batches_in_turn(counts: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randn(6, 3, generator=draw) * n for n in range(1, 1 + sum(counts))]
    whole, *parts = (nn.BatchNorm1d(3, momentum=0.3) for _ in range(3))
    for layer in (whole, *parts):
        layer(torch.full((2, 3), 5.0) + torch.arange(2)[:, None])
    kept = [running_statistics([part])[0].kept() for part in parts]
    first = counts[0]
    shares = (whole, batches), (parts[0], batches[:first]), (parts[1], batches[first:])
    for layer, taken in shares:
        for batch in taken:
            layer(batch)
    seen = [each.seen() for each in kept]
    for each in kept:
        each.join(seen)
    for part in parts:
        assert close(dict(part.state_dict()), dict(whole.state_dict()))
    with pytest.raises(InputError, match="momentum=None cannot be spread"):
        running_statistics([nn.BatchNorm1d(3, momentum=None)])


def test_processes_are_spread_over_peers_first() -> None:
    assert [mesh_shape(world, ["a", "b", "c"]) for world in (1, 2, 3, 6)] == [
        (1, 1), (2, 1), (3, 1), (3, 2)
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"4 processes for 3 peers \(a, b, c\).*multiple of 3"):
        mesh_shape(4, ["a", "b", "c"])


class Spread(LocalTransport):
    """As one of several processes, of which so many share each batch."""

    alone = False

    def __init__(self, parts: int = 1) -> None:
        super().__init__(["a"])
        self.parts = parts


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        (1, ["transfer.detach=false"], r"^transfer: detach: false lets gradients.*run it in one"),
        (
            1,
            ["transfer.edges=[{knowledge: 'python:own_parts:Silence'}]"],
            r"transfer\.edges\.0: knowledge 'python:own_parts:Silence' does not say.*run it in one",
        ),
        (2, [], r"^accumulate: found 1, but 2 processes.*a multiple of 2.*at most 2 processes"),
        (
            2,
            ["accumulate=2", "transfer={knowledge: relations, layer: pooled}"],
            r"^transfer: knowledge 'relations' remembers the rows.*at most 2 processes",
        ),
    ],
)
def test_what_cannot_travel_is_refused_by_name(
    parts: int, options: list[str], message: str
) -> None:
    trainer = tiny_trainer(*options)
    with pytest.raises(InputError, match=message):
        check_transport(trainer.cohort, trainer.plan, Spread(parts), trainer.training)


def test_a_shared_trunk_stays_in_one_process() -> None:
    trainer = tiny_trainer()
    trainer.cohort.trunk = nn.Identity()
    with pytest.raises(InputError, match="peers on a shared trunk cannot be spread over several"):
        check_transport(trainer.cohort, trainer.plan, Spread(), trainer.training)
