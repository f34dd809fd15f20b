"""Invariant 6: every documented option acts, or is listed with its purpose.

Tables of options say of each, as `(overrides before, the change)`, what must change the outcome.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

Table = Mapping[str, tuple[list[str], str]]


def documented_options(
    config: type[BaseModel], blocks: Collection[str], prefix: str = ""
) -> Iterator[str]:
    """Every dotted key of a typed configuration, as typed.

    Args:
        config: its class.
        blocks: keys whose own keys are wanted in their place; of `peers`, those of every peer.
    """
    for name, field in config.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        if path in blocks:
            yield from documented_options(_model_in(field.annotation), blocks, f"{path}.")
        else:
            yield path


def _model_in(annotation: Any) -> type[BaseModel]:
    """The class of a block, which may be optional, or the value of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = [_model_in(part) for part in get_args(annotation) if part not in (str, type(None))]
    assert len(models) == 1, f"{annotation} is no block of options"
    return models[0]


def assert_every_option_is_listed(
    config: type[BaseModel], blocks: Collection[str], *tables: Collection[str]
) -> None:
    """Every documented option is in one of the tables, and nothing else is."""
    listed = {option for table in tables for option in table}
    assert set(documented_options(config, blocks)) == listed


def assert_option_acts(outcome: Callable[..., Any], table: Table, option: str) -> None:
    """The outcome of a training with the option's overrides changes with the option.

    Args:
        outcome: from overrides, as typed, to what is compared.
        table: of options.
        option: one of them.
    """
    before, change = table[option]
    assert outcome(*before, *change.split(" & ")) != outcome(*before), f"{change} changed nothing"
