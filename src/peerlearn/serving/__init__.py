"""Finished runs put to use: opened, evaluated on any data, asked about new rows."""

from peerlearn.serving.loaded import Loaded, Predicted, load
from peerlearn.serving.predictor import Predictor
from peerlearn.serving.run import TrainedRun, evaluate_run, open_run

__all__ = [
    "Loaded",
    "Predicted",
    "Predictor",
    "TrainedRun",
    "evaluate_run",
    "load",
    "open_run",
]
