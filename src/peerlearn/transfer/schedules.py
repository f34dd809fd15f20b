"""Weights and orders that change while a cohort trains.

Time is the fraction of the stage that is done, from 0 to 1, so that a schedule keeps its shape
when the number of epochs changes.
"""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ScheduleKind = Literal["constant", "linear", "sigmoid", "cosine", "exponential"]


class Schedule(BaseModel):
    """How a quantity moves from `start` to its configured value.

    Kinds, with r the elapsed fraction of the ramp:
        constant: the value, from the first step.
        linear: `start + r (value − start)`.
        sigmoid: `start + (value − start) exp(−5 (1 − r)²)` (Laine & Aila 2017).
        cosine: `start + (value − start) (1 − cos πr) / 2`.
        exponential: `start (value / start)^r`; both ends must be positive.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: ScheduleKind = "constant"
    start: float = Field(0.0, ge=0, description="quantity before and at the beginning of the ramp")
    begin: float = Field(0.0, ge=0, lt=1, description="fraction of the stage before the ramp")
    over: float = Field(1.0, gt=0, le=1, description="length of the ramp, fraction of the stage")

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _positive_start(self) -> "Schedule":
        if self.kind == "exponential" and self.start <= 0:
            raise ValueError(f"an exponential schedule needs start > 0, found {self.start}")
        return self

    def at(self, progress: float, value: float) -> float:
        """The quantity when `progress` of the stage is done, on its way to `value`."""
        if self.kind == "constant":
            return value
        r = min(max((progress - self.begin) / self.over, 0.0), 1.0)
        if self.kind == "exponential":
            return self.start * (value / self.start) ** r
        done = {
            "linear": r,
            "sigmoid": math.exp(-5 * (1 - r) ** 2) if progress >= self.begin else 0.0,
            "cosine": (1 - math.cos(math.pi * r)) / 2,
        }[self.kind]
        return self.start + (value - self.start) * done

    def describe(self, value: float) -> str:
        """A short reading for reports, such as `linear 0 → 1 over 20 %`."""
        if self.kind == "constant":
            return f"{value:g}"
        after = f" after {self.begin:.0%}" if self.begin else ""
        return f"{self.kind} {self.start:g} → {value:g} over {self.over:.0%}{after}"
