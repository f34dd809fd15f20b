"""Features of items from tables, and from counts of tags and words.

Shape suffixes: I items, F features, W words or tags.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from peerlearn.randomness import derive_seed
from peerlearn.tasks.recommendation.data.dataset import Modality
from peerlearn.tasks.recommendation.data.raw import NOBODY, TRAIN, Flags, Floats, Raw, Tags
from peerlearn.tasks.recommendation.data.splits import Parts


def of_table(x_IF: Floats, there_I: Flags, standardise: bool) -> Modality:
    """A table as it is, or each feature to mean 0 and deviation 1 over the items that are there.

    A feature that is the same for all of them becomes 0.
    """
    rows = x_IF[there_I].astype(np.float64)
    if standardise and len(rows):
        deviation = rows.std(0)
        rows = (rows - rows.mean(0)) / np.where(deviation > 0, deviation, 1)
    return _placed(rows, there_I, x_IF.shape[1])


def of_counts(counts_IW: Any, there_I: Flags, components: int, name: str) -> Modality:
    """TF-IDF of counts, then the leading components of a truncated SVD of it.

    (1 + ln count)·(1 + ln((1 + n)/(1 + n_w))) of the n items that are there, n_w of which have the
    word, each row to length 1. All components are divided by one number, so that the mean square of
    the features is 1 and the leading ones keep their weight. Where the counts have fewer
    dimensions than `components`, the last features are 0.
    """
    # Imported here: scikit-learn takes most of a second, and every list of data sets comes by.
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer

    rows = sp.csr_array(counts_IW)[np.flatnonzero(there_I)]
    rows.eliminate_zeros()  # a word that occurs 0 times has no logarithm
    rows = rows[:, np.flatnonzero(rows.sum(0) > 0)]
    kept = min(components, *rows.shape)
    if not kept:
        return _placed(np.zeros((rows.shape[0], components)), there_I, components)
    if rows.shape[1] == 1:  # rows of length 1 are all the same, and scikit-learn refuses them
        return _placed(np.eye(1, components).repeat(rows.shape[0], 0), there_I, components)
    weights = TfidfTransformer(sublinear_tf=True).fit_transform(rows)
    # What is random of it is where the iteration starts: the same for every run.
    start = derive_seed(0, "truncated svd", name) % (1 << 32)
    with np.errstate(invalid="ignore"):  # of rows that are all the same it divides by variance 0
        x = TruncatedSVD(kept, n_iter=7, random_state=start).fit_transform(weights)
    scale = np.sqrt(np.mean(np.square(x)))
    padded = np.zeros((len(x), components))
    padded[:, :kept] = x / (scale if scale > 0 else 1)
    return _placed(padded, there_I, components)


def training_tags(raw: Raw, part_N: Parts) -> tuple[Tags, int]:
    """(tags, how many were dropped): without any assignment by a user to an item held out of train.

    Who tagged an artist has listened to it: such an assignment gives away a pair of test.
    """
    tags = raw.tags
    assert tags is not None, "asked for where there are some"
    held_out = part_N != TRAIN
    pairs = raw.user_N[held_out] * len(raw.items) + raw.item_N[held_out]
    leaks = (tags.user != NOBODY) & np.isin(tags.user * len(raw.items) + tags.item, pairs)
    return tags.select(~leaks), int(leaks.sum())


def tag_counts(tags: Tags, items: int) -> Any:
    """How often each item was given each tag, sparse (I, W)."""
    ones = np.ones(len(tags.tag))
    counts = sp.coo_array((ones, (tags.item, tags.tag)), shape=(items, len(tags.names))).tocsr()
    counts.sum_duplicates()
    return counts


def _placed(rows_nF: Floats, there_I: Flags, width: int) -> Modality:
    x_IF = np.zeros((len(there_I), width), np.float32)
    x_IF[there_I] = rows_nF
    return Modality(torch.from_numpy(x_IF), torch.from_numpy(there_I.copy()))
