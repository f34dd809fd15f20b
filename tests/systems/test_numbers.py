"""No option of any recipe takes a number that is none, or one that no network survives."""

from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

import pytest
from overriding import parsed
from pydantic import BaseModel

from peerlearn.errors import InputError
from peerlearn.systems.registry import RECIPES

RECIPE_NAMES = list(RECIPES)


def leaves(annotation: Any) -> Iterator[Any]:
    """Plain types and blocks in an annotation, wherever they stand."""
    if inner := get_args(annotation):
        for each in inner:
            yield from leaves(each)
    else:
        yield annotation


def numeric_options(config: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, set[Any]]]:
    """Every dotted key whose value may be a number, with the plain types of its value."""
    for name, field in config.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        found = list(leaves(field.annotation))
        for block in {each for each in found if isinstance(each, type)}:
            if issubclass(block, BaseModel):
                inner = f"{path}.{'a' if name == 'peers' else ''}".rstrip(".") + "."
                yield from numeric_options(block, inner)
        plain = {each for each in found if each in (int, float, bool, str, NoneType)}
        if plain & {int, float}:
            yield path, plain


OPTIONS = [
    (name, path, frozenset(plain))
    for name, recipe in RECIPES.items()
    for path, plain in numeric_options(recipe.config)
]


def test_the_walk_finds_numbers_in_every_block() -> None:
    found = {path for _, path, _ in OPTIONS}
    assert {
        "epochs", "lr", "peers.a.lr", "lr_schedule.milestones", "peers.a.lr_schedule.warmup",
        "transfer.temperature", "transfer.weighting.hidden", "transfer.memory", "data.train_size",
        "evaluation.noise", "augment.crop", "stages.teacher.epochs", "compression.ratio",
        "uno.heads",
        "objective.dice_weight", "data.fold_index", "auxiliary.buckets", "fanout", "augment.scale",
    } <= found  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "path", "plain"), OPTIONS, ids=lambda v: v if v in RECIPES else str(v)[:40]
)
def test_no_option_takes_what_is_no_number(recipe: str, path: str, plain: frozenset[Any]) -> None:
    found = RECIPES[recipe]
    given = found.defaults()
    if path.startswith("peers.a."):
        given["peers"] = {"a": next(iter(given["peers"].values()))} | given["peers"]
    wrong: list[Any] = [float("inf"), float("-inf"), float("nan"), 1e300, -1e300, 10**40]
    wrong += [] if bool in plain else [True]
    wrong += [] if str in plain else ["yes", "3"]
    wrong += [1.5] if float not in plain else []
    for value in wrong:
        for tried in (value, [value], [value, value]):
            with pytest.raises(InputError) as error:
                found.resolve(given, {path: tried})
            assert path.rpartition(".")[2] in str(error.value), f"{path}={tried}"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("epochs=1e9", "epochs: input should be less than or equal to 1000000"),
        ("epochs=yes", "epochs: found 'yes'; expected a whole number"),
        ("seed=true", "seed: found true; expected a whole number"),
        ("lr=.inf", "lr: input should be a finite number"),
        ("lr=1e300", "lr: found 1e+300; allowed: up to 1e+30"),
        ("lr_schedule.milestones=[.nan]", "lr_schedule.milestones.0: input should be a finite"),
        (
            "evaluation.batch_size=1e20",
            "evaluation.batch_size: found 1e+20; allowed: up to",
        ),
        ("evaluation.flatness=yes", "evaluation.flatness: found 'yes'; expected true or false"),
        ("evaluation.flatness=1", "evaluation.flatness: found 1; expected true or false"),
        ("transfer.memory=1e10", "transfer.memory: "),
        ("threads=100000", "threads: input should be less than or equal to 1024"),
        ("augment.crop=-5", "augment.crop: input should be greater than or equal to 0"),
        ("augment.flip=no", "augment.flip: found 'no'; expected 'auto' or true or false"),
        ("augment.crop='3'", "augment.crop: found '3'; expected 'auto' or a whole number"),
        ("transfer.temperature='2'", "temperature: found '2'; expected 'learned' or a number"),
    ],
)
def test_what_is_said_of_it(word: str, said: str) -> None:
    recipe = RECIPES["dml"]
    with pytest.raises(InputError) as error:
        recipe.resolve(recipe.defaults(), parsed(word))
    assert said in str(error.value)


def test_a_whole_number_may_be_written_as_another_number() -> None:
    recipe = RECIPES["dml"]
    config = recipe.resolve(recipe.defaults(), parsed("data.train_size=1e3", "epochs=3.0"))
    assert (config.data.train_size, config.epochs) == (1000, 3)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("device=meta", "device: 'meta' is not available here"),
        ("device=nothing", "device: 'nothing' is not available here"),
        ("threads=1000", "threads: 1000; this machine has"),
        ("lr_schedule.warmup=1000", "lr_schedule.warmup: 1000 epochs, but stage 'mutual' has 30"),
        ("augment.cutout=1000", "augment.cutout: 1000 pixels are more than images of 8x8 have"),
        ("augment.crop=8", "augment.crop: 8 pixels cannot be reflected from images of 8x8"),
    ],
)
def test_what_does_not_fit_machine_stage_or_data(word: str, said: str, monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    recipe = RECIPES["dml"]
    with pytest.raises(InputError) as error:
        recipe.build(recipe.resolve(recipe.defaults(), parsed("data.train_size=100", word)))
    assert said in str(error.value)
