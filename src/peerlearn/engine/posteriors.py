"""How wide the posteriors of Bayesian peers are, and how far apart, epoch by epoch."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from peerlearn.models.bayesian import BayesianNetwork, Variational
from peerlearn.objectives.base import Objective
from peerlearn.transfer.posterior_distances import (
    Peers,
    Posterior,
    posterior_distances,
    posteriors_of,
    together,
)

QUANTILES = (0.05, 0.5, 0.95)
SEEN = 1 << 16
"""Weights whose quantiles are told, evenly spread over those of a network."""
TOO_MUCH, SANE = 5.0, (1.0, 100.0)
"""KL a row as a multiple of the cross-entropy, and medians of |μ|/σ, outside of which is told."""
Record = dict[str, Any]


def of_peers(peers: Peers, objectives: Mapping[str, Objective]) -> dict[str, Record]:
    """By Bayesian peer that draws: the KL term of a row, and quantiles of σ and of |μ|/σ.

    `kl_per_row` is KL(q ‖ prior) / N in nats, and `kl_weight` what it counts at full weight.
    """
    found: dict[str, Record] = {}
    for name, peer in _drawing(peers).items():
        weights = _weights_of(peer)
        step = max(len(weights.mean_W) // SEEN, 1)
        mean_W, std_W = (each[::step].cpu() for each in (weights.mean_W, weights.std_W))
        at = torch.tensor(QUANTILES)
        found[name] = {
            "std": std_W.quantile(at).tolist(),
            "signal": (mean_W.abs() / std_W).quantile(at).tolist(),
        }
        objective = objectives[name]
        if isinstance(objective, Variational):
            per_row = peer.kl().item() / objective.rows
            found[name] |= {"kl_per_row": per_row, "kl_weight": objective.kl_weight}
    return found


def between(peers: Peers) -> dict[str, Record]:
    """By pair "a~b" of Bayesian peers with equal layers: how far apart their posteriors are.

    `w2` is the squared 2-Wasserstein distance; beside it stands the `cosine` of the means, since
    filters that change places or grow move it and change no output.
    """
    drawing = _drawing(peers)
    apart = posterior_distances(drawing)
    means = {name: _weights_of(drawing[name]).mean_W for pair in apart for name in pair}
    return {
        f"{a}~{b}": {
            "w2": apart[a, b],
            "cosine": F.cosine_similarity(means[a], means[b], dim=0).item(),
        }
        for a, b in combinations(drawing, 2)
        if (a, b) in apart
    }


def _weights_of(peer: nn.Module) -> Posterior:
    gaussians = posteriors_of(peer)
    return together(gaussians, sorted(gaussians))


def _drawing(peers: Peers) -> dict[str, BayesianNetwork]:
    """Bayesian peers with widths, which are not deterministic now."""
    return {
        name: peer
        for name, peer in peers.items()
        if isinstance(peer, BayesianNetwork)
        and not peer.deterministic
        and any(rho.requires_grad for rho in peer.rhos())
    }


@torch.no_grad()
def posterior_record(
    peers: Peers,
    objectives: Mapping[str, Objective],
    validated: Mapping[str, Any],
) -> Record:
    """What the record of an epoch says of posteriors; empty without Bayesian peers that draw.

    `validated` is what was measured on validation; of it comes the agreement of each pair.
    """
    found = of_peers(peers, objectives)
    if not found:
        return {}
    pairs = between(peers)
    for pair, value in validated.get("between_peers", {}).get("agreement", {}).items():
        if pair in pairs:
            pairs[pair]["agreement"] = value
    return {"posteriors": {"peers": found, "pairs": pairs}}


def what_is_odd(record: Mapping[str, Any]) -> list[str]:
    """What to say at the end of a stage of posteriors that are not sane, by its last record."""
    lines = []
    for name, found in record.get("posteriors", {}).get("peers", {}).items():
        paid = found.get("kl_weight", 0) * found.get("kl_per_row", 0)
        data = record["train"].get(name, {}).get("objective", 0) - paid
        if paid > TOO_MUCH * max(data, 0.1):
            lines.append(
                f"peer {name}: kl_weight × KL(q ‖ prior) is {paid:.3g} nats a row, the data loss "
                f"{max(data, 0):.2g}; the prior outweighs the data, and predictions mostly become "
                f"underconfident; lower peers.{name}.bayesian.kl_weight ({found['kl_weight']:g})"
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
