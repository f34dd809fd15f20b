"""What a configuration says of a peer with posteriors: `peers.NAME.bayesian`."""

from typing import Literal

from pydantic import Field
from torch import nn

from peerlearn.models.bayesian.convert import to_bayesian
from peerlearn.models.bayesian.dropout import with_dropout
from peerlearn.models.bayesian.laplace import UNKNOWN_STD, wait_for_laplace
from peerlearn.models.bayesian.layers import WHOLE
from peerlearn.models.bayesian.network import BayesianNetwork
from peerlearn.models.bayesian.objective import Variational
from peerlearn.models.bayesian.posterior import Method, PriorKind
from peerlearn.objectives.base import Objective
from peerlearn.transfer.outputs import OutputForm
from peerlearn.validation import Spec, short_form

MOST_DRAWS = 1 << 16
#: The names of what says how wide posteriors are; see `PeerSettings.groups`.
RHO = "*_rho"


class BayesianSpec(Spec):
    """The `bayesian` block of a peer: posteriors around its weights.

    Blundell et al., "Weight Uncertainty in Neural Networks", ICML 2015. See
    `peerlearn.models.bayesian`.
    """

    posterior: Literal["gaussian", "dropout", "laplace"] = Field(
        "gaussian",
        description="gaussian: mean-field, a σ for every weight; dropout: Monte-Carlo dropout, "
        "which draws in evaluation too and of whose options only layers, dropout and the numbers "
        "of samples count; laplace: that of the last layer, fitted when training is over (recipe "
        "bayesian), of whose options prior_std, biases and test_samples count",
    )
    dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="rate of Monte-Carlo dropout, for networks without dropout layers of their own",
    )
    layers: Literal["all", "last"] = Field(
        "all",
        description="all linear, convolutional and embedding layers, or the last linear or "
        "convolutional one alone; norms keep their weights",
    )
    std: float = Field(
        5e-3,
        gt=0,
        lt=1e3,
        description="σ of every weight at first; at 0.001 as good as deterministic, from 0.05 on "
        "networks lose accuracy",
    )
    prior: PriorKind = Field(
        "fixed",
        description="fixed: N(0, prior_std²); empirical: around the weights that the stage before "
        "or a file left (MOPED); tied: around the means of now, so that only σ is held",
    )
    prior_std: float = Field(0.1, gt=0, lt=1e3, description="of the prior")
    biases: bool = Field(True, description="biases have posteriors too")
    method: Method = Field(
        "local",
        description="how a training forward draws: reparameterisation, one draw for the batch; "
        "local, the outputs of every row; flipout, one draw whose signs change from row to row",
    )
    train_samples: int = Field(1, ge=1, le=MOST_DRAWS, description="draws of a training step")
    test_samples: int = Field(
        20, ge=1, le=MOST_DRAWS, description="draws of whole weights in evaluation"
    )
    kl_weight: float = Field(
        1.0,
        ge=0,
        lt=1e6,
        description="w of w · KL(q ‖ prior) / N; below 1 a cold posterior, which networks of "
        "convolutions mostly need",
    )
    warm_up: float = Field(
        1 / 3, ge=0, le=1, description="part of the stage over which the KL term rises to w"
    )

    _layers_alone = short_form("layers")

    def around(self, network: nn.Module, form: OutputForm, field: str) -> BayesianNetwork:
        """The network with posteriors, in place.

        Raises InputError: it cannot have them; names `field` and its layers.
        """
        draws = (self.train_samples, self.test_samples, form)
        if self.posterior == "dropout":
            return BayesianNetwork(
                with_dropout(network, self.dropout, self.layers, field=field), *draws
            )
        if self.posterior == "laplace":
            kept = self.model_dump(include={"prior_std", "biases"})
            made = to_bayesian(network, "last", field=field, std=UNKNOWN_STD, method=WHOLE, **kept)
            return BayesianNetwork(wait_for_laplace(made, field), *draws)
        start = self.model_dump(include={"std", "prior", "prior_std", "biases", "method"})
        made = to_bayesian(network, self.layers, field=field, **start)
        return BayesianNetwork(made, *draws)

    def learning(self, data: Objective, rows: int) -> Objective:
        """What such a peer learns: `data` over `rows` training rows, and what posteriors pay."""
        if self.posterior != "gaussian":
            return data
        return Variational(rows, self.kl_weight, self.warm_up, data)
