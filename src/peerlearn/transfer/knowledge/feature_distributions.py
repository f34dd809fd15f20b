"""Feature distributions: learners keep what they find alike in a batch away from their teachers'.

Pham et al., "Model and Feature Diversity for Bayesian Neural Networks in Mutual Learning", NeurIPS
2023, arXiv 2407.02721, push apart the distributions of fused features; re-derived from the public
abstract. The fusion, the form of the distributions and every coefficient are ours. The kernel is
that of Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer",
ECCV 2018.

Shape suffixes: R rows (batch or nodes), N the other rows, C channels, T tokens, D units of a token.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.memory import check_memory
from peerlearn.transfer.divergences import kl
from peerlearn.transfer.knowledge.base import IncomingEdges, Knowledge
from peerlearn.transfer.knowledge.repelling import LayerRepellingOptions
from peerlearn.transfer.outputs import BatchView, PeerOutput

FeatureDivergenceName = Literal["pkt", "direct_kl"]
#: Rows without which a row has no two others to be more and less alike.
FEWEST_ROWS = 3
#: Least likeness, so that the logarithm of that of opposite rows is finite.
SMALLEST_LIKENESS = 1e-6


class FeatureDistributionOptions(LayerRepellingOptions):
    """Options of entries about feature distributions."""

    headline = "feature_divergence"
    reported = ("fusion", "centred", "feature_temperature", "transform", "stop_distance",
                "weight", "target")  # fmt: skip

    feature_divergence: FeatureDivergenceName = Field(
        "pkt",
        description="pkt: KL of how alike a row is to the others of the batch; direct_kl: KL of "
        "the softmax over the units of a row's feature",
    )
    fusion: Literal["attention", "none"] = Field(
        "attention",
        description="attention: tokens of the last layer ask those of the others; none: the last "
        "layer alone, its mean over positions",
    )
    width: int = Field(64, ge=1, le=1 << 12, description="units of a token of the fusion")
    tokens: int = Field(
        8, ge=1, le=64, description="height and width to which maps are averaged for the fusion"
    )
    centred: bool = Field(
        True,
        description="subtract the mean over the batch first, without which rows look alike and D "
        "is almost flat",
    )
    feature_temperature: float | None = Field(
        None,
        gt=0,
        description="pkt: softmax(cos / it) in place of the cosine kernel; direct_kl: what "
        "features are divided by, null: 1",
    )
    supervised_fusion: bool = Field(
        False,
        description="the fusion learns the labels too, through a linear layer of its own, and "
        "without a gradient for the peer",
    )

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if isinstance(self.layers, dict):
            yield (
                "layers: a mapping joins tensors of posteriors, and this edge has knowledge "
                f"{self.knowledge!r}; allowed: names of features"
            )
        if self.fusion == "none":
            for name in ("width", "tokens", "supervised_fusion"):
                value = getattr(self, name)
                if value != type(self).model_fields[name].default:
                    yield f"{name}: found {value} with fusion 'none'; allowed with: attention"
            if isinstance(self.layers, list) and len(self.layers) > 1:
                yield f"layers: found {len(self.layers)} with fusion 'none', which reads one"


class FeatureDistributionKnowledge(Knowledge):
    """A learner's loss is −f(D) of the distributions that its features and each teacher's give.

    Every peer that takes part has a fusion of its own. It trains with the peer and belongs to the
    entry, so it is not there where a peer is evaluated or exported; that of a peer that only
    teaches stays as it began, unless `supervised_fusion`. A batch of fewer than 3 rows teaches
    nothing.
    """

    Options = FeatureDistributionOptions
    travels = "features"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.fusions = nn.ModuleDict()
        self.lends = self.options.fusion != "none"
        self.ready = self.options.fusion == "none"
        self.supervised = self.options.supervised_fusion
        if self.supervised and self.form == "sigmoid":
            raise InputError(
                f"{self.field}.supervised_fusion: learns one class a row, but the outputs are "
                "multi-label (form 'sigmoid'); allowed: false"
            )

    def prepare(self, view: BatchView) -> None:
        """Make the fusions that are not there yet; `InputError` as for `losses`."""
        taking_part = dict.fromkeys(peer for pair in self.pairs for peer in pair)
        for peer in taking_part:
            features = self._features(peer, view)
            if self.options.feature_divergence == "pkt":
                rows = len(features[-1])
                check_memory(4 * rows**2, f"{self.field}.feature_divergence: 'pkt' of {rows} rows")
            if self.options.fusion == "attention" and peer not in self.fusions:
                classes = self._classes(peer, view) if self.supervised else 0
                fusion = Fusion(features, self.options.width, self.options.tokens, classes)
                self.fusions[peer] = fusion.to(features[0].device)
        self.ready = True
        for edges in self.incoming:
            self._check(edges, view)

    def asked_of(self, peer: str, output: PeerOutput) -> Collection[str]:
        """What is fused of it."""
        return self._layers(peer, output)

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        return list(self.fusions[peer].parameters()) if peer in self.fusions else []

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """−f(D), the mean or the sum over teachers; 0 for a batch of fewer than 3 rows.

        Raises InputError: features that are not there, or that cannot be fused or compared.
        """
        return {edges.learner: self._loss(edges, view) for edges in self.wanted(learners)}

    def own_losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """Cross-entropy of labelled rows by peer, which trains its fusion and nothing else."""
        losses = {}
        for peer in (peer for peer in self.fusions if peer in learners):
            targets, rows = view.targets, len(view.outputs[peer].logits)
            if targets is None or targets.is_floating_point() or targets.shape != (rows,):
                raise InputError(
                    f"{self.field}.supervised_fusion: learns from one class a row; pass targets "
                    "(rows,), or set it to false"
                )
            fusion = self.fusions[peer]
            assert isinstance(fusion, Fusion) and fusion.head is not None
            with torch.autocast(targets.device.type, enabled=False):
                features = [each.detach().float() for each in self._features(peer, view)]
                logits_RC = fusion.head(fusion(features))
            none = targets < 0 if view.labelled is None else ~view.labelled
            total = F.cross_entropy(logits_RC, targets.masked_fill(none, -1), ignore_index=-1,
                                    reduction="sum")  # fmt: skip
            losses[peer] = total / (~none).sum().clamp_min(1)
        return losses

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        options = self.options
        self._check(edges, view)
        learnt_RN = self._distributions(edges.learner, view)
        if len(learnt_RN) < FEWEST_ROWS:
            return learnt_RN.new_zeros(())
        losses = []
        for teacher in edges.teachers:
            taught_RN = self._distributions(teacher, view)
            taught_RN = taught_RN.detach() if options.detach else taught_RN
            losses.append(options.repulsion(kl(learnt_RN, taught_RN).mean()))
        return options.of_teachers(losses)

    def _distributions(self, peer: str, view: BatchView) -> Tensor:
        """Log-probabilities in fp32, made once a batch for a peer that teaches and learns."""
        options = self.options

        def made() -> Tensor:
            features = self._features(peer, view)
            with torch.autocast(features[0].device.type, enabled=False):
                fused_RD = self._fused(peer, [each.float() for each in features])
                if options.centred:
                    fused_RD = fused_RD - fused_RD.mean(0)
                return FEATURE_DIVERGENCES[options.feature_divergence](
                    fused_RD, options.feature_temperature
                )

        return view.once((id(self), peer), made)

    def _fused(self, peer: str, features: Sequence[Tensor]) -> Tensor:
        if self.options.fusion == "attention":
            fused: Tensor = self.fusions[peer](features)
            return fused
        last = features[-1]
        return last.flatten(2).mean(2) if last.ndim > 2 else last

    def _features(self, peer: str, view: BatchView) -> list[Tensor]:
        """What is fused, the query last."""
        output = view.outputs[peer]
        return [output.features[name] for name in self._layers(peer, output)]

    def _layers(self, peer: str, output: PeerOutput) -> list[str]:
        """Its names."""
        field = f"{self.field}.layers"
        there = {n: f for n, f in output.features.items() if f.ndim in (2, 4)}
        if not there:
            raise InputError(
                f"{field}: peer {peer!r} gives no features of shape (rows, channels, height, "
                "width) or (rows, units); its forward must return a "
                "peerlearn.transfer.PeerOutput that names them"
            )
        given = self.options.layers
        if given is None:
            names = [name for name, feature in there.items() if feature.ndim == 4] or list(there)
        else:
            names = [given] if isinstance(given, str) else list(given)
        for name in names:
            if name not in there:
                raise unknown_name(f"layer of peer {peer!r}", name, there, field)
        return names

    def _check(self, edges: IncomingEdges, view: BatchView) -> None:
        """That rows, and for a direct divergence units, are as many; `InputError` otherwise."""
        direct = self.options.feature_divergence == "direct_kl" and self.options.fusion == "none"
        mine = self._features(edges.learner, view)[-1]
        for teacher in edges.teachers:
            other = self._features(teacher, view)[-1]
            if len(mine) == len(other) and (not direct or mine.shape[1] == other.shape[1]):
                continue
            raise InputError(
                f"{self.field}.layers: the last of peer {teacher!r} has shape "
                f"{tuple(other.shape)} and that of peer {edges.learner!r} {tuple(mine.shape)}; "
                f"{self.options.feature_divergence} compares as many rows"
                + (
                    ", and as many units (feature_divergence: pkt, or fusion: attention, any)"
                    if direct
                    else ""
                )
            )

    def _classes(self, peer: str, view: BatchView) -> int:
        logits = view.outputs[peer].logits
        if logits.ndim != 2:
            raise InputError(
                f"{self.field}.supervised_fusion: learns one class a row, and peer {peer!r} has "
                f"logits of shape {tuple(logits.shape)}; allowed: false"
            )
        return logits.shape[1]


class Fusion(nn.Module):
    """One vector a row of several features: the last asks the others, by attention with one head.

        f = mean over tokens of LayerNorm(t + Attention(Q = t, K = V = those of the others))

    Maps become tokens by an average over areas, to at most `tokens` by `tokens`, and a convolution
    of 1×1; a vector becomes one token. A single feature asks itself.

    Shapes:
        features: (R, C, H, W) or (R, C); result: (R, width)
    """

    def __init__(self, features: Sequence[Tensor], width: int, tokens: int, classes: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.embeddings = nn.ModuleList(nn.Linear(each.shape[1], width) for each in features)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes) if classes else None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The fused feature of each row, in the precision of `features`."""
        parts = zip(self.embeddings, features, strict=True)
        tokens = [embedding(self._places(feature)) for embedding, feature in parts]
        query_RTD = tokens[-1]
        others_RTD = torch.cat(tokens[:-1] or tokens, dim=1)
        asked_RTD, _ = self.attention(query_RTD, others_RTD, others_RTD, need_weights=False)
        fused_RD: Tensor = self.norm(query_RTD + asked_RTD).mean(1)
        return fused_RD

    def _places(self, feature: Tensor) -> Tensor:
        """Its vectors (R, T, C), of a map one for each area.

        Averaged before they are embedded, which is the same and cheaper.
        """
        if feature.ndim == 2:
            return feature.unsqueeze(1)
        height, width = (min(self.tokens, length) for length in feature.shape[2:])
        return F.adaptive_avg_pool2d(feature, (height, width)).flatten(2).transpose(1, 2)


