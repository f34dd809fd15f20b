"""Parts of one's own by `python:`: each is used where its name stands."""

import sys
from pathlib import Path

import pytest

import peerlearn
from peerlearn.errors import InputError

SOURCE = """
import torch
from torch import nn

def net(shape, classes, hidden=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), hidden), nn.ReLU(),
                         nn.Linear(hidden, classes))

def by_other_name(sample_shape, classes):
    return net(sample_shape, classes)

def focal(logits, targets):
    p = logits.softmax(1).gather(1, targets[:, None])[:, 0]
    return -((1 - p) ** 2 * p.log()).mean()

class Signs(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.sign_()
        return super().step(closure)

def rows():
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()

def broken():
    raise RuntimeError("no rows today")
"""
QUICK = {"epochs": 1, "batch_size": 16, "precision": "fp32", "evaluation.select": "last"}


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_parts.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)


def nll(**changes: object) -> float:
    own = {"peers.a": "python:my_parts:net", "peers.b": "python:my_parts:by_other_name"}
    given = {"data": "python:my_parts:rows", "lr": 0.01} | QUICK | own | changes
    found = peerlearn.recipe("dml", given).run(seed=0)
    return found["arms"]["mutual"]["ensemble"]["nll"]["mean"]


def test_networks_objectives_optimisers_and_data_of_ones_own_change_the_result() -> None:
    base = nll()
    assert base == nll()
    assert nll(objective="python:my_parts:focal") != base
    signs = nll(optimiser="python:my_parts:Signs")
    assert signs != base
    assert nll(optimiser={"name": "python:my_parts:Signs", "momentum": 0.5}) != signs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": "python:my_parts:foccal"}, r"Did you mean 'focal'"),
        ({"objective": "focal"}, r"function: found 'focal'; expected python:module:NAME"),
        ({"objective": {"function": "python:my_parts:focal", "label_smoothing": 0.1}}, "smoothing"),
        ({"optimiser": "python:my_parts:Sings"}, r"Did you mean 'Signs'"),
        ({"optimiser": {"name": "python:my_parts:Signs", "momentums": 1}}, r"optimiser: python:my"),
        ({"optimiser": "python:my_parts:focal"}, r"optimiser: python:my_parts:focal raised"),
        ({"data": "python:my_parts:broken"}, r"broken raised RuntimeError: no rows today"),
    ],
)
def test_what_is_wrong_with_them_is_said(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        nll(**changes)
