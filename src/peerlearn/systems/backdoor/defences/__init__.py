"""Rival defences, which purify a poisoned network with clean rows: one file and one line each."""

from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny

from peerlearn.systems.backdoor.choice import chosen_by
from peerlearn.systems.backdoor.defences.anp import AdversarialNeuronPruning
from peerlearn.systems.backdoor.defences.base import Defence
from peerlearn.systems.backdoor.defences.fp import FinePruning
from peerlearn.systems.backdoor.defences.fst import FeatureShiftTuning
from peerlearn.systems.backdoor.defences.ft_sam import SharpnessAwareTuning
from peerlearn.systems.backdoor.defences.ibau import AdversarialUnlearning
from peerlearn.systems.backdoor.defences.nad import AttentionDistillation
from peerlearn.systems.backdoor.defences.rnp import ReconstructiveNeuronPruning

DEFENCES: dict[str, type[Defence]] = {
    "fp": FinePruning,
    "nad": AttentionDistillation,
    "anp": AdversarialNeuronPruning,
    "ibau": AdversarialUnlearning,
    "ft-sam": SharpnessAwareTuning,
    "fst": FeatureShiftTuning,
    "rnp": ReconstructiveNeuronPruning,
}
#: A defence by its name, or by a mapping with its `method` and its options.
AnyDefence = Annotated[SerializeAsAny[Defence], BeforeValidator(chosen_by("method", DEFENCES))]
