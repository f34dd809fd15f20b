"""Networks whose weights have a distribution: mean-field layers, and any network made of them."""

from peerlearn.models.bayesian.adopt import adopt
from peerlearn.models.bayesian.convert import to_bayesian
from peerlearn.models.bayesian.dropout import with_dropout
from peerlearn.models.bayesian.layers import (
    METHODS,
    BayesianConv1d,
    BayesianConv2d,
    BayesianConv3d,
    BayesianConvTranspose1d,
    BayesianConvTranspose2d,
    BayesianConvTranspose3d,
    BayesianEmbedding,
    BayesianLinear,
)
from peerlearn.models.bayesian.network import BayesianNetwork, is_bayesian, to_deterministic
from peerlearn.models.bayesian.objective import Variational
from peerlearn.models.bayesian.posterior import (
    Gaussian,
    frozen_noise,
    kl_divergence,
    mean_mode,
    posterior,
)

__all__ = [
    "METHODS",
    "BayesianConv1d",
    "BayesianConv2d",
    "BayesianConv3d",
    "BayesianConvTranspose1d",
    "BayesianConvTranspose2d",
    "BayesianConvTranspose3d",
    "BayesianEmbedding",
    "BayesianLinear",
    "BayesianNetwork",
    "Gaussian",
    "Variational",
    "adopt",
    "frozen_noise",
    "is_bayesian",
    "kl_divergence",
    "mean_mode",
    "posterior",
    "to_bayesian",
    "to_deterministic",
    "with_dropout",
]
