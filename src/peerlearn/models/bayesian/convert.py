"""Any network as a Bayesian one: its layers get posteriors around the weights that they have; and
the way back, to layers of torch that have the means.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from torch import nn
from torch.nn.utils import parametrize

from peerlearn.errors import InputError, unknown_name
from peerlearn.models.bayesian import layers
from peerlearn.models.bayesian.dropout import stop_drawing
from peerlearn.models.bayesian.posterior import MeanField, Start, give_posterior, take_posterior

BAYESIAN: dict[type[nn.Module], type[MeanField]] = {
    nn.Linear: layers.BayesianLinear,
    nn.Conv1d: layers.BayesianConv1d,
    nn.Conv2d: layers.BayesianConv2d,
    nn.Conv3d: layers.BayesianConv3d,
    nn.ConvTranspose1d: layers.BayesianConvTranspose1d,
    nn.ConvTranspose2d: layers.BayesianConvTranspose2d,
    nn.ConvTranspose3d: layers.BayesianConvTranspose3d,
    nn.Embedding: layers.BayesianEmbedding,
}
WHICH = ("all", "last")
#: What keeps its weights: they scale or shift each channel, and no posterior is known to help.
LEFT = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)


def bayesian_form(kind: type) -> type[MeanField] | None:
    """The class that layers of a class become; None where it has none.

    A class of one's own names it: its `bayesian_form`, a subclass of `MeanField` and of itself. One
    whose own parameters stay as they are, beside layers within it, says `keeps_weights = True`.
    """
    own: type[MeanField] | None = vars(kind).get("bayesian_form")
    return BAYESIAN.get(kind, own)


def to_bayesian(
    network: nn.Module, which: Literal["all", "last"] = "all", *, field: str = "", **start: Any
) -> nn.Module:
    """Give the layers of a network posteriors around the weights they have, in place.

    Layers keep every hyper-parameter, and the names and values of their weights. Norms stay as they
    are. `BayesianNetwork` draws from what comes out.

    Args:
        which: `all`, or the `last` linear or convolutional layer alone, in the order in which the
            network defines them.
        field: of the configuration, for messages.
        start: see `Start`.

    Returns the network itself; a layer alone comes back as one too.

    Raises InputError: weights that no posterior can be given to, by name: of attention, of
    recurrent layers, of layers that are parametrised, shared or frozen, or of one's own; none; a
    last layer with weights that is none of these; or an unknown option.
    """
    where = f"{field}: " if field else ""
    if which not in WHICH:
        raise unknown_name("which", which, WHICH, "which")
    for name in start:
        if name not in (known := [option.name for option in dataclasses.fields(Start)]):
            raise unknown_name("option", name, known, "to_bayesian")
    options = Start(**start)
    chosen = [each for each in network.named_modules() if bayesian_form(type(each[1])) is not None]
    if which == "last":
        chosen = [each for each in chosen if not isinstance(each[1], nn.Embedding)][-1:]
        if chosen and (behind := _behind(network, chosen[0][0])):
            raise InputError(
                f"{where}the last layer with weights is {behind}, which can have no posterior; "
                f"{chosen[0][0]}, before it, is not taken in its place"
            )
    if which == "all" and (faults := list(_refused(network))):
        listed = "".join(f"\n  {fault}" for fault in faults)
        typed = "layers: last" if field else "which='last'"
        raise InputError(
            f"{where}cannot be made Bayesian as a whole:{listed}\n"
            f"Allowed: the last layer alone ({typed})."
        )
    if not chosen:
        kinds = ", ".join(kind.__name__ for kind in BAYESIAN)
        raise InputError(f"{where}no layer to make Bayesian; those are {kinds}")
    owners: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for path, layer in chosen:
        shared = next((n for p in layer.parameters() if len(n := owners[id(p)]) > 1), None)
        if shared is not None:
            raise InputError(
                f"{where}{shared[0]} is {' and '.join(shared[1:])} too; two layers with one weight "
                "need one draw"
            )
        if "weight" not in layer._parameters:  # by a hook of torch.nn.utils
            raise InputError(
                f"{where}{path or 'the layer'} computes its weights from others "
                f"({', '.join(layer._parameters)})"
            )
        if not all(parameter.requires_grad for parameter in layer.parameters()):
            raise InputError(f"{where}{path or 'the layer'} is frozen; posteriors train")
        if getattr(layer, "max_norm", None) is not None:
            raise InputError(
                f"{where}{path or 'the layer'} has max_norm, which shortens its weights in every "
                "forward; allowed: none"
            )
        if getattr(layer, "sparse", False):
            raise InputError(
                f"{where}{path or 'the layer'} has sparse gradients, and its KL has one for every "
                "row; allowed: sparse=False"
            )
    for _, layer in chosen:
        # As its own subclass it keeps whatever it was made with, whoever else refers to it.
        layer.__class__ = bayesian_form(type(layer))
        assert isinstance(layer, MeanField)
        give_posterior(layer, options)
    return network


def with_plain_layers(network: nn.Module) -> nn.Module:
    """A copy whose Bayesian layers are torch's own, with the means as their weights."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, MeanField):
            kinds = type(module).__mro__
            plain = next(each for each in kinds if bayesian_form(each) is type(module))
            take_posterior(module)
            module.__class__ = plain
    stop_drawing(copied)
    return copied


def _refused(network: nn.Module) -> Iterator[str]:
    """Weights that would stay deterministic without anybody having said so."""
    owners: dict[int, str] = {}
    inside: str | None = None
    for path, module in network.named_modules():
        if inside is not None and path.startswith(f"{inside}."):
            continue
        inside, name = None, path or "the network itself"
        if parametrize.is_parametrized(module):
            inside = path
            yield f"{name}: {type(module).__name__} computes its weights from others"
            continue
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.MultiheadAttention):
            inside = path
            yield f"{name}: {type(module).__name__} reads its weights without calling layers"
            continue
        for key, parameter in own.items():
            other = owners.setdefault(id(parameter), f"{name}.{key}")
            if other != f"{name}.{key}":
                yield f"{name}.{key}: is {other} too; two layers with one weight need one draw"
        if bayesian_form(type(module)) is None and _has_weights(module):
            yield (
                f"{name}: {type(module).__name__} is Bayesian already"
                if isinstance(module, MeanField)
                else f"{name}: {type(module).__name__} has weights of its own ({', '.join(own)})"
            )


def _has_weights(module: nn.Module) -> bool:
    """Whether a module has weights of its own that ask for a posterior."""
    kept = isinstance(module, LEFT) or getattr(module, "keeps_weights", False)
    own = any(True for _ in module.parameters(recurse=False))
    return (own or parametrize.is_parametrized(module)) and not kept


def _behind(network: nn.Module, last: str) -> str | None:
    """The last module with weights, in words, where it stands behind layer `last`."""
    found = None
    for path, module in network.named_modules():
        if path == last:
            found = None
        elif "parametrizations" in path.split("."):
            continue  # of a layer that is found itself
        elif bayesian_form(type(module)) is None and _has_weights(module):
            found = f"{path} ({type(module).__name__})"
    return found
