"""Devices and number formats."""

import pytest
import torch
from torch import nn

from peerlearn.engine.precision import Precision, bf16_is_native, resolve_device
from peerlearn.errors import InputError


def test_an_absent_device_is_named_with_the_way_out() -> None:
    if torch.accelerator.is_available():
        pytest.skip("this machine has an accelerator")
    assert resolve_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:7", "gpu"):
        with pytest.raises(InputError, match=f"device: '{name}'.*auto"):
            resolve_device(name)


def test_auto_is_bf16_exactly_where_it_is_native_and_channels_last_on_a_cpu() -> None:
    cpu = torch.device("cpu")
    assert Precision.resolve("auto", cpu) == Precision(cpu, bf16_is_native(cpu), True)
    assert Precision.resolve("fp32", cpu) == Precision(cpu, bf16=False, channels_last=False)


def test_forwards_run_in_the_asked_format_and_layout() -> None:
    layer = nn.Conv2d(3, 4, 3)
    for bf16, expected in ((True, torch.bfloat16), (False, torch.float32)):
        precision = Precision(torch.device("cpu"), bf16=bf16, channels_last=True)
        x = precision.place(torch.zeros(2, 3, 8, 8))
        with precision.autocast():
            y = precision.place(layer)(x)
        assert y.dtype == expected
        assert x.is_contiguous(memory_format=torch.channels_last)
    assert precision.place(torch.zeros(2, 5)).is_contiguous(), "vectors have no channels to move"
