"""Layers of bayesian-torch (Krishnan et al., Intel Labs) as those of here.

They are known by what they hold, so that the package need not be there: `mu_weight` and
`rho_weight`, or `mu_kernel` and `rho_kernel`; `mu_bias` and `rho_bias`; `prior_weight_mu` and
`prior_weight_sigma`, whose argument is named `prior_variance` and is a standard deviation.
"""

from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.models.bayesian.convert import BAYESIAN
from peerlearn.models.bayesian.posterior import MeanField, Start, give_posterior

STRAIGHT: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED: tuple[Any, ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def adopt(network: nn.Module) -> nn.Module:
    """Put layers of here in the place of bayesian-torch's, with their very parameters.

    So an optimiser goes on with them; in a state they are named `weight` and `weight_rho`, and
    priors are in it. What they draw by follows from their class: flipout, or one draw for a batch.
    Their KL is then the sum over weights, where bayesian-torch has the mean of every tensor.

    Returns the network itself, or of a layer alone the one in its place. One without such layers
    stays as it is.

    Raises InputError: a layer, by name, that returns (output, KL), which whoever calls it expects;
    that is none of the linear and convolutional ones; or whose priors differ in width.
    """
    foreign = [(path, module) for path, module in network.named_modules() if _name(module)]
    made = {path: _ours(module, path or "the layer") for path, module in foreign}
    for path, layer in made.items():
        if not path:
            return layer
        above, _, name = path.rpartition(".")
        setattr(network.get_submodule(above), name, layer)
    return network


def _name(module: nn.Module) -> str | None:
    if not hasattr(module, "dnn_to_bnn_flag"):
        return None
    held, names = module._parameters.keys(), ("weight", "kernel")
    return next((name for name in names if {f"mu_{name}", f"rho_{name}"} <= held), None)


def _ours(foreign: Any, path: str) -> MeanField:
    if not foreign.dnn_to_bnn_flag:
        raise InputError(
            f"{path}: {type(foreign).__name__} returns its KL beside its output; set its "
            "dnn_to_bnn_flag, and have the network read outputs alone"
        )
    name = _name(foreign)
    mean: Tensor = getattr(foreign, f"mu_{name}")
    layer = _plain(foreign, mean, path)
    layer.__class__ = BAYESIAN[type(layer)]
    assert isinstance(layer, MeanField)
    layer.weight, layer.bias = mean, foreign.mu_bias
    parts = {"weight": name, **({} if foreign.mu_bias is None else {"bias": "bias"})}
    centres = {part: getattr(foreign, f"prior_{part}_mu") for part in parts}
    widths = torch.cat([getattr(foreign, f"prior_{part}_sigma").flatten() for part in parts])
    if not torch.equal(widths.min(), widths.max()):
        raise InputError(f"{path}: priors of several widths; allowed: one for a layer")
    moved = any(bool(centre.any()) for centre in centres.values())
    method = "flipout" if "Flipout" in type(foreign).__name__ else "reparameterisation"
    prior = "empirical" if moved else "fixed"
    give_posterior(layer, Start(prior=prior, prior_std=float(widths[0]), method=method))  # type: ignore[arg-type]
    for part, theirs in parts.items():
        setattr(layer, f"{part}_rho", getattr(foreign, f"rho_{theirs}"))
        if moved:
            setattr(layer, f"{part}_prior_mean", centres[part].detach().clone())
    return layer.train(foreign.training)


def _plain(foreign: Any, mean: Tensor, path: str) -> nn.Module:
    """torch's layer of the shape and hyper-parameters of theirs."""
    biased, positions = foreign.mu_bias is not None, mean.ndim - 2
    options: dict[str, Any] = {"bias": biased, "device": "meta"}
    if positions == 0:
        return nn.Linear(mean.shape[1], mean.shape[0], **options)
    kind = type(foreign).__name__
    if "Conv" not in kind or positions not in (1, 2, 3):
        raise InputError(f"{path}: {kind}; allowed: linear and convolutional layers")
    options |= {key: getattr(foreign, key) for key in ("stride", "padding", "dilation", "groups")}
    channels = (foreign.in_channels, foreign.out_channels, tuple(mean.shape[2:]))
    if "Transpose" not in kind:
        return STRAIGHT[positions - 1](*channels, **options)
    options["output_padding"] = foreign.output_padding
    return TRANSPOSED[positions - 1](*channels, **options)
