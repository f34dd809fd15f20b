"""Networks of which some submodules train while the others stay as they are.

A submodule is given by its name, such as `stage` or `heads.known`; None stands for the whole.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

Submodules = Collection[str] | None


def is_within(name: str, submodules: Submodules) -> bool:
    """Whether a module, parameter or buffer called `name` belongs to one of the submodules."""
    return submodules is None or any(
        name == each or name.startswith(f"{each}.") for each in submodules
    )


@contextmanager
def learning_only(networks: Iterable[nn.Module], submodules: Submodules) -> Iterator[None]:
    """Run a block in which parameters outside of `submodules` do not ask for a gradient."""
    resting = [
        parameter
        for network in networks
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and not is_within(name, submodules)
    ]
    for parameter in resting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in resting:
            parameter.requires_grad_(True)


def train_submodules(network: nn.Module, submodules: Submodules) -> None:
    """Training mode for `submodules` and what they are in; all else runs as it is evaluated.

    Raises AttributeError: the network has no such submodule.
    """
    network.train()
    around = set()
    for each in submodules or ():
        network.get_submodule(each)
        names = each.split(".")
        around |= {".".join(names[:depth]) for depth in range(len(names))}
    for name, module in network.named_modules():
        if name not in around and not is_within(name, submodules):
            module.training = False


def weights_of(network: nn.Module, submodules: Submodules) -> Mapping[str, Tensor]:
    """Parameters and buffers of the submodules, by their names in the network."""
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if is_within(name, submodules)}


def joined(several: Iterable[Submodules]) -> Submodules:
    """Everything that is in one of them."""
    together: set[str] = set()
    for submodules in several:
        if submodules is None:
            return None
        together |= set(submodules)
    return together
