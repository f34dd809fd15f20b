"""Names for all that a value is made of."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import nn

from peerlearn.engine.fingerprint import fingerprint


@dataclass(frozen=True)
class Point:
    x: float
    y: Any = None


class Spec(BaseModel):
    rate: float = 0.5


def linear(seed: int = 0, **settings: Any) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 2), nn.Dropout(**settings))


def double(x: int) -> int:
    return 2 * x


DIFFERENT = [
    (1, 2), (1, 1.0), (1, "1"), (None, False), ([1, 2], [2, 1]), ([1, [2]], [[1], 2]),
    ({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), (Point(1), Point(2)),
    (Point(1, Point(2)), Point(1, Point(3))), (Spec(), Spec(rate=0.1)),
    (torch.zeros(2), torch.ones(2)), (torch.zeros(2), torch.zeros(2, 1)),
    (torch.zeros(2), torch.zeros(2).double()), (np.zeros(3), np.ones(3)),
    (linear(0), linear(1)), (linear(p=0.1), linear(p=0.2)), (double, print),
    (partial(double, x=1), partial(double, x=2)), (torch.float32, torch.float64),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=lambda it: type(it).__name__)
def test_what_differs_has_another_name(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_what_is_equal_has_the_same_name_wherever_it_lies() -> None:
    assert fingerprint(linear(3, p=0.1)) == fingerprint(linear(3, p=0.1))
    assert fingerprint({"a": 1, "b": Point(2)}) == fingerprint({"b": Point(2), "a": 1})
    images = torch.arange(24.0).view(1, 2, 3, 4)
    assert fingerprint(images) == fingerprint(images.to(memory_format=torch.channels_last))


class Opaque:
    pass


@pytest.mark.parametrize("unknown", [Opaque(), (lambda x: lambda: x)(1), [Point(1, Opaque())]])
def test_of_what_nobody_knows_there_is_no_name(unknown: Any) -> None:
    with pytest.raises(TypeError, match="cannot tell what it depends on"):
        fingerprint(unknown)
