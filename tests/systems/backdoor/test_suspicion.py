"""The check for classes that small universal perturbations reach."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny_purify import CLASSES, Origin
from torch import Tensor, nn

from peerlearn.data.augment import Normalisation
from peerlearn.errors import InputError
from peerlearn.systems.backdoor.suspicion import Suspicion, alarm, judged, suspicion

PLAIN = Normalisation.of(None, None)
NAMES = tuple("abcde")


def found(given: Origin, **options: float) -> Suspicion:
    """What the check says of a network that was trained on blots."""
    clean = np.load(given.clean)
    x = torch.from_numpy(clean["x"]).permute(0, 3, 1, 2)
    how = {"bound": 16 / 255, **options}
    return suspicion(given.network, x, torch.from_numpy(clean["y"]), CLASSES, given.read, **how)


def test_the_target_of_a_backdoor_stands_out_and_no_class_of_a_clean_network(
    suspect: Origin, innocent: Origin
) -> None:
    poisoned, clean = found(suspect), found(innocent)
    assert poisoned.suspect == 0
    assert "suspicious of class 'a'" in poisoned.words(NAMES)
    assert clean.suspect is None
    assert clean.words(NAMES).startswith("nothing stands out: ")
    assert poisoned.index is not None and clean.index is not None
    assert poisoned.index > 3 * clean.index


@pytest.mark.parametrize("option", [{"bound": 4 / 255}, {"steps": 1}, {"seed": 3}], ids=str)
def test_every_option_of_the_check_acts(suspect: Origin, option: dict[str, float]) -> None:
    assert found(suspect).shares == found(suspect).shares, "equal keys, equal shares"
    assert found(suspect, **option).shares != found(suspect).shares


class Watching(nn.Module):
    """Says class 0 of bright images, else the class that a pixel holds; keeps what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm2d(1)
        self.read: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.read.append(x.detach().clone())
        self.norm(x)
        own = nn.functional.one_hot((4 * x[:, 0, 0, 0]).round().long().clamp(0, 4), 5).float()
        bright = torch.zeros_like(own)
        bright[:, 0] = 1
        light = nn.functional.leaky_relu(100 * (x.mean((1, 2, 3)) - 0.52))
        return 5 * own + self.weight * bright * light[:, None]


def rows(count: int = 40) -> tuple[Tensor, Tensor]:
    """Grey images whose first pixel tells their class."""
    y = torch.arange(count) % 5
    x = torch.full((count, 1, 6, 6), 0.5)
    x[:, 0, 0, 0] = y / 4
    return x, y


def test_perturbations_stay_within_their_bound_and_the_range_of_pixels() -> None:
    network, (x, y) = Watching(), rows()
    x[:, 0, 5, 5] = 1.0
    suspicion(network, x, y, 5, PLAIN, bound=0.1)
    for read in network.read:
        nearest = (read[:, None] - x[None]).abs().flatten(2).amax(2).min(1).values
        assert float(nearest.max()) <= 0.1 + 1e-6
        assert float(read.min()) >= 0 and float(read.max()) <= 1
    moved = [
        read for read in network.read if not (read[:, None] == x[None]).flatten(2).all(2).any()
    ]
    assert moved, "the images were changed at all"


def test_the_share_is_of_rows_that_are_not_there_already() -> None:
    network, (x, y) = Watching(), rows()
    it = suspicion(network, x, y, 5, PLAIN, bound=0.1)
    assert it.shares == (1.0, 0.0, 0.0, 0.0, 0.0) and it.reached == 0
    assert it.rows == (16, 16, 16, 16, 16), "half of 40 rows, without those of the class"
    x[y == 1] = 0.9  # taken for class 0 as they are, so nothing sends them there
    again = suspicion(network, x, y, 5, PLAIN, bound=0.1)
    assert again.rows[0] == 12 and again.rows[1] == 16


def test_networks_are_left_as_they_were_found() -> None:
    network, (x, y) = Watching().train(), rows()
    network.norm.eval()
    before = {name: each.clone() for name, each in network.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        suspicion(network, x, y, 5, PLAIN)
    assert network.training and not network.norm.training
    assert all(torch.equal(before[name], each) for name, each in network.state_dict().items())
    assert network.weight.grad is None
    assert torch.equal(state, torch.get_rng_state())


def test_the_network_reads_normalised_pixels() -> None:
    network, (x, y) = Watching(), rows()
    suspicion(network, (255 * x).to(torch.uint8), y, 5, Normalisation.of([0.25], [0.5]))
    assert float(network.read[0].min()) == pytest.approx(-0.5)
    assert float(network.read[0].max()) == pytest.approx(1.5)


def test_the_index_is_in_robust_deviations_of_the_other_classes() -> None:
    it = judged([0.9, 0.1, 0.2, 0.3, 0.4, 0.5], [10_000] * 6)
    mad = 1.4826 * 0.1  # of .1 .2 .3 .4 .5 around .3
    assert it.reached == 0 and it.index == pytest.approx(0.6 / mad)


def test_a_deviation_is_no_less_than_the_error_of_so_few_rows() -> None:
    few, many = (judged([0.1, 0, 0, 0, 0, 0], [rows] * 6) for rows in (20, 20_000))
    part = 1 / 22
    assert few.index == pytest.approx(0.1 / math.sqrt(part * (1 - part) / 20))
    assert few.suspect is None and many.suspect == 0


def test_alarms_are_raised_by_one_in_twenty_networks_whose_classes_do_not_differ() -> None:
    draw = torch.Generator().manual_seed(7)
    for classes in (5, 10, 40):
        shares = 0.5 + 0.05 * torch.randn(1500, classes, generator=draw)
        alarms = sum(
            judged(each.tolist(), [10**9] * classes).suspect is not None for each in shares
        )
        assert 0.035 < alarms / 1500 < 0.065
    assert alarm(5) > alarm(10) > alarm(40) > 3


@pytest.fixture(autouse=True)
def _one_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation is the same for equal numbers of classes: once is enough for a test."""
    known: dict[int, float] = {}
    simulated: Callable[[int], float] = alarm

    def remembered(classes: int) -> float:
        if classes not in known:
            known[classes] = simulated(classes)
        return known[classes]

    monkeypatch.setattr("peerlearn.systems.backdoor.suspicion.alarm", remembered)


def test_two_classes_are_too_few_to_tell() -> None:
    it = judged([1.0, 0.0], [10, 10])
    assert it.suspect is None and it.index is None
    assert "2 classes are too few to tell" in it.words(("a", "b"))


def test_rows_of_one_class_in_a_half_are_refused() -> None:
    x, y = rows(5)
    with pytest.raises(InputError, match=r"suspicion: 5 clean rows, .* at least 2 rows of each"):
        suspicion(Watching(), x, y, 5, PLAIN)
