"""A network that the machine cannot hold is refused before it is built."""

from inspect import signature

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.models import build_model, registry
from peerlearn.systems.registry import RECIPES
from peerlearn.tasks.recommendation.data.info import RecommendationInfo

MODELS = {
    name: recipe.task.models for recipe in RECIPES.values() for name in recipe.task.models.names
}

#: What recommenders are told of their data.
WORLD = RecommendationInfo(
    name="world",
    classes=5,
    class_names=tuple("vwxyz"),
    rows={"train": 9},
    users=4,
    interactions=9,
    friendships=3,
    modalities={"audio": 6},
    emotion=True,
    user_ids=tuple("abcd"),
    item_names=tuple("vwxyz"),
)


def test_a_network_beyond_the_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerlearn.memory.available_memory", lambda: 10**9)
    with pytest.raises(InputError, match=r"model: needs .* GB of memory, and 1 GB are available"):
        build_model("mlp", (64,), classes=10, arguments={"hidden": [60000, 60000]})


def test_asking_changes_neither_weights_nor_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    asked = build_model("cnn", (1, 8, 8), classes=10).state_dict()
    after = torch.rand(1)
    monkeypatch.setattr("peerlearn.models.registry._weight_bytes", lambda build: 0)
    torch.manual_seed(0)
    plain = build_model("cnn", (1, 8, 8), classes=10).state_dict()
    assert all(torch.equal(asked[name], plain[name]) for name in plain)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize("name", MODELS)
def test_what_a_network_of_any_task_takes_is_known_before_it_is_built(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(registry, "check_memory", lambda needed, field: asked.append(needed))
    taken = signature(MODELS[name].builders[name]).parameters
    sample = (3, 32, 32) if "in_shape" in taken else WORLD if "info" in taken else 12
    if name == "monai_unet":
        pytest.importorskip("monai")
    built = MODELS[name].build(name, sample, 5).state_dict().values()
    assert asked == [sum(tensor.numel() * tensor.element_size() for tensor in built)]
