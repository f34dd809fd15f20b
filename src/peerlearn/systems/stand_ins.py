"""What stands in for code that is named but not run, so that all else can be checked."""

from collections.abc import Collection
from typing import Any

from peerlearn.systems.recipe import Recipe
from peerlearn.transfer.spec import TransferSpec


def without_kinds(given: Any, foreign: Collection[str]) -> Any:
    """A configuration without edges about kinds of knowledge of these `python:` names."""
    if isinstance(given, dict):
        return {key: without_kinds(inner, foreign) for key, inner in given.items()}
    if isinstance(given, list):
        return [
            without_kinds(inner, foreign)
            for inner in given
            if not (isinstance(inner, dict) and inner.get("knowledge") in foreign)
        ]
    return given


def with_stand_ins(recipe: Recipe, config: Any, foreign: Collection[str]) -> Any:
    """A resolved configuration with a network of the recipe in place of these `python:` ones.

    Edges that read features, which a stand-in may not have, are left out with it.
    """
    strange = [name for name, peer in config.peers.items() if peer.model in foreign]
    if not strange:
        return config
    own = next(iter(recipe.defaults()["peers"].values()))
    spec = type(config.peers[strange[0]]).model_validate(own)
    plain = {"model": spec.model, "arguments": spec.arguments, "weights": None}
    peers = {
        name: peer.model_copy(update=plain) if name in strange else peer
        for name, peer in config.peers.items()
    }
    changed: dict[str, Any] = {"peers": peers}
    if any(entry.knowledge != "predictions" for entry in config.transfer.entries()):
        changed["transfer"] = TransferSpec.model_validate("none")
    return config.model_copy(update=changed)
