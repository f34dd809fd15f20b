"""What edges learn themselves: logit weighting and temperatures."""

import pytest
import torch
from torch import Tensor

from peerlearn import Cohort
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.adaptive import LearnedTemperature, LogitWeighting, WeightingSpec

ROWS, CLASSES = 12, 4
NAMES = ["a", "b", "c"]
TARGETS = torch.tensor([0, 1, 2, 3, -1, -1, 0, 1, -1, 2, 3, 0])
FORMS = [
    WeightingSpec(by=by, activation=activation)
    for by in ("class", "sample")
    for activation in ("softmax", "two_sigmoid", "sigmoid")
]


def outputs(rows: int = ROWS) -> dict[str, PeerOutput]:
    return {
        name: PeerOutput(
            torch.randn(rows, CLASSES, generator=keyed_generator(0, name)).requires_grad_()
        )
        for name in NAMES
    }


def graph(**fields: object) -> TransferGraph:
    made = TransferGraph({"divergence": "kl", **fields}, NAMES)
    with seeded_rng(0):
        made.prepare(outputs())
    return made


def losses(made: TransferGraph, of: dict[str, PeerOutput]) -> dict[str, Tensor]:
    return made.losses(of, TARGETS, labelled=TARGETS != -1)


@pytest.mark.parametrize("by", ["class", "sample"])
@pytest.mark.parametrize("activation", ["softmax", "two_sigmoid"])
def test_weighting_starts_as_plain_mutual_learning(by: str, activation: str) -> None:
    weighting = {"by": by, "activation": activation, "supervision": 0}
    given = outputs()
    weighted, plain = losses(graph(weighting=weighting), given), losses(graph(), given)
    for name in NAMES:
        torch.testing.assert_close(weighted[name], plain[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize("spec", FORMS, ids=lambda spec: f"{spec.by}-{spec.activation}")
def test_shapes_and_bounds_of_weights(spec: WeightingSpec) -> None:
    with seeded_rng(0):
        weighting = LogitWeighting(spec, ROWS, CLASSES)
        torch.nn.init.normal_(weighting.phi)
    weights = weighting(outputs()["a"].logits)
    assert weights.shape == ((CLASSES,) if spec.by == "class" else (ROWS, CLASSES))
    bound = {"softmax": CLASSES, "two_sigmoid": 2, "sigmoid": 1}[spec.activation]
    assert (weights > 0).all() and (weights < bound).all()
    assert weights.std() > 0
    if spec.activation == "softmax":
        torch.testing.assert_close(weights.mean(-1), torch.ones(weights.shape[:-1]))


def test_weights_by_sample_also_serve_maps_of_logits() -> None:
    maps = {name: PeerOutput(torch.randn(2, CLASSES, 3, 3)) for name in NAMES}
    made = TransferGraph({"divergence": "kl", "weighting": "sample"}, NAMES)
    made.prepare(maps)
    y = torch.randint(CLASSES, (2, 3, 3))
    assert all(torch.isfinite(v) for v in made.losses(maps, y, labelled=y != -1).values())


def test_supervision_trains_the_weights_and_nothing_else() -> None:
    given = outputs()
    made = graph(weighting="class", weight=0.0)
    torch.stack(list(losses(made, given).values())).sum().backward()
    assert all(output.logits.grad is None for output in given.values())
    for name in NAMES:
        _chi, phi = made.parameters_of(name)
        assert phi.grad is not None and phi.grad.abs().sum() > 0


def test_a_teachers_weights_receive_nothing_from_its_learner() -> None:
    made = graph(edges=[{"from": "a", "to": "b"}], weighting={"by": "class", "supervision": 0})
    losses(made, outputs())["b"].backward()
    assert all(p.grad is None for p in made.parameters_of("a"))
    assert any(p.grad is not None for p in made.parameters_of("b"))
    assert made.parameters_of("c") == []


def test_a_free_gate_closes_when_only_the_divergence_trains_it_and_softmax_does_not() -> None:
    """The trap that the normalisation is for: at weight 0 all predictions agree."""
    reached = {}
    for activation in ("sigmoid", "softmax"):
        made = graph(weighting={"by": "class", "activation": activation, "supervision": 0})
        given = {name: PeerOutput(output.logits.detach()) for name, output in outputs().items()}
        optimiser = torch.optim.Adam(made.parameters(), lr=0.1)
        for _ in range(100):
            optimiser.zero_grad()
            torch.stack(list(losses(made, given).values())).sum().backward()
            optimiser.step()
        weights = made.entries[0].weightings["a"](given["a"].logits)
        reached[activation] = weights.mean().item()
    assert reached["sigmoid"] < 0.15
    assert reached["softmax"] == pytest.approx(1)


def test_weights_by_class_refuse_another_number_of_rows() -> None:
    with pytest.raises(InputError, match="made for 12 rows and got 5;"):
        graph(weighting="class").losses(outputs(5), TARGETS[:5])


def test_a_graph_that_was_not_prepared_says_what_to_call() -> None:
    cohort = Cohort({name: torch.nn.Linear(3, CLASSES) for name in "ab"}, {"weighting": "sample"})
    x, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 3, 0, 1])
    with pytest.raises(InputError, match=r"cohort\.transfer\.prepare\(cohort\(x\)\)"):
        cohort.loss(x, y)
    cohort.transfer.prepare(cohort(x))
    cohort.loss(x, y).backward()


def test_weights_need_class_labels_to_learn_from() -> None:
    with pytest.raises(InputError, match=r"transfer\.weighting.*supervision: 0"):
        graph(weighting="sample").losses(outputs())


def test_a_learned_temperature_starts_halfway_and_stays_within_its_bounds() -> None:
    temperature = LearnedTemperature(CLASSES, 1.0, 4.0)
    logits = outputs()["a"].logits
    assert temperature(logits).tolist() == [[2.5]] * ROWS
    with seeded_rng(0):
        torch.nn.init.normal_(temperature.linear.weight, std=100)
    reached = temperature(logits)
    assert reached.min() >= 1 and reached.max() <= 4 and reached.std() > 1


def test_a_learned_temperature_at_its_start_equals_a_fixed_one() -> None:
    given = outputs()
    learned = losses(graph(temperature="learned", temperature_range=(1.0, 4.0)), given)
    fixed = losses(graph(temperature=2.5), given)
    for name in NAMES:
        torch.testing.assert_close(learned[name], fixed[name])


@pytest.mark.parametrize("bounds", [(0, 2), (3, 2)])
def test_bounds_of_a_temperature_must_be_in_order(bounds: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="temperature_range"):
        TransferGraph({"temperature": "learned", "temperature_range": bounds}, NAMES)
