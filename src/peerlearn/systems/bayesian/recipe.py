"""Bayesian cohorts (Pham et al. 2023): diverse posteriors and features, predictions that agree."""

from peerlearn.systems.bayesian.task import BayesianTask
from peerlearn.systems.recipe import Recipe

BAYESIAN = Recipe(
    name="bayesian",
    title="Bayesian mutual learning",
    summary="Bayesian networks whose posteriors and features differ and whose predictions agree",
    task=BayesianTask,
)
