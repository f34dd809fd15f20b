"""Finished runs put to use: opened, evaluated on any data, asked about new rows."""

from peerlearn.serving.assignments import assignments, write_assignments
from peerlearn.serving.evaluate import evaluate_run
from peerlearn.serving.labels import write_labels
from peerlearn.serving.mask_files import write_masks
from peerlearn.serving.predictor import Predictor
from peerlearn.serving.run import TrainedRun, open_run
from peerlearn.serving.tiling import Tiling

__all__ = [
    "Predictor",
    "Tiling",
    "TrainedRun",
    "assignments",
    "evaluate_run",
    "open_run",
    "write_assignments",
    "write_labels",
    "write_masks",
]
