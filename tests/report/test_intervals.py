"""Intervals cover what they say, and marks are rarely wrong: by simulation, and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.intervals import worlds
from peerlearn.report.intervals import OverSeeds, by_seed, crossed, holm, p_value, student_p


def by_hand(table, alpha=0.05):
    """The brief formula, sum by sum."""
    seeds, rows = table.shape
    m = table.mean()
    d = [table[s].mean() for s in range(seeds)]
    c = [table[:, j].mean() for j in range(rows)]
    of_seed = sum((x - m) ** 2 for x in d) / ((seeds - 1) * seeds)
    of_row = sum((x - m) ** 2 for x in c) / ((rows - 1) * rows)
    both = sum((table[s, j] - d[s] - c[j] + m) ** 2 for s in range(seeds) for j in range(rows)) / (
        (seeds - 1) * (rows - 1) * seeds * rows
    )
    t, z = stats.t.ppf(1 - alpha / 2, seeds - 1), stats.t.ppf(1 - alpha / 2, rows - 1)
    k = {2: 0, 3: 2, 4: 1.25}.get(seeds, 1)
    return math.sqrt(z**2 * of_row + max(0, t**2 * of_seed - k * z**2 * both))


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_half_width_is_that_of_the_formula(seeds, alpha):
    draw = np.random.default_rng(seeds)
    table = draw.normal(size=(seeds, 1)) / 4 + draw.normal(size=30) + draw.normal(size=(seeds, 30))
    found = crossed(table, bounded=False)
    assert found.mean == pytest.approx(table.mean())
    assert float(found.half(alpha)) == pytest.approx(by_hand(table, alpha))


def test_tables_are_taken_many_at_once():
    tables = np.random.default_rng(0).normal(size=(4, 2, 3, 20))
    many = crossed(tables, bounded=True).half()
    assert many.shape == (4, 2)
    assert many[3, 1] == crossed(tables[3, 1], bounded=True).half()


def test_scores_in_0_to_1_are_not_known_better_than_one_row():
    table = np.zeros((3, 200))
    assert float(crossed(table, bounded=True).half()) == 1 / 200
    assert float(crossed(table, bounded=False).half()) == 0


@pytest.mark.parametrize("seeds", [3, 5])
def test_what_more_would_give_is_what_more_gives(seeds):
    """Planned from half the rows or seeds, on average."""
    draw = np.random.default_rng(seeds)
    looks = worlds.looks(worlds.logits(worlds.WORLDS[3], (60, 2, 2, 2 * seeds, 400), draw))[:, 0, 0]
    small = crossed(looks[:, :seeds, :200], bounded=True)
    rows, more_rows = small.with_twice_the_rows(), crossed(looks[:, :seeds], bounded=True)
    more_seeds, again = small.with_twice_the_seeds(), crossed(looks[:, :, :200], bounded=True)
    assert rows.half().mean() == pytest.approx(more_rows.half().mean(), rel=0.15)
    assert more_seeds.half().mean() == pytest.approx(again.half().mean(), rel=0.15)
    assert (rows.half() < small.half()).all()
    assert (more_seeds.half() < small.half()).all()


def test_rows_of_their_own_for_every_seed_take_the_wider_of_seeds_and_rows():
    draw = np.random.default_rng(1)
    calm = [draw.normal(size=40) for _ in range(5)]
    found = by_seed([each - each.mean() + 1 for each in calm], bounded=False)
    z = stats.t.ppf(0.975, 5 * 40 - 5)
    row = sum(each.var(ddof=1) / 40 for each in calm) / 25
    assert float(found.half()) == pytest.approx(z * math.sqrt(row))
    wild = [each + 10 * place for place, each in enumerate(calm)]
    low, high = stats.t.interval(0.95, 4, scale=stats.sem([each.mean() for each in wild]))
    assert float(by_seed(wild, bounded=False).half()) == pytest.approx(high)
    assert float(by_seed([np.zeros(40)] * 5, bounded=True).half()) == 1 / 200
    assert low == -high


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_p_value_is_where_the_interval_begins_to_hold_zero(seeds):
    draw = np.random.default_rng(seeds)
    tables = draw.normal(size=(50, seeds, 1)) / 3 + draw.normal(size=(50, seeds, 30)) + 0.3
    found = crossed(tables, bounded=False)
    p = p_value(found)
    size = np.abs(found.mean)
    assert (size >= found.half(p * 1.0001)).all()
    assert (size <= found.half(p * 0.9999)).all()
    assert ((p <= 0.05) == (size > found.half(0.05))).all()


def test_the_p_value_over_seeds_is_that_of_the_t_test():
    gaps = [0.1, 0.3, 0.2, 0.25]
    expected = stats.ttest_1samp(gaps, 0).pvalue
    found = OverSeeds(np.mean(gaps), np.var(gaps, ddof=1) / 4, 4)
    assert float(p_value(found)) == pytest.approx(expected, rel=1e-6)
    assert student_p(np.mean(gaps) / stats.sem(gaps), 4) == pytest.approx(expected)


@pytest.mark.parametrize(("differing", "least"), [(1, 1), (5, 1 / 16), (6, 1 / 32), (9, 2**-8)])
def test_few_differing_rows_are_no_proof(differing, least):
    table = np.zeros((3, 5000))
    table[:, :differing] = 1
    assert float(p_value(crossed(table, bounded=False), differing)) >= least


def test_holm_is_that_of_the_book():
    found = holm(np.array([[0.01, 0.04, 0.03, 0.005], [1.0, 1.0, 0.02, 0.5]]))
    assert found[0] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert found[1] == pytest.approx([1.0, 1.0, 0.08, 1.0])
    assert holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_intervals_of_a_normal_model_hold_the_truth(seeds):
    held = []
    for place, shares in enumerate(worlds.SHARES):
        found, truth = worlds.normal_tables(shares, seeds, 200, 20_000, place)
        held.append(float((np.abs(found.mean - truth) <= found.half()).mean()))
    assert np.mean(held) >= 0.94
    assert min(held) >= 0.94
    assert max(held) <= 0.985


def null_looks(world, seeds, rows, comparisons, portion=50):
    """Differences in accuracy of comparisons in which no arm differs: (portion, 3, 2, S, R)."""
    draw = np.random.default_rng(seeds)
    for _ in range(comparisons // portion):
        yield worlds.looks(worlds.logits(world, (portion, 4, 2, seeds, rows), draw))


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_intervals_of_realistic_rows_hold_the_truth(seeds):
    held = [
        np.abs((found := crossed(looks, bounded=True)).mean) <= found.half()
        for looks in null_looks(worlds.WORLDS[0], seeds, 200, 100)
    ]
    assert np.mean(held) >= 0.94


def test_where_nothing_differs_hardly_anything_is_marked():
    """2,000 comparisons of three arms, mean peer and ensemble, three seeds."""
    marked, alone = [], []
    for looks in null_looks(worlds.WORLDS[0], 3, 100, 2000):
        found = crossed(looks, bounded=True)
        p = p_value(found, (looks != 0).any(-2).sum(-1))
        marked += (holm(p.reshape(len(p), -1)) <= 0.05).any(-1).tolist()
        student = stats.t.ppf(0.975, 2) * np.sqrt(found.seed)
        alone += (np.abs(found.mean) > student).any((-1, -2)).tolist()
    assert len(marked) == 2000
    assert np.mean(marked) <= 0.06
    assert np.mean(alone) > 0.15, "what was done before: intervals over seeds, one by one"
