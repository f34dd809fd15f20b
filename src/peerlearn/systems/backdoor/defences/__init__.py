"""Rival defences, which purify a poisoned network with clean rows: one file and one line each."""

from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny

from peerlearn.systems.backdoor.choice import chosen_by
from peerlearn.systems.backdoor.defences.base import Defence
from peerlearn.systems.backdoor.defences.fp import FinePruning
from peerlearn.systems.backdoor.defences.fst import FeatureShiftTuning
from peerlearn.systems.backdoor.defences.ft_sam import SharpnessAwareTuning

DEFENCES: dict[str, type[Defence]] = {
    "fp": FinePruning,
    "ft-sam": SharpnessAwareTuning,
    "fst": FeatureShiftTuning,
}
#: A defence by its name, or by a mapping with its `method` and its options.
AnyDefence = Annotated[SerializeAsAny[Defence], BeforeValidator(chosen_by("method", DEFENCES))]
