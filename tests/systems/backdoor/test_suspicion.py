"""The check for classes that a small spot leads to."""

import math

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


def found(given: Origin, **options: int) -> Suspicion:
    """What the check says of a network that was trained on blots."""
    clean = np.load(given.clean)
    x = torch.from_numpy(clean["x"]).permute(0, 3, 1, 2)
    return suspicion(given.network, x, torch.from_numpy(clean["y"]), CLASSES, given.read, **options)


def test_the_target_of_a_backdoor_stands_out_and_no_class_of_a_clean_network(
    suspect: Origin, innocent: Origin
) -> None:
    poisoned, clean = found(suspect), found(innocent)
    assert poisoned.suspect == 0
    assert "suspicious of class 'a'" in poisoned.words(NAMES)
    assert poisoned.shares[0] > 0.9
    assert clean.suspect is None
    assert clean.words(NAMES).startswith("nothing stands out: ")
    assert poisoned.index is not None and clean.index is not None
    assert poisoned.index > 2 * clean.index


def test_every_option_of_the_check_acts(suspect: Origin) -> None:
    usual = found(suspect, steps=10)
    assert found(suspect, steps=10) == usual, "equal keys, equal areas"
    assert found(suspect, steps=12).areas != usual.areas
    assert found(suspect, steps=10, seed=3).areas != usual.areas


class Watching(nn.Module):
    """Says the class whose row of pixels is bright, and class 0 where a corner is.

    It keeps what it reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(40.0))
        self.norm = nn.BatchNorm2d(1)
        self.read: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.read.append(x.detach().clone())
        self.norm(x)
        own = 10 * x[:, 0, :5].mean(2)
        corner = torch.zeros_like(own)
        corner[:, 0] = x[:, 0, 5, 5]
        return own + self.weight * corner


def rows(count: int = 40) -> tuple[Tensor, Tensor]:
    """Dark images of which one row of pixels is bright, that of their class."""
    y = torch.arange(count) % 5
    x = torch.zeros(count, 1, 6, 6)
    x[torch.arange(count), 0, y] = 1
    return x, y


def test_the_class_that_a_corner_leads_to_has_the_smallest_spot() -> None:
    network, (x, y) = Watching(), rows()
    it = suspicion(network, x, y, 5, PLAIN)
    assert it.reached == it.suspect == 0
    assert it.areas[0] < 2 / 36 < 4 / 36 < min(it.areas[1:])
    with torch.no_grad():
        network.weight.zero_()
    assert suspicion(network, x, y, 5, PLAIN).suspect is None


@pytest.mark.parametrize("lowest", [0.0, -3.0])
def test_what_a_spot_makes_of_images_stays_in_the_range_of_pixels(lowest: float) -> None:
    network, (x, y) = Watching(), rows()
    x[0, 0, 0, 0] = lowest
    suspicion(network, x, y, 5, PLAIN)
    assert min(float(read.min()) for read in network.read) == lowest
    assert max(float(read.max()) for read in network.read) == 1
    given = [(read[:, None] == x[None]).flatten(2).all(2).any() for read in network.read]
    assert not all(given), "the images were changed at all"


def test_the_share_is_of_rows_that_are_not_there_already() -> None:
    network, (x, y) = Watching(), rows()
    it = suspicion(network, x, y, 5, PLAIN)
    assert it.shares[0] == 1.0
    assert it.rows == (32, 32, 32, 32, 32), "40 rows, without those of the class"
    x[y == 1, 0, 5, 5] = 1.0  # taken for class 0 as they are, so nothing sends them there
    again = suspicion(network, x, y, 5, PLAIN)
    assert again.rows[0] == 24 and again.rows[1] == 32


def test_a_class_that_no_spot_leads_to_has_the_whole_image() -> None:
    class Never(Watching):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) - torch.tensor([0, 0, 0, 0, 1e4])

    it = suspicion(Never(), *rows(), 5, PLAIN)
    assert it.areas[4] == 1 and it.shares[4] == 0
    assert max(it.areas[:4]) < 1


def test_networks_are_left_as_they_were_found() -> None:
    network, (x, y) = Watching().train(), rows()
    network.norm.eval()
    before = {name: each.clone() for name, each in network.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        suspicion(network, x, y, 5, PLAIN)
    assert network.training and not network.norm.training
    assert all(torch.equal(before[name], each) for name, each in network.state_dict().items())
    assert network.weight.grad is None and network.weight.requires_grad
    assert torch.equal(state, torch.get_rng_state())


def test_the_network_reads_normalised_pixels() -> None:
    network, (x, y) = Watching(), rows()
    suspicion(network, (255 * x).to(torch.uint8), y, 5, Normalisation.of([0.25], [0.5]))
    assert float(network.read[0].min()) == pytest.approx(-0.5)
    assert float(network.read[0].max()) == pytest.approx(1.5)


def judged_of(areas: list[float]) -> Suspicion:
    """With no interest in shares."""
    return judged(areas, [1.0] * len(areas), [10] * len(areas))


def test_the_index_is_in_deviations_of_the_logarithms_of_the_other_classes() -> None:
    it = judged_of([2.0**-9, 2.0**-1, 2.0**-2, 2.0**-3, 2.0**-4, 2.0**-5])
    assert it.reached == 0 and it.index == pytest.approx(6 / math.sqrt(2.5))


def test_a_deviation_is_no_less_than_that_of_two_fits() -> None:
    assert judged_of([1.0] * 6).index == 0
    near, far = judged_of([0.18, *[0.2] * 5]), judged_of([0.1, *[0.2] * 5])
    assert near.index == pytest.approx(math.log(0.2 / 0.18) / 0.05)
    assert near.suspect is None and far.suspect == 0


def test_alarms_are_raised_by_one_in_twenty_networks_whose_classes_do_not_differ() -> None:
    draw = torch.Generator().manual_seed(7)
    for classes in (5, 10, 40):
        areas = torch.exp(0.5 * torch.randn(1500, classes, generator=draw))
        alarms = sum(judged_of(each.tolist()).suspect is not None for each in areas)
        assert 0.035 < alarms / 1500 < 0.065
    assert alarm(5) > alarm(10) > alarm(40) > 3


def test_two_classes_are_too_few_to_tell() -> None:
    it = judged_of([0.1, 1.0])
    assert it.suspect is None and it.index is None
    assert "2 classes are too few to tell" in it.words(("a", "b"))


def test_rows_without_a_label_are_left_out() -> None:
    x, y = rows()
    y[30:] = -1
    least = {"steps": 5}
    assert suspicion(Watching(), x, y, 5, PLAIN, **least) == suspicion(
        Watching(), x[:30], y[:30], 5, PLAIN, **least
    )


def test_rows_of_one_class_are_refused() -> None:
    x, y = rows()
    with pytest.raises(InputError, match=r"suspicion: 8 clean rows, of 1 classes; .* 2 classes"):
        suspicion(Watching(), x[y == 2], y[y == 2], 5, PLAIN)
