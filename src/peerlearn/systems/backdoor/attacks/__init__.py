"""Attacks on training data: one file and one line each."""

from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny

from peerlearn.systems.backdoor.attacks.badnets import BadNets
from peerlearn.systems.backdoor.attacks.base import Attack
from peerlearn.systems.backdoor.attacks.blended import Blended
from peerlearn.systems.backdoor.attacks.sig import Sig
from peerlearn.systems.backdoor.attacks.wanet import WaNet
from peerlearn.systems.backdoor.choice import chosen_by

ATTACKS: dict[str, type[Attack]] = {
    "badnets": BadNets,
    "blended": Blended,
    "sig": Sig,
    "wanet": WaNet,
}
#: An attack by its name, or by a mapping with its `kind` and its options.
AnyAttack = Annotated[SerializeAsAny[Attack], BeforeValidator(chosen_by("kind", ATTACKS))]
