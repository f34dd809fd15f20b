"""Every documented option of an edge changes what is learned."""

from types import SimpleNamespace
from typing import Literal, get_args, get_origin

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from peerlearn.randomness import seeded_rng
from peerlearn.transfer import PeerOutput, TransferGraph, TransferSpec
from peerlearn.transfer.divergences import DIVERGENCE_NAMES
from peerlearn.transfer.spec import EdgeFields

NAMES = ["a", "b", "c"]
TARGETS = torch.tensor([0, 1, -1, 3] * 2)  # rows may be read as pairs
OWN = "python:own_parts:huber"
RENYI = {"divergence": "renyi", "alpha": 2.0}
HINT = {"knowledge": "features"}
RELATIONS = {"knowledge": "relations", "layer": "pooled", "memory": 4}
POSTERIORS = {"knowledge": "posteriors"}
DISTRIBUTIONS = {"knowledge": "feature_distributions"}
DOUBTS = {"knowledge": "doubted_labels"}
KINDS = [
    "features",
    "relations",
    "posteriors",
    "feature_distributions",
    "other_classes",
    "doubted_labels",
    "rankings",
]

# By field as typed: (the rest of the edge, values that must differ from the default).
CASES = {
    "from": ({}, ["b", ["a", "b"]]),
    "to": ({}, ["b", ["a", "b"]]),
    "knowledge": ({}, KINDS),
    "layer": (HINT, ["map", {"to": "map"}]),
    "feature_loss": (HINT | {"layer": "map"}, ["attention", "similarity"]),
    "memory": (RELATIONS, [2, 7]),
    "views": (RELATIONS, [2]),
    "transform": (POSTERIORS, ["none"]),
    "eps": (POSTERIORS, [1.0]),
    "stop_distance": (POSTERIORS, [0.1]),
    "layers": (POSTERIORS, ["mean"]),  # of both kinds more in their own tests
    "distance": (POSTERIORS, ["kl", "symmetric_kl"]),
    "per_layer": (POSTERIORS, [True]),
    "normalise": (POSTERIORS, [True]),
    "feature_divergence": (DISTRIBUTIONS, ["direct_kl"]),
    "fusion": (DISTRIBUTIONS, ["none"]),
    "width": (DISTRIBUTIONS, [16]),
    "tokens": (DISTRIBUTIONS, [1]),
    "centred": (DISTRIBUTIONS, [False]),
    "feature_temperature": (DISTRIBUTIONS, [0.1]),
    "supervised_fusion": (DISTRIBUTIONS, [True]),
    "divergence": ({}, ["reverse_kl", "symmetric_kl", "js", "mse", "cosine", OWN]),
    "alpha": ({"divergence": "renyi", "alpha": 1.5}, [0.5, 2.0]),
    "alpha_schedule": (RENYI, ["linear", {"kind": "cosine", "start": 1.0}]),
    "classes": ({}, ["non_target", "teacher_non_target"]),
    "doubt": (DOUBTS, ["everything", "others_rows"]),
    "clamp": ({}, [0.2]),
    "temperature": ({}, [0.5, 4.0, "learned"]),
    "teacher_temperature": ({}, [0.5, 2.0]),
    "temperature_range": ({"temperature": "learned"}, [(0.5, 2.0)]),
    "weighting": ({}, ["class", "sample", {"by": "class", "activation": "sigmoid"}]),
    "weight": ({}, [0.0, 2.0]),
    "weight_schedule": ({}, ["linear", {"kind": "sigmoid", "over": 0.5}]),
    "gate": ({}, ["cutoff", "linear", "correct", "confident"]),
    "gate_threshold": ({"gate": "confident"}, [0.3]),
    "gate_temperature": ({"gate": "confident", "gate_threshold": 0.6}, [0.3, 3.0]),
    "candidates": ({"knowledge": "rankings"}, ["negatives"]),
    "rows": ({}, ["labelled", "unlabelled"]),
    "teacher_ema": ({}, [0.5]),
    "teacher_view": ({"teacher_ema": 0.5}, [1]),
    "detach": ({}, [False]),
    "target": ({}, ["sum", "ensemble"]),
    "proven": ({}, ["both", "teacher"]),  # shut before a validation; see test_proven.py
}


