"""Attacks on training data: one file and one line each."""

from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny

from peerlearn.systems.backdoor.attacks.badnets import BadNets
from peerlearn.systems.backdoor.attacks.base import Attack
from peerlearn.systems.backdoor.attacks.blended import Blended
from peerlearn.systems.backdoor.attacks.input_aware import InputAware
from peerlearn.systems.backdoor.attacks.label_consistent import LabelConsistent
from peerlearn.systems.backdoor.attacks.lf import LowFrequency
from peerlearn.systems.backdoor.attacks.narcissus import Narcissus
from peerlearn.systems.backdoor.attacks.sig import Sig
from peerlearn.systems.backdoor.attacks.trojan import Trojan
from peerlearn.systems.backdoor.attacks.wanet import WaNet
from peerlearn.systems.backdoor.choice import chosen_by

ATTACKS: dict[str, type[Attack]] = {
    "badnets": BadNets,
    "blended": Blended,
    "sig": Sig,
    "label_consistent": LabelConsistent,
    "wanet": WaNet,
    "input_aware": InputAware,
    "trojan": Trojan,
    "lf": LowFrequency,
    "narcissus": Narcissus,
}
#: An attack by its name, or by a mapping with its `kind` and its options.
AnyAttack = Annotated[SerializeAsAny[Attack], BeforeValidator(chosen_by("kind", ATTACKS))]
