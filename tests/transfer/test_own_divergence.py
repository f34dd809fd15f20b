"""Divergences of one's own by `python:` in the place of names."""

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.transfer import PeerOutput, TransferGraph

OWN = "python:own_parts"
NAMES = ["a", "b", "c"]


def losses(spec: dict, shape: tuple[int, ...] = (6, 4), names: list[str] = NAMES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    outputs = {name: PeerOutput(torch.randn(shape, generator=generator)) for name in names}
    return torch.stack(list(TransferGraph(spec, names).losses(outputs).values()))


@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 3)])
@pytest.mark.parametrize("target", ["mean", "sum"])
@pytest.mark.parametrize("names", [NAMES[:2], NAMES])
def test_one_that_is_kl_gives_what_kl_gives(shape, target, names) -> None:
    around = {"temperature": 2.0, "target": target}
    own = losses(around | {"divergence": f"{OWN}:softened"}, shape, names)
    assert torch.allclose(own, losses(around | {"divergence": "kl"}, shape, names), atol=1e-6)
    assert own.min() > 0.01


def test_gates_and_rows_hold_for_it_and_learners_alone_get_gradients() -> None:
    z = {name: torch.randn(6, 4, requires_grad=True) for name in ("a", "b")}
    outputs = {name: PeerOutput(each) for name, each in z.items()}
    spec = {"edges": [{"from": "a", "to": "b", "divergence": f"{OWN}:huber"}]}
    graph = TransferGraph(spec, ["a", "b"])
    loss = graph.losses(outputs)["b"]
    loss.backward()
    assert z["a"].grad is None
    assert z["b"].grad.abs().sum() > 0
    gated = TransferGraph({"edges": [spec["edges"][0] | {"gate": "linear"}]}, ["a", "b"])
    assert torch.allclose(gated.losses(outputs, progress=0.25)["b"], 0.25 * loss)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"divergence": "kll"}, r"divergence: found 'kll'. Did you mean 'kl'\? Allowed: kl, "),
        ({"divergence": OWN}, "not of the form python:package.module:function"),
        ({"divergence": f"{OWN}:hubr"}, "Did you mean 'huber'"),
        (
            {"divergence": f"{OWN}:huber", "temperature": 2.0},
            "no parameter 'temperature'",
        ),
        (
            {"divergence": f"{OWN}:softened", "temperature": "learned"},
            "allowed: a number",
        ),
        ({"divergence": f"{OWN}:one_number"}, r"gave \(\) for logits \(6, 4\); expected"),
        ({"divergence": f"{OWN}:fails"}, "fails raised RuntimeError: no room"),
        ({"divergence": f"{OWN}:huber", "clamp": 0.1}, "clamp"),
        (
            {"knowledge": "relations", "divergence": f"{OWN}:huber"},
            "this edge has knowledge 'relations'",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said(spec: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        losses(spec, names=NAMES[:2])
