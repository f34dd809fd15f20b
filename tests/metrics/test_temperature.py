"""One temperature for a network's logits, fitted to labelled rows."""

import pytest
import torch
import torch.nn.functional as F

from peerlearn.metrics.temperature import fit_temperature

RNG = torch.Generator().manual_seed(0)


def drawn(rows: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that are drawn from their softmax: they are calibrated."""
    z = 2 * torch.randn(rows, classes, generator=RNG)
    return z, torch.multinomial(z.softmax(1), 1, generator=RNG)[:, 0]


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_logits_that_are_too_large_or_small_get_the_factor_back(factor: float) -> None:
    z, y = drawn(20_000, 4)
    fitted = fit_temperature(factor * z, y)
    assert fitted.temperature == pytest.approx(factor, rel=0.03)
    assert fitted.nll == pytest.approx(F.cross_entropy(z, y).item(), rel=1e-3)
    assert fitted.nll <= fitted.nll_before
    beside = [F.cross_entropy(factor * z / (t * fitted.temperature), y) for t in (0.98, 1.02)]
    assert fitted.nll < min(beside).item(), "the minimum of all temperatures"


def test_several_labels_are_calibrated_by_their_sigmoid() -> None:
    z = torch.randn(20_000, 3, generator=RNG)
    y = torch.bernoulli(z.sigmoid(), generator=RNG)
    assert fit_temperature(3 * z, y).temperature == pytest.approx(3, rel=0.03)


def test_rows_without_a_label_count_for_nothing() -> None:
    z, y = drawn(200, 3)
    more = torch.cat([z, 100 * z]), torch.cat([y, torch.full_like(y, -1)])
    assert fit_temperature(*more) == fit_temperature(z, y)


def test_a_class_that_is_masked_is_left_out() -> None:
    z, y = drawn(5_000, 3)
    masked = torch.cat([4 * z, torch.full((5_000, 1), -torch.inf)], 1)
    assert fit_temperature(masked, y).temperature == pytest.approx(4, rel=0.1)


def test_where_no_temperature_is_best_the_network_stays_as_it_is() -> None:
    y = torch.arange(6) % 3
    right = 5 * F.one_hot(y, 3).float()
    assert fit_temperature(right, y).temperature == 1, "ever sharper would be ever better"
    assert fit_temperature(-right, y).temperature == 1, "worse than chance"
    assert fit_temperature(right, torch.full((6,), -1)).temperature == 1, "no labelled row"
    several = F.one_hot(y, 3).float()
    assert fit_temperature(several - 0.5, several).temperature == 1
