"""Who can be a peer of a cohort, and under which name."""

import re
from collections.abc import Mapping

from torch import nn

from peerlearn.errors import InputError
from peerlearn.names import check_names

#: What a cohort's trunk is called among its peers.
TRUNK = "trunk"


def check_peers(peers: Mapping[str, nn.Module], trunk: nn.Module | None) -> None:
    """See that networks can be peers side by side.

    Raises InputError: none, a name that cannot name a peer, no network, or parameters that two of
    them, or one of them and the trunk, have in common.
    """
    if not peers:
        raise InputError("peers: a cohort needs at least one network, found none")
    check_names(peers, "peers", "peer")
    taken = nn.ModuleDict()  # its own attributes, such as `keys`, cannot name its entries
    owners: dict[int, str] = {}
    for name, module in peers.items():
        if (
            not isinstance(name, str)
            or not re.fullmatch(r"[A-Za-z0-9_-]+", name)
            or name in ("ensemble", "best", "all", "self")
            or hasattr(taken, name)
        ):
            raise InputError(
                f"peers: {name!r} cannot name a peer; use letters, digits, '_' and '-', and none "
                "of: all, best, ensemble, self, nor a method of torch's ModuleDict such as keys or "
                "type"
            )
        if not isinstance(module, nn.Module):
            raise InputError(f"peers.{name}: expected an nn.Module, found {type(module).__name__}")
        for part in (module, *module.parameters()):
            other = owners.setdefault(id(part), name)
            if other != name:
                raise InputError(
                    f"peers: {other!r} and {name!r} share parameters; give each its own network, "
                    "or share on purpose with trunk="
                )
    if trunk is not None and TRUNK in peers:
        raise InputError("peers: 'trunk' cannot name a peer beside a shared trunk")
    for parameter in () if trunk is None else trunk.parameters():
        if id(parameter) in owners:
            raise InputError(
                f"trunk: shares parameters with peer {owners[id(parameter)]!r}; what is in the "
                "trunk must not be in a peer too"
            )
