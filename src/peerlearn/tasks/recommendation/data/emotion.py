"""Valence and arousal of items, from what was measured of their sound or what they are tagged.

The words below and their numbers are our own judgement, in the manner of Russell (1980), "A
circumplex model of affect": valence from unpleasant to pleasant, arousal from calm to excited, each
in [−1, 1]. They are no published lexicon, and what is learnt of them is a demonstration.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from peerlearn.tasks.recommendation.data.raw import Flags, Floats, Table, Tags

MOODS: Mapping[str, tuple[float, float]] = MappingProxyType({
    "happy": (0.9, 0.5), "fun": (0.8, 0.6), "party": (0.7, 0.9), "upbeat": (0.7, 0.7),
    "feelgood": (0.8, 0.4), "uplifting": (0.8, 0.5), "energetic": (0.5, 0.9), "epic": (0.4, 0.7),
    "catchy": (0.6, 0.5), "danceable": (0.6, 0.7), "sexy": (0.5, 0.4), "sensual": (0.5, 0.0),
    "powerful": (0.3, 0.8), "beautiful": (0.6, -0.3), "lovely": (0.7, -0.2), "sweet": (0.7, -0.2),
    "cute": (0.7, 0.1), "romantic": (0.6, -0.3), "love": (0.6, 0.0), "dreamy": (0.4, -0.6),
    "chillout": (0.4, -0.7), "chill": (0.4, -0.7), "relax": (0.5, -0.8), "relaxing": (0.5, -0.8),
    "soothing": (0.5, -0.8), "mellow": (0.2, -0.6), "ambient": (0.1, -0.8),
    "ethereal": (0.2, -0.6), "hypnotic": (0.0, -0.3), "nostalgic": (0.0, -0.3),
    "melancholic": (-0.6, -0.5), "melancholy": (-0.6, -0.5), "sad": (-0.8, -0.4),
    "emotional": (-0.1, 0.2), "haunting": (-0.4, -0.1), "dark": (-0.6, 0.1),
    "miserable": (-0.9, -0.3), "intense": (-0.1, 0.8),
})  # fmt: skip
MEASURED = ("valence", "energy")
"""Columns of a table, each in [0, 1], that stand for valence and arousal."""


def measured_emotion(table: Table, there_I: Flags) -> Floats | None:
    """float32 (I, 2) of the columns valence and energy, 2v − 1; None without such columns."""
    if (values := _measured(table)) is None or on_another_scale(table):
        return None
    emotion = 2 * values.astype(np.float64) - 1
    return np.where(there_I[:, None], emotion, np.nan).astype(np.float32)


def on_another_scale(table: Table) -> bool:
    """Whether there are such columns with values outside [0, 1], which are no emotion then."""
    values = _measured(table)
    return values is not None and bool(((values < 0) | (values > 1)).any())


def _measured(table: Table) -> Floats | None:
    if not set(MEASURED) <= set(table.columns):
        return None
    return table.x_IF[:, [table.columns.index(name) for name in MEASURED]]


def tagged_emotion(tags: Tags, there_I: Flags) -> Floats:
    """float32 (I, 2): the mean of the moods that an item is tagged with; NaN without any."""
    moods = np.array([MOODS.get(name.lower(), (np.nan, np.nan)) for name in tags.names.tolist()])
    values = moods.reshape(-1, 2)[tags.tag]
    known = ~np.isnan(values[:, 0])
    items = len(there_I)
    times = np.bincount(tags.item[known], minlength=items)
    sums = [np.bincount(tags.item[known], values[known, side], items) for side in range(2)]
    some = (times > 0) & there_I
    mean = np.stack(sums, 1) / times.clip(1)[:, None]
    return np.where(some[:, None], mean, np.nan).astype(np.float32)
