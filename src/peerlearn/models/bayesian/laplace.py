"""Laplace's approximation of the last layer: a posterior for a network trained without one.

Daxberger et al., "Laplace Redux: Effortless Bayesian Deep Learning", NeurIPS 2021, with a diagonal
curvature and probabilities that are means over draws. Of the last linear layer of a classifier the
generalised Gauss-Newton matrix is the Hessian of its cross-entropy, and its diagonal is exact.

Shape suffixes: B rows, C classes (or labels), K inputs of the layer.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.models.bayesian.layers import BayesianLinear
from peerlearn.models.bayesian.network import BayesianNetwork
from peerlearn.models.bayesian.posterior import mean_field_layers, mean_mode
from peerlearn.modes import evaluating
from peerlearn.transfer.outputs import OutputForm, as_peer_output

UNKNOWN_STD = 1e-30
"""σ of a layer whose posterior is not known yet: its draws are its means."""


def wait_for_laplace(network: nn.Module, field: str = "") -> nn.Module:
    """Leave ρ of a network alone until `fit_laplace`; σ of its layer is `UNKNOWN_STD`.

    Raises InputError: another layer than a linear one has the posterior; names `field`.
    """
    ((path, layer),) = mean_field_layers(network)
    if not isinstance(layer, BayesianLinear):
        where, found = f"{field}: " if field else "", type(layer).__name__
        raise InputError(
            f"{where}posterior 'laplace' is one of a last linear layer; found {path} ({found}); "
            "allowed: gaussian, dropout"
        )
    for name in layer.random_names():
        getattr(layer, f"{name}_rho").requires_grad_(False)
    return network


@torch.no_grad()
def read_for_laplace(peer: BayesianNetwork, x: Any, field: str = "") -> tuple[Tensor, Tensor]:
    """What goes into the layer with the posterior (B, K), and the logits (B, C) of a peer.

    Raises InputError: the logits are not what that layer makes of it; names `field`.
    """
    ((path, layer),) = mean_field_layers(peer.network)
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    try:
        with evaluating(peer), mean_mode(peer):
            logits = as_peer_output(peer.network(x), "peer").logits
            given = inputs.copy()
            if len(given) == 1 and given[0].ndim == 2:
                made = layer(given[0])
                if made.shape == logits.shape and torch.allclose(made, logits):
                    return given[0], logits
    finally:
        hook.remove()
    where = f"{field}: " if field else ""
    raise InputError(
        f"{where}posterior 'laplace' needs a network whose logits are what its last linear layer "
        f"gives, once for each row; those of this one are not what {path} gives; allowed: "
        "gaussian, dropout"
    )


@torch.no_grad()
def fit_laplace(
    peer: BayesianNetwork, batches: Iterable[Any], form: OutputForm = "softmax"
) -> None:
    """Give the last layer the posterior of Laplace's approximation around its weights, in place.

        precision = 1 / prior_std² + Σ_rows p_c (1 − p_c) φ_k²,     σ = precision^(−1/2)

    with the inputs φ of the layer and the probabilities p of all rows; of a bias φ = 1.

    Args:
        peer: trained, with a posterior of its last layer alone.
        batches: of what the peer reads, rows that it was trained on.
        form: of its outputs; p of several labels are sigmoids.
    """
    ((_, layer),) = mean_field_layers(peer)
    assert isinstance(layer, BayesianLinear), "see wait_for_laplace"
    weight = torch.zeros_like(layer.weight, dtype=torch.float64, device="cpu")
    bias = weight.new_zeros(len(weight))
    for x in batches:
        phi_BK, logits_BC = read_for_laplace(peer, x)
        logits_BC = logits_BC.double()
        p_BC = logits_BC.softmax(1) if form == "softmax" else logits_BC.sigmoid()
        slope_BC = (p_BC * (1 - p_BC)).cpu()
        weight += slope_BC.mT @ phi_BK.double().square().cpu()
        bias += slope_BC.sum(0)
    for name, curvature in (("weight", weight), ("bias", bias)):
        if name in layer.random_names():
            std = (curvature + layer.prior_std.double().cpu() ** -2).rsqrt()
            rho = getattr(layer, f"{name}_rho")
            rho.copy_((std + (-std).expm1().neg().log()).to(rho))
