"""Peers that begin with the same weights and stay alike are told, and refused by the engine."""

import copy
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import peerlearn
from peerlearn.errors import InputError


def net(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout) if dropout else nn.Tanh(),
                         nn.Linear(8, 3))  # fmt: skip


X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def trained(nets, steps=3, **options):
    cohort = peerlearn.Cohort(nets, **options)
    optimiser = torch.optim.SGD(cohort.parameters(), lr=0.1)
    for _ in range(steps):
        loss = cohort.loss(X, Y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return cohort


def test_twins_stay_equal_for_the_whole_training_and_a_loop_warns_once():
    one = net()
    with pytest.warns(UserWarning, match="peers a and b begin with the same weights") as told:
        cohort = trained({"a": one, "b": copy.deepcopy(one)})
    assert len(told) == 1 and told[0].filename == __file__
    pairs = zip(cohort.peers["a"].parameters(), cohort.peers["b"].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("nets", "options"),
    [
        ({"a": net(0), "b": net(1)}, {}),
        ({"a": net(0, 0.5), "b": net(0, 0.5)}, {}),
        ({"a": net(0), "b": net(0)}, {"transfer": "none"}),
        ({"a": net(0), "b": net(0), "c": net(2)}, {"transfer": [
            {"from": ["a", "b"], "to": ["a", "b"]}, {"from": "c", "to": "a"}]}),
    ],
    ids=["seeds", "dropout", "no edge", "a third one"],
)  # fmt: skip
def test_peers_that_something_tells_apart_are_not_warned_of(nets, options):
    if isinstance(options.get("transfer"), list):
        options = {"transfer": {"edges": options["transfer"]}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(nets, steps=1, **options)


DATA = {
    "x_train": np.asarray(X.repeat(5, 1)), "y_train": np.asarray(Y.repeat(5)),
    "x_test": np.asarray(X), "y_test": np.asarray(Y),
}  # fmt: skip


def test_fit_refuses_twins_unless_they_are_trained_differently():
    def fit(**options):
        cohort = peerlearn.Cohort({"a": net(), "b": net(), "c": net(3)})
        return peerlearn.fit(cohort, DATA, epochs=1, batch_size=8, **options)

    with pytest.raises(InputError, match=r"peers a and b begin .* different seeds, or give"):
        fit()
    for own in ({"lr": 0.5}, {"frozen": True}, {"view": 1}):
        fit(peers={"b": own})


def test_a_recipe_refuses_a_factory_that_seeds_itself(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef make():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    peer = {"model": "python:own_nets:make"}
    recipe = peerlearn.recipe("dml", {"peers": {"a": peer, "b": peer}}, epochs=1)
    try:
        with pytest.raises(InputError, match="peers a and b begin with the same weights"):
            recipe.run()
    finally:
        sys.modules.pop("own_nets", None)
