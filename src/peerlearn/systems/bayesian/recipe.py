"""Bayesian cohorts (Pham et al. 2023): diverse posteriors and features, predictions that agree."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _bayesian_task() -> type[Any]:
    from peerlearn.systems.bayesian.task import BayesianTask

    return BayesianTask


BAYESIAN = Recipe(
    name="bayesian",
    title="Bayesian mutual learning",
    summary="Bayesian networks whose posteriors and features differ and whose predictions agree",
    find_task=_bayesian_task,
)
