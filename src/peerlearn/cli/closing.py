"""The last lines of a comparison: what was gained, and what to do next on data of one's own."""

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from peerlearn.metrics.catalogue import Catalogue
from peerlearn.report.statistics import Contrast, contrasts, paired_difference
from peerlearn.report.words import (
    counted,
    difference_text,
    interval_text,
    main_difference,
    outcomes,
    plain_spaces,
)
from peerlearn.results import Results

if TYPE_CHECKING:
    from peerlearn.systems.recipe import Recipe

WIDTH = 80


def closing_lines(results: Results, recipe: "Recipe", rows: str = "test rows") -> list[str]:
    """For a terminal; none of a recipe that has nothing to say of data of one's own.

    How to go on with them is said after a comparison on other data than one's own: the recipe's.

    Args:
        results: of a comparison.
        recipe: the system.
        rows: what arms were measured on, in words.
    """
    if not recipe.own_data:
        return []
    metrics = recipe.metrics.told(results.get("metrics"))
    said = [f"  {sentence}" for sentence in _gained(results, metrics)]
    head = [f"What was gained, on {rows}:"] if said else []
    gained = [line for each in said for line in wrap(each, WIDTH, subsequent_indent="    ")]
    given = recipe.defaults().get("data") or {}
    known = results.get("data") == (given.get("name") if isinstance(given, dict) else given)
    return [*head, *gained, *(recipe.own_data if known else ())]


def _gained(results: Results, metrics: Catalogue) -> Iterator[str]:
    """The main difference, calibration, and what one peer is beside the ensemble of the others."""
    read = contrasts(results.get("differences", []), metrics)
    main = main_difference(read, metrics)
    if main is None:
        return
    pair = [entry for entry in read if (entry.arm, entry.against) == (main.arm, main.against)]
    yield from map(plain_spaces, outcomes(pair, metrics))
    name = main.metric.name
    one, together = (results["arms"][arm] for arm in (main.arm, main.against))
    several = len(together.get("peers", {}))
    if main.who != "mean_peer" or several < 2 or name not in together.get("ensemble", {}):
        return
    values = one["mean_peer"][name]["values"], together["ensemble"][name]["values"]
    about = {"arm": main.arm, "against": main.against, "who": "mean_peer", "metric": name}
    found = Contrast.read(about | paired_difference(*values), metrics)
    beside = f"One network of {main.arm} beside the ensemble of {several} of {main.against}"
    interval = f" {interval_text(found)}" if found.interval else ""
    seeds = f" over {counted(found.n, 'seed')}" if found.n else ""
    yield plain_spaces(f"{beside}, not tested: {difference_text(found)}{interval}{seeds}.")
