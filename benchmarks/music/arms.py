"""Arms of the two recipe files, with settings that are theirs alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peerlearn.engine.trainer import Trainer
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.registry import find_recipe


def trainer_of(file: Path, arm: str, changes: Mapping[str, Any]) -> Trainer:
    """An arm, ready to train, with dotted overrides set on top of it.

    What is typed beside an arm is set below it: an arm with peers of its own would replace it.
    """
    recipe, given = find_recipe(str(file))
    alone = {**apply_overrides(given, given["arms"][arm] or {}), "arms": {}}
    return recipe.build(recipe.resolve(alone, changes))
