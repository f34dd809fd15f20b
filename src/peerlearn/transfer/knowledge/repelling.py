"""What the kinds of knowledge share that push a learner away from its teachers.

An edge that repels has the loss −f(D) of a distance D ≥ 0. Pham et al., "Model and Feature
Diversity for Bayesian Neural Networks in Mutual Learning", NeurIPS 2023, arXiv 2407.02721, maximise
"a transformation of the distance"; re-derived from the public abstract, the logarithm is our
reading. Its gradient −∇D / (ε + D) has no scale, and fades as two peers move apart.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from torch import Tensor

from peerlearn.transfer.knowledge.base import SELF, EdgeOptions

EPS = 1e-6


def _names(given: Any) -> Any:
    each = [given] if isinstance(given, str) else given
    if isinstance(each, dict):
        each = [*each, *each.values()]
    if given is None or (isinstance(each, list) and all(isinstance(it, str) for it in each)):
        return given
    raise ValueError(f"found {given!r}; expected names, or a mapping of a teacher's to a learner's")


Layers = Annotated[str | list[str] | dict[str, str] | None, BeforeValidator(_names)]


class RepellingOptions(EdgeOptions):
    """Options of entries that repel; the weight stays at or above 0."""

    transform: Literal["log", "none"] = Field(
        "log", description="f of the distance D that grows: log(eps + D), or D itself"
    )
    eps: float = Field(EPS, gt=0, description="least distance that the logarithm sees")
    stop_distance: float | None = Field(
        None,
        gt=0,
        description="D beyond which an edge is silent; null: it pushes for ever. It is in the "
        "units of D, so each knowledge and each distance needs its own",
    )

    def faults(self) -> Iterator[str]:
        this = f"this edge has knowledge {self.knowledge!r}"
        if self.teacher_ema is not None:
            yield (
                f"teacher_ema: found {self.teacher_ema:g}, and {this}, which keeps peers apart as "
                "they are now; allowed: null"
            )
        if self.teachers == SELF:
            yield f"from: {SELF!r}, and {this}, which pushes a learner away from others"
        if self.target == "ensemble":
            yield (
                f"target: 'ensemble' is the mean of probabilities, and {this}; allowed: mean, sum"
            )
        if self.proven.ends != "none":
            yield (
                f"proven: {self.proven.ends!r} asks which peer is right, and {this}, which says "
                "nothing of the labels; allowed: none"
            )
        if self.eps != EPS and not self.reads_eps:
            yield f"eps: found {self.eps:g} with transform {self.transform!r}, which has none"
        yield from super().faults()

    @property
    def reads_eps(self) -> bool:
        """Whether `eps` makes a difference."""
        return self.transform == "log"

    def repulsion(self, distance: Tensor) -> Tensor:
        """−f(D) of each distance; without gradient where it is beyond `stop_distance`."""
        distance = distance.clamp(
            0, self.stop_distance
        )  # of equal ones rounding may say less than 0
        return -(distance + self.eps).log() if self.transform == "log" else -distance


class LayerRepellingOptions(RepellingOptions):
    """Options of entries that repel what some layers hold."""

    layers: Layers = Field(
        None,
        description="of posteriors: names of tensors, or of modules whose tensors are meant, that "
        "are compared, the same of both peers or {TEACHER'S: LEARNER'S}; null: all. Of feature "
        "distributions: names of the features that are fused, the last one the query; null: all "
        "maps, or all vectors where there are none",
    )

    def faults(self) -> Iterator[str]:
        if self.layers is not None and not self.layers:
            yield "layers: found none; name some, or leave it out for all"
        yield from super().faults()