def learned(spec):
    """Losses of all peers, and the gradient of their sum with respect to all logits and means."""
    generator = torch.Generator().manual_seed(0)
    logits = {n: torch.randn(8, 4, generator=generator).requires_grad_() for n in NAMES}
    graph, outputs = TransferGraph(spec, NAMES), {n: _output(z) for n, z in logits.items()}
    with seeded_rng(0):
        peers = {n: Uncertain() for n in NAMES}
        graph.prepare(outputs, peers)
    lagging = {
        name: _output((0.5 + (of.view or 0)) * logits[of.peer])
        for name, of in graph.averages.of.items()
    }
    targets = TARGETS
    if "candidates" in spec:  # of which several may be positives of a row
        targets = F.one_hot(TARGETS.clamp_min(0), 4).float()
    losses = graph.losses(
        outputs | lagging,
        targets,
        labelled=TARGETS != -1,
        progress=0.25,
        peers=peers,
    )
    values = torch.stack(list(losses.values()))
    leaves = [*logits.values(), *(p for net in peers.values() for p in net.parameters())]
    for leaf in leaves:
        leaf.grad = torch.zeros_like(leaf)
    if values.requires_grad:
        values.sum().backward()
    return values.detach(), torch.cat([leaf.grad.flatten() for leaf in leaves])


class Uncertain(nn.Module):
    """Two tensors of weights with a posterior."""

    def __init__(self):
        super().__init__()
        self.mean, self.other = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(5))
        self.std = torch.rand(5)

    def random_names(self):
        return ("mean", "other")

    def gaussian(self, name):
        mean = getattr(self, name)
        return SimpleNamespace(mean=mean, std=self.std[: len(mean)])


def _output(z):
    """Logits, and two maps that depend on them."""
    maps = {"map": torch.outer(z[:, 0].exp(), torch.arange(8.0)).view(8, 2, 2, 2)}
    maps["last map"] = z.view(8, 4, 1, 1) * torch.ones(3, 3)
    return PeerOutput(z, maps | {"pooled": z, "served": torch.arange(4) != 2})


def typed(name):
    return EdgeFields.model_fields[name].alias or name


@pytest.mark.parametrize("name", EdgeFields.model_fields)
def test_every_option_of_an_edge_changes_what_is_learned(name):
    """A new field of EdgeFields fails here until it has a case."""
    field = typed(name)
    assert field in CASES, f"add a case that shows what {field!r} changes"
    rest, values = CASES[field]
    loss, gradient = learned(rest)
    assert torch.isfinite(loss).all()
    for value in values:
        other_loss, other_gradient = learned(rest | {field: value})
        assert torch.isfinite(other_loss).all()
        assert not torch.allclose(gradient, other_gradient, rtol=1e-3, atol=1e-6) or (
            not torch.allclose(loss, other_loss, rtol=1e-3)
        ), f"{field}: {value!r} changes nothing"


@pytest.mark.parametrize("name", EdgeFields.model_fields)
def test_every_allowed_value_has_a_case(name):
    """A new value of a closed option fails here until it has a case."""
    field = EdgeFields.model_fields[name]
    if name == "divergence":
        assert {*CASES[name][1], field.default, "renyi"} == {*DIVERGENCE_NAMES, OWN}
    if get_origin(field.annotation) is not Literal:
        return
    reached = {*CASES[typed(name)][1], field.default}
    assert set(get_args(field.annotation)) == reached


def test_options_of_the_whole_graph_are_edges_and_update():
    """Blocks by knowledge and `edges` are tested in test_transfer_spec, `update` in the engine."""
    assert set(TransferSpec.model_fields) - set(EdgeFields.model_fields) == {
        "edges",
        "predictions",
        *KINDS,
        "update",
    }
    assert learned({"edges": "none"})[0].sum() == 0
    assert TransferGraph({"update": "sequential"}, NAMES).sequential
