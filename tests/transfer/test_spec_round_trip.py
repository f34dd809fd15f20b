"""What is written of a transfer graph means the same when it is read again."""

import json

import pytest

from peerlearn.systems.registry import RECIPES
from peerlearn.transfer import TransferSpec
from peerlearn.transfer.knowledge import KINDS
from peerlearn.validation import validated

ARMS = [(name, arm) for name, r in RECIPES.items() for arm in r.defaults()["arms"]]


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_a_complete_dump_of_every_arm_means_the_same(name: str, arm: str) -> None:
    recipe = RECIPES[name]
    made: TransferSpec = recipe.resolve(recipe.defaults(), {"arm": arm}).transfer
    written = json.loads(json.dumps(made.model_dump(mode="json", by_alias=True)))
    again = validated(TransferSpec, written, "transfer")
    assert again.entries() == made.entries()
    assert again.model_dump(mode="json", by_alias=True) == written


@pytest.mark.parametrize("knowledge", KINDS)
def test_a_complete_dump_can_be_changed_around_its_entries(knowledge: str) -> None:
    """As `peerlearn run config.yaml transfer.weight=3` does with the file of a finished run."""
    made = validated(TransferSpec, {"knowledge": knowledge, "edges": [{}, {"to": "a"}]})
    written = made.model_dump(mode="json", by_alias=True)
    changed = validated(TransferSpec, written | {"weight": 3.0})
    assert [entry.weight for entry in changed.entries()] == [3, 3]
    assert [e.model_copy(update={"weight": 1.0}) for e in changed.entries()] == made.entries()
