"""How wide the posteriors of Bayesian peers are, and how far apart, epoch by epoch."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.engine.transports import Transport
from peerlearn.models.bayesian import BayesianNetwork, Variational
from peerlearn.objectives.base import Objective
from peerlearn.transfer.posterior_distances import (
    Peers,
    Posterior,
    WholePosterior,
    distances_of,
    whole_posterior,
)

QUANTILES = (0.05, 0.5, 0.95)
SEEN = 1 << 16
"""Weights whose quantiles are told, evenly spread over those of a network."""
TOO_MUCH, SANE = 5.0, (1.0, 100.0)
"""KL a row as a multiple of the cross-entropy, and medians of |μ|/σ, outside of which is told."""
Record = dict[str, Any]


@torch.no_grad()
def posterior_record(
    evaluated: Peers, cohort: Cohort, transport: Transport, validated: Mapping[str, Any]
) -> Record:
    """What the record of an epoch says of posteriors; empty without Bayesian peers that draw.

    Args:
        evaluated: the peers of this process, as they are evaluated.
        cohort: all peers, by which every process knows alike whether there is anything to tell.
        transport: how what each process finds reaches the others.
        validated: what was measured on validation; of it comes the agreement of each pair.
    """
    if not drawing(cohort.peers):
        return {}
    whole = {name: _on_cpu(peer) for name, peer in drawing(evaluated).items()}
    found = {
        name: of_peer(evaluated[name], it.weights, cohort.objectives[name])
        for name, it in whole.items()
    }
    pairs = between(transport.collect(whole))
    for pair, value in validated.get("between_peers", {}).get("agreement", {}).items():
        if pair in pairs:
            pairs[pair]["agreement"] = value
    return {"posteriors": {"peers": transport.collect(found), "pairs": pairs}}


def of_peer(peer: nn.Module, weights: Posterior, objective: Objective) -> Record:
    """Of a Bayesian peer and its weights: the KL term of a row, and quantiles of σ and of |μ|/σ.

    `kl_per_row` is KL(q ‖ prior) / N in nats, and `kl_weight` what it counts at full weight.
    """
    assert isinstance(peer, BayesianNetwork)
    step = max(len(weights.mean_W) // SEEN, 1)
    mean_W, std_W = weights.mean_W[::step], weights.std_W[::step]
    at = torch.tensor(QUANTILES)
    found: Record = {
        "std": std_W.quantile(at).tolist(),
        "signal": (mean_W.abs() / std_W).quantile(at).tolist(),
    }
    if isinstance(objective, Variational):
        found["kl_per_row"] = peer.kl().item() / objective.rows
        found["kl_weight"] = objective.kl_weight
    return found


def between(whole: Mapping[str, WholePosterior]) -> dict[str, Record]:
    """By pair "a~b" of posteriors of equal layers: how far apart they are.

    `w2` is the squared 2-Wasserstein distance; beside it stands the `cosine` of the means, since
    filters that change places or grow move it and change no output.
    """
    apart = distances_of(whole)
    means = {name: it.weights.mean_W for name, it in whole.items()}
    return {
        f"{a}~{b}": {
            "w2": apart[a, b],
            "cosine": F.cosine_similarity(means[a], means[b], dim=0).item(),
        }
        for a, b in combinations(whole, 2)
        if (a, b) in apart
    }


def drawing(peers: Peers) -> dict[str, BayesianNetwork]:
    """Bayesian peers with widths, which are not deterministic now."""
    return {
        name: peer
        for name, peer in peers.items()
        if isinstance(peer, BayesianNetwork)
        and not peer.deterministic
        and any(rho.requires_grad for rho in peer.rhos())
    }


def _on_cpu(peer: nn.Module) -> WholePosterior:
    whole = whole_posterior(peer)
    assert whole is not None, "a peer that draws has posteriors"
    mean_W, std_W, sizes = whole.weights
    return whole._replace(weights=Posterior(mean_W.detach().cpu(), std_W.detach().cpu(), sizes))


def what_is_odd(record: Mapping[str, Any]) -> list[str]:
    """What to say at the end of a stage of posteriors that are not sane, by its last record."""
    lines = []
    for name, found in record.get("posteriors", {}).get("peers", {}).items():
        paid = found.get("kl_weight", 0) * found.get("kl_per_row", 0)
        whole = record["train"].get(name, {}).get("objective", 0)  # with what is paid
        if paid > TOO_MUCH * max(whole - paid, 0.1):
            lines.append(
                f"peer {name}: kl_weight × KL(q ‖ prior) is {paid:.4g} nats a row, of an objective "
                f"that was {whole:.4g} in the last epoch; the prior outweighs the data, and "
                "predictions mostly become underconfident; lower "
                f"peers.{name}.bayesian.kl_weight ({found['kl_weight']:g})"
            )
        low, high = SANE
        if not low <= (median := found["signal"][1]) <= high:
            lines.append(
                f"peer {name}: the median of |μ|/σ is {median:.3g}; "
                + (
                    "weights are mostly noise; lower peers.NAME.bayesian.kl_weight or .std"
                    if median < low
                    else "it is as good as deterministic; raise peers.NAME.bayesian.std"
                ).replace("NAME", name)
            )
    return lines


def last_posteriors(history: Sequence[Mapping[str, Any]]) -> Record:
    """Of the last epoch, for an arm of `results.json`: `posteriors`, medians in place of quantiles,
    and `posterior_distances` by pair; empty without any.
    """
    told = [record["posteriors"] for record in history if "posteriors" in record]
    if not told:
        return {}
    middle = QUANTILES.index(0.5)
    peers = {
        name: found | {key: found[key][middle] for key in ("std", "signal")}
        for name, found in told[-1]["peers"].items()
    }
    return {"posteriors": peers, "posterior_distances": told[-1]["pairs"]}
