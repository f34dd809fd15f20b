"""What a case can call beside the command line: parts of it that take a millisecond."""

from collections.abc import Callable, Mapping
from pathlib import Path


def resolve(recipe: str, *overrides: str) -> None:
    """Read a recipe and its overrides, as every verb does that trains."""
    from peerlearn.systems.overrides import parse_assignments
    from peerlearn.systems.registry import find_recipe

    found, given = find_recipe(recipe)
    found.resolve(given, parse_assignments(overrides))


def read(recipe: str, *overrides: str) -> None:
    """Read the data of a recipe, as `validate` does."""
    from peerlearn.systems.overrides import parse_assignments
    from peerlearn.systems.registry import find_recipe

    found, given = find_recipe(recipe)
    config = found.resolve(given, parse_assignments(overrides))
    found.task.read(config)


def inputs(run: str, *paths: str) -> None:
    """Read what `predict` reads, and its first batch."""
    from peerlearn.serving import Predictor, open_run

    predictor = Predictor(open_run(Path(run)))
    for planned in predictor.reader.inputs(list(map(Path, paths)), predictor.peers):
        next(iter(planned.batches()), None)


def weights(file: str) -> None:
    """Give a network the weights of a file."""
    from peerlearn.engine.pretrained import load_weights
    from peerlearn.models import build_model

    load_weights(build_model("mlp", (1, 8, 8), 3, {"hidden": [4]}), Path(file), "peers.a.weights")


CALLS: Mapping[str, Callable[..., None]] = {
    "resolve": resolve,
    "read": read,
    "inputs": inputs,
    "weights": weights,
}
