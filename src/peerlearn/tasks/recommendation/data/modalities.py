"""What items are like, in every respect that is asked for and to be seen.

What is hidden by `data.missing`, left out by `data.without` or would give away held-out pairs goes
before features are made, so that none of it is in a mean, a weight of a word or a component.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.account import Account, counted
from peerlearn.errors import unknown_name
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.recommendation.data.dataset import Modality
from peerlearn.tasks.recommendation.data.emotion import (
    MEASURED,
    measured_emotion,
    on_another_scale,
    tagged_emotion,
)
from peerlearn.tasks.recommendation.data.features import (
    of_counts,
    of_table,
    tag_counts,
    training_tags,
)
from peerlearn.tasks.recommendation.data.raw import Flags, Floats, Raw
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec
from peerlearn.tasks.recommendation.data.splits import Parts

TAGS = "tags"
FROM_TAG_LISTS = "text_minilm"
"""A modality of `lastfm_features.npz` that is made of tags, also those of held-out pairs."""


class Described(NamedTuple):
    """What is known of items.

    Attributes:
        modalities: by name.
        emotion_I2: as in `RecommendationDataset`.
        account: what was hidden and what was dropped.
    """

    modalities: dict[str, Modality]
    emotion_I2: Tensor | None
    account: Account


def described(raw: Raw, part_N: Parts, spec: RecommendationDataSpec) -> Described:
    """Features of every modality that is not left out, and the emotion of items.

    Emotion is what the data give. Else it is what a table with the columns valence and energy says
    where it is to be seen, and elsewhere what mood tags say.

    Raises InputError: `data.without` names a modality that is not there.
    """
    for name in spec.without:
        if name not in raw.modalities:
            raise unknown_name("modality", name, raw.modalities, field="data.without")
    modalities: dict[str, Modality] = {}
    emotions: list[Floats] = []
    notes: list[str] = []
    for name, table in raw.tables.items():
        if name not in spec.without:
            there = shown(~np.asarray(np.isnan(table.x_IF).any(1)), spec, name)
            modalities[name] = of_table(table.x_IF, there, spec.standardise)
            if (measured := measured_emotion(table, there)) is not None:
                emotions.append(measured)
            elif on_another_scale(table):
                notes.append(
                    f"{name}: {' and '.join(MEASURED)} are not all in 0 to 1, so they are no "
                    "emotion of items"
                )
    for name, counts in raw.bags.items():
        if name not in spec.without:
            there = shown(np.asarray(counts.sum(1)).reshape(-1) > 0, spec, name)
            modalities[name] = of_counts(counts, there, spec.components, name)
    if raw.tags is not None and TAGS not in spec.without:
        tags, dropped = training_tags(raw, part_N)
        counts = tag_counts(tags, len(raw.items))
        there = shown(np.asarray(counts.sum(1)).reshape(-1) > 0, spec, TAGS)
        modalities[TAGS] = of_counts(counts, there, spec.components, TAGS)
        emotions.append(tagged_emotion(tags, there))
        notes.append(
            f"{TAGS}: {counted(dropped, 'assignment')} to pairs of val and test dropped, of "
            f"{len(raw.tags.tag):,}"
        )
    if raw.tags is not None and FROM_TAG_LISTS in modalities:
        notes.append(
            f"{FROM_TAG_LISTS}: made of lists of tags, of which those given by users of held-out "
            "pairs cannot be taken out"
        )
    emotion_I2 = raw.emotion_I2 if raw.emotion_I2 is not None else _first(emotions)
    modalities = {name: modalities[name] for name in raw.modalities if name in modalities}
    notes = [*_notes(modalities, emotion_I2, spec), *notes]
    emotion = None if emotion_I2 is None else torch.from_numpy(emotion_I2.astype(np.float32))
    return Described(modalities, emotion, Account(notes=tuple(notes)))


def shown(there_I: Flags, spec: RecommendationDataSpec, name: str) -> Flags:
    """Items of a modality that are there and not hidden by `data.missing`.

    Of those there, the share to hide is taken in an order that the split seed and the name give:
    what is hidden at .2 is hidden at .4, whatever else there is.
    """
    generator = keyed_generator(spec.split_seed, "missing modality", name)
    chance = torch.rand(len(there_I), generator=generator, dtype=torch.float64).numpy()
    items = np.flatnonzero(there_I)
    hidden = items[np.argsort(chance[items], kind="stable")]
    visible = there_I.copy()
    visible[hidden[: int(np.floor(spec.missing * len(items) + 0.5))]] = False
    return visible


def _first(emotions: list[Floats]) -> Floats | None:
    """Of several tables (I, 2), the first that says something of an item; None without any."""
    if not emotions:
        return None
    found = emotions[0]
    for other in emotions[1:]:
        found = np.where(np.isnan(found), other, found)
    return None if np.isnan(found).all() else found


def _notes(
    modalities: dict[str, Modality], emotion_I2: Floats | None, spec: RecommendationDataSpec
) -> list[str]:
    each = [
        f"{name} of {counted(known, 'item')} ({counted(width, 'feature')})"
        for name, it in modalities.items()
        for known, width in [(int(it.there_I.sum()), it.x_IF.shape[1])]
    ]
    notes = [f"modalities: {', '.join(each) or 'none'}"]
    if spec.without:
        notes.append(f"data.without: {', '.join(spec.without)} left out")
    if spec.missing and modalities:
        notes.append(f"data.missing: {spec.missing:g} of the items of each modality are hidden")
    if modalities:
        there = torch.stack([it.there_I for it in modalities.values()]).any(0)
        if bare := int((~there).sum()):
            notes.append(f"{counted(bare, 'item')} without any modality: kept")
    if emotion_I2 is not None:
        known = int((~np.isnan(emotion_I2).any(1)).sum())
        notes.append(f"valence and arousal of {counted(known, 'item')}")
    return notes
