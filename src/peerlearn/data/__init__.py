"""Data sets, splits, batched augmentation and loaders."""

from peerlearn.data.augment import Normalisation, augment, normalise
from peerlearn.data.datasets import Batch, BatchLoader, Dataset, Source, Split
from peerlearn.data.info import DataInfo, RowInfo
from peerlearn.data.loaders import ArrayLoader, evaluation_batches, train_loader
from peerlearn.data.registry import DATASETS, load_dataset
from peerlearn.data.spec import AugmentSpec, DataSpec, NamedDataSpec
from peerlearn.data.splits import build_dataset

__all__ = [
    "DATASETS",
    "ArrayLoader",
    "AugmentSpec",
    "Batch",
    "BatchLoader",
    "DataInfo",
    "DataSpec",
    "Dataset",
    "NamedDataSpec",
    "Normalisation",
    "RowInfo",
    "Source",
    "Split",
    "augment",
    "build_dataset",
    "evaluation_batches",
    "load_dataset",
    "normalise",
    "train_loader",
]
