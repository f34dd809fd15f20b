"""Networks of which some parts train while the others stay as they are.

A part is the name of a submodule, such as `stage` or `heads.known`; None stands for the whole.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

Parts = Collection[str] | None


def is_within(name: str, parts: Parts) -> bool:
    """Whether a module, parameter or buffer called `name` belongs to one of the parts."""
    return parts is None or any(name == part or name.startswith(f"{part}.") for part in parts)


@contextmanager
def learning_only(networks: Iterable[nn.Module], parts: Parts) -> Iterator[None]:
    """Run a block in which parameters outside of `parts` do not ask for a gradient."""
    resting = [
        parameter
        for network in networks
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and not is_within(name, parts)
    ]
    for parameter in resting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in resting:
            parameter.requires_grad_(True)


def train_parts(network: nn.Module, parts: Parts) -> None:
    """Training mode for `parts` and what they are in; everything else runs as it is evaluated.

    Raises:
        AttributeError: the network has no such part.
    """
    network.train()
    around = set()
    for part in parts or ():
        network.get_submodule(part)
        names = part.split(".")
        around |= {".".join(names[:depth]) for depth in range(len(names))}
    for name, module in network.named_modules():
        if name not in around and not is_within(name, parts):
            module.training = False


def weights_of(network: nn.Module, parts: Parts) -> Mapping[str, Tensor]:
    """Parameters and buffers of the parts, by their names in the network."""
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if is_within(name, parts)}


def joined_parts(several: Iterable[Parts]) -> Parts:
    """Everything that is in one of them."""
    together: set[str] = set()
    for parts in several:
        if parts is None:
            return None
        together |= set(parts)
    return together
