"""A kind of knowledge from outside: one class, named in an entry."""

from collections.abc import Collection

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

import peerlearn
from peerlearn.errors import InputError
from peerlearn.randomness import seeded_rng
from peerlearn.transfer import BatchView, EdgeOptions, Knowledge, TransferGraph


class DistanceOptions(EdgeOptions):
    headline = "layer"
    layer: str = "weight"
    power: float = Field(2.0, gt=0)


class ParameterDistance(Knowledge):
    """How far a learner's parameters are from its teachers', which no output tells."""

    Options = DistanceOptions

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        return {
            learner: torch.stack([self.apart(view, learner, t) for t in teachers]).mean()
            for learner, teachers in self.wanted(learners)
        }

    def apart(self, view: BatchView, learner: str, teacher: str) -> Tensor:
        mine, theirs = (
            getattr(view.peers[name], self.options.layer) for name in (learner, teacher)
        )
        return (mine - theirs.detach()).abs().pow(self.options.power).mean()


KIND = f"python:{__name__}:ParameterDistance"


def cohort(**entry: object) -> peerlearn.Cohort:
    edges = [{"knowledge": KIND, "weight": 3.0, **entry}, {"weight": 0.1}]
    with seeded_rng(0):
        return peerlearn.Cohort({n: nn.Linear(6, 2) for n in "ab"}, {"edges": edges})


def test_it_trains_in_a_loop_of_ones_own_and_leaks_nothing() -> None:
    made = cohort(to="a")
    apart = made.transfer.entries[0].losses(BatchView({}, peers=made.peers), ["a"])["a"]
    apart.backward()
    a, b = made.peers["a"].weight, made.peers["b"].weight
    torch.testing.assert_close(a.grad, 2 * (a - b).detach() / a.numel())
    assert b.grad is None
    x, y = torch.zeros(4, 6), torch.tensor([0, 1, 0, 1])
    found = made.losses(made(x), y)["a"].transfer
    plain = peerlearn.Cohort(dict(made.peers.items()), {"weight": 0.1}).losses(made(x), y)["a"]
    torch.testing.assert_close(found, plain.transfer + 3 * apart)


def test_it_trains_by_fit_and_is_reported() -> None:
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    data = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}
    left = {}
    for weight in (0.0, 3.0):
        made = cohort(weight=weight)
        result = peerlearn.fit(made, data, epochs=3, lr=0.3, batch_size=8, precision="fp32")
        a, b = (made.peers[name].weight.detach() for name in "ab")
        left[weight] = (a - b).square().mean()
    assert left[3.0] < 0.3 * left[0.0]
    assert result.block["edges"][0] == {
        "from": "b", "to": "a", "knowledge": KIND, "divergence": "weight", "weight": "3",
        "target": "mean",
    }  # fmt: skip


def test_it_takes_from_around_only_what_every_entry_has() -> None:
    given = {"layer": "stage1", "weight": 0.5, "target": "sum", "edges": [{"knowledge": KIND}]}
    (entry,) = TransferGraph(given, ["a", "b"]).entries
    assert (entry.options.layer, entry.options.weight, entry.options.target) == (
        "weight", 0.5, "sum"
    )  # fmt: skip
    assert "does not say what learners elsewhere must be given" in entry.stays


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"powr": 2}, r"transfer\.edges\.0\.powr: unknown key. Did you mean 'power'\?"),
        ({"power": 0}, r"transfer\.edges\.0\.power: input should be greater than 0"),
        ({"temperature": 2}, r"transfer\.edges\.0\.temperature: unknown key"),
        ({"from": "self"}, r"from: 'self' has its own predictions.*allowed: predictions"),
        ({"knowledge": KIND + "s"}, "knowledge: unknown class.*Did you mean 'ParameterDistance'"),
        ({"knowledge": f"python:{__name__}:cohort"}, "is not a kind of knowledge; expected a sub"),
        ({"knowledge": f"python:{__name__}:KIND"}, "is str, not a class that teaches"),
        ({"knowledge": "python:nowhere"}, "is not of the form python:package.module:class"),
        ({"knowledge": "python:no_such_module:Kind"}, "no module 'no_such_module'"),
    ],
)
def test_mistakes_are_named(entry: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TransferGraph({"edges": [{"knowledge": KIND} | entry]}, ["a", "b"])


def test_it_is_named_in_entries_alone() -> None:
    with pytest.raises(InputError, match=r"transfer\.knowledge: found .* Allowed: predictions"):
        TransferGraph({"knowledge": KIND}, ["a", "b"])
