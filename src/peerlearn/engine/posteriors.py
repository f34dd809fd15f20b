"""How wide the posteriors of Bayesian peers are, and how far apart, epoch by epoch."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.models.bayesian import BayesianNetwork, Variational, posterior
from peerlearn.objectives.base import Objective

QUANTILES = (0.05, 0.5, 0.95)
SEEN = 1 << 16
"""Weights whose quantiles are told, evenly spread over those of a network."""
TOO_MUCH, SANE = 5.0, (1.0, 100.0)
"""KL a row as a multiple of the cross-entropy, and medians of |μ|/σ, outside of which is told."""
Record = dict[str, Any]


def of_peers(
    peers: Mapping[str, nn.Module] | nn.ModuleDict, objectives: Mapping[str, Objective]
) -> dict[str, Record]:
    """By Bayesian peer that draws: the KL term of a row, and quantiles of σ and of |μ|/σ.

    `kl_per_row` is KL(q ‖ prior) / N in nats, and `kl_weight` what it counts at full weight.
    """
    found: dict[str, Record] = {}
    for name, peer in _drawing(peers):
        gaussians = [gaussian for _, gaussian in posterior(peer.network)]
        mean, std = (
            torch.cat([getattr(gaussian, of).flatten() for gaussian in gaussians])
            for of in ("mean", "std")
        )
        step = max(len(mean) // SEEN, 1)
        mean, std = mean[::step].float().cpu(), std[::step].float().cpu()
        at = torch.tensor(QUANTILES)
        found[name] = {
            "std": std.quantile(at).tolist(),
            "signal": (mean.abs() / std).quantile(at).tolist(),
        }
        objective = objectives[name]
        if isinstance(objective, Variational):
            per_row = peer.kl().item() / objective.rows
            found[name] |= {"kl_per_row": per_row, "kl_weight": objective.kl_weight}
    return found


def between(peers: Mapping[str, nn.Module] | nn.ModuleDict) -> dict[str, Record]:
    """By pair "a~b" of Bayesian peers with equal layers: how far apart their posteriors are.

    `w2` is the squared 2-Wasserstein distance, ‖μ₁ − μ₂‖² + ‖σ₁ − σ₂‖²; beside it stands the
    `cosine` of the means, since filters that change places or grow move it and change no output.
    """
    found = {}
    for (a, one), (b, other) in combinations(_drawing(peers), 2):
        first, second = (dict(posterior(peer.network)) for peer in (one, other))
        shapes = [{name: it.mean.shape for name, it in each.items()} for each in (first, second)]
        if shapes[0] != shapes[1]:
            continue
        sums = torch.zeros(4, dtype=torch.float64)
        for name, gaussian in first.items():
            sums += _sums(gaussian, second[name])
        squares, dot, norm, norm_other = sums.tolist()
        cosine = dot / (norm * norm_other) ** 0.5 if norm and norm_other else 0.0
        found[f"{a}~{b}"] = {"w2": squares, "cosine": cosine}
    return found


def _sums(one: Any, other: Any) -> Tensor:
    m1, m2, s1, s2 = (z.double() for z in (one.mean, other.mean, one.std, other.std))
    squares = (m1 - m2).square().sum() + (s1 - s2).square().sum()
    return torch.stack([squares, (m1 * m2).sum(), m1.square().sum(), m2.square().sum()]).cpu()


def _drawing(
    peers: Mapping[str, nn.Module] | nn.ModuleDict,
) -> Iterator[tuple[str, BayesianNetwork]]:
    for name, peer in peers.items():
        if isinstance(peer, BayesianNetwork) and not peer.deterministic and _has_widths(peer):
            yield name, peer


def _has_widths(peer: BayesianNetwork) -> bool:
    return next(peer.rhos(), None) is not None


@torch.no_grad()
def posterior_record(
    peers: Mapping[str, nn.Module] | nn.ModuleDict,
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
                f"peer {name}: its posterior pays {paid:.3g} nats a row to the prior, its data "
                f"loss is {max(data, 0):.2g}: predictions are underconfident then; lower "
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
    """`posteriors` of the last epoch, for an arm of `results.json`; empty without any."""
    told = [record["posteriors"] for record in history if "posteriors" in record]
    return {"posteriors": told[-1]} if told else {}