def others_likeness(feature_RD: Tensor, temperature: float | None) -> Tensor:
    """log p(i | j): how alike row i is to row j, among all rows but j; (R, R − 1).

    p(i | j) ∝ ½ (cos(f_i, f_j) + 1), the kernel of PKT, or exp(cos(f_i, f_j) / τ).
    """
    unit_RD = F.normalize(feature_RD, dim=1)
    cosine_RN = _without_diagonal(unit_RD @ unit_RD.T)
    if temperature is not None:
        return F.log_softmax(cosine_RN / temperature, dim=1)
    return F.log_softmax((0.5 * (cosine_RN + 1)).clamp_min(SMALLEST_LIKENESS).log(), dim=1)


def over_units(feature_RD: Tensor, temperature: float | None) -> Tensor:
    """The log-softmax of each row over its units; (R, D).

    A reading of "the KL divergence between feature distributions" in the supplement's ablation.
    """
    return F.log_softmax(feature_RD if temperature is None else feature_RD / temperature, dim=1)


FEATURE_DIVERGENCES: Mapping[FeatureDivergenceName, Callable[[Tensor, float | None], Tensor]] = {
    "pkt": others_likeness,
    "direct_kl": over_units,
}


def _without_diagonal(x_RR: Tensor) -> Tensor:
    rows = len(x_RR)
    if rows < 2:
        return x_RR[:, 1:]
    return x_RR.flatten()[1:].view(rows - 1, rows + 1)[:, :-1].reshape(rows, rows - 1)
