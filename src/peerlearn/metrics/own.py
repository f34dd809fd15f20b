"""Metrics of the user's own, named `python:package.module:function`."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.importing import PREFIX, imported
from peerlearn.metrics.catalogue import Metric
from peerlearn.validation import Spec, short_form

FIELD = "evaluation.metrics"


class OwnMetric(Spec):
    """A function of logits and targets that gives one number.

    It is called for every peer and for the ensemble with all labelled rows at once: logits (N, C),
    float32, whose softmax are the probabilities (of the ensemble, their mean) and classes (N,),
    int64; for several labels a row, logits and 0/1 targets (N, L).
    """

    function: str = Field(description="python:package.module:function; alone a short form")
    name: str = Field("", description="what it is called; empty for the function's name")
    better: Literal["higher", "lower", "neither"] = Field(
        "higher", description="which values are better"
    )
    unit: str = Field("", max_length=20, description="of its values; % for a fraction in [0, 1]")

    _function_alone = short_form("function")

    @model_validator(mode="after")
    def _is_a_function_of_ones_own(self) -> "OwnMetric":
        if not self.function.startswith(PREFIX):
            found = f"function: found {self.function!r}"
            raise ValueError(f"{found}; expected {PREFIX}package.module:function")
        if not self.called.isidentifier():
            raise ValueError(f"name: found {self.called!r}; expected letters, digits and _")
        return self

    @property
    def called(self) -> str:
        """Its name in results."""
        return self.name or self.function.rpartition(":")[2]

    @property
    def metric(self) -> Metric:
        """What results and reports are told of it."""
        better = None if self.better == "neither" else self.better
        decimals = 1 if self.unit == "%" else 3
        return Metric(
            self.called, "", better, self.unit, decimals, selects=better is not None, brief=2
        )

    def value(self, outputs: Tensor, y: Tensor) -> float:
        """Its value for the rows that `labelled` has checked.

        Raises InputError: the function fails, or gives no number.
        """
        function = _function(self.function)
        try:
            found = function(outputs.float(), y)
            return float(found.item() if isinstance(found, Tensor) else found)
        except Exception as error:
            raise InputError(
                f"{FIELD}: {self.function} raised {type(error).__name__}: {error}; it is given "
                f"logits {tuple(outputs.shape)} and targets {tuple(y.shape)}, and gives one number"
            ) from error


@cache
def _function(name: str) -> Any:
    with imported(name, FIELD, "function", "gives a number of logits and targets") as function:
        return function


def values(own: Sequence[OwnMetric], outputs: Tensor, y: Tensor) -> dict[str, float]:
    """What the functions give, by name; see `OwnMetric.value`."""
    with torch.no_grad():
        return {metric.called: metric.value(outputs, y) for metric in own}


def check_own(own: Sequence[OwnMetric], measured: Sequence[Metric]) -> None:
    """See that the functions can be told from each other and from what is `measured` anyway.

    Raises ValueError: a name that is there twice.
    """
    taken = {metric.name for metric in measured}
    for metric in own:
        if metric.called in taken:
            raise ValueError(
                f"{FIELD}: {metric.called!r} is the name of another metric; give {metric.function} "
                "a name of its own: {function: …, name: …}"
            )
        taken.add(metric.called)


def check_importable(own: Sequence[OwnMetric]) -> None:
    """Raise `InputError` for a function that is not there, before anything is trained."""
    for metric in own:
        _function(metric.function)
