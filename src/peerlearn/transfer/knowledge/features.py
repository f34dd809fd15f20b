"""Feature knowledge: what a peer's intermediate maps say, and losses that compare two.

Maps go by the names that the models give them. Every loss compares one of a teacher with one of a
learner, row by row, in fp32.

Shape suffixes: R rows (batch or nodes), C channels, H height, W width.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.transfer.knowledge.base import EdgeOptions, IncomingEdges, Knowledge
from peerlearn.transfer.outputs import BatchView, PeerOutput
from peerlearn.validation import Spec, short_form

FeatureLossName = Literal["hint", "attention", "similarity"]
#: Names the last feature of a peer that is a map, or its last feature where none is.
LAST = "last"


class LayerPair(Spec):
    """The `layer` of an edge about features or relations. One name alone holds for both peers."""

    model_config = ConfigDict(populate_by_name=True)

    teacher: str = Field(LAST, alias="from", description="layer of the teaching peer")
    learner: str = Field(LAST, alias="to", description="layer of the learning peer")

    _one_name = short_form("from", "to")

    def described(self) -> str:
        """One name, or two with an arrow between them."""
        if self.teacher == self.learner:
            return self.teacher
        return f"{self.teacher} → {self.learner}"


def layer_of(field: str, peer: str, layer: str, view: BatchView) -> tuple[str, Tensor]:
    """The name and the features of a peer's layer, which `last` leaves to the peer.

    Raises InputError: a peer without such a layer; names the `field` of the entry.
    """
    features = view.outputs[peer].features
    if not features:
        raise InputError(
            f"{field}.layer: peer {peer!r} gives no features; its forward must return a "
            "peerlearn.transfer.PeerOutput that names them"
        )
    if layer == LAST:
        maps = [name for name, feature in features.items() if feature.ndim == 4]
        layer = (maps or list(features))[-1]
    if layer not in features:
        raise unknown_name(f"layer of peer {peer!r}", layer, [*features, LAST], f"{field}.layer")
    return layer, features[layer]


class FeatureOptions(EdgeOptions):
    """Options of entries about features."""

    headline = "feature_loss"
    reported = ("layer", "weight", "target")

    layer: LayerPair = Field(
        LayerPair(),
        description="features to compare, by the names that the models give them; a name, or "
        "{from: NAME, to: NAME}. last: the last map before pooling, of which relations see the "
        "mean over positions",
    )
    feature_loss: FeatureLossName = Field(
        "hint",
        description="hint: squared difference, through an adapter where channels differ; "
        "attention: of spatial attention maps; similarity: of the rows' likeness to each other",
    )

    def described(self) -> dict[str, Any]:
        return super().described() | {"layer": self.layer.described()}

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.target == "ensemble":
            yield (
                "target: 'ensemble' is the mean of probabilities, and this edge has knowledge "
                "'features'; allowed: mean, sum"
            )


class FeatureKnowledge(Knowledge):
    """A map of each teacher against one of the learner.

    A hint between maps of different width goes through an adapter, the regressor of FitNets (Romero
    et al. 2015). It trains with the learner and belongs to no peer, so it is not there where a peer
    is evaluated or exported.
    """

    Options = FeatureOptions
    travels = "features"
    provable = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.adapters = nn.ModuleDict()
        self.ready = self.options.feature_loss != "hint"

    def prepare(self, view: BatchView) -> None:
        """Make the adapters that hints need; `InputError` as for `losses`."""
        for learner, teachers in self.incoming:
            for teacher in teachers:
                adapter = self._adapter(learner, teacher, view)
                if adapter is not None:
                    self.adapters[_key(learner, teacher)] = adapter
        self.ready = True

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        keys = [_key(peer, teacher) for edges in self.wanted([peer]) for teacher in edges.teachers]
        adapters = [self.adapters[key] for key in keys if key in self.adapters]
        return [parameter for adapter in adapters for parameter in adapter.parameters()]

    def asked_of(self, peer: str, output: PeerOutput) -> Collection[str]:
        """The layer that it teaches from."""
        layer, _ = layer_of(self.field, peer, self.options.layer.teacher, BatchView({peer: output}))
        return [layer]

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        return {edges.learner: self._loss(edges, view) for edges in self.taught(learners)}

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        options, adapters, losses = self.options, self.adapters, []
        for teacher in edges.teachers:
            taught, learnt = self._compared(edges.learner, teacher, view)
            taught = taught.detach() if options.detach else taught
            if options.feature_loss != "similarity":
                taught, learnt = to_common_size(taught, learnt)
            if (key := _key(edges.learner, teacher)) in adapters:
                lowered = learnt.dtype != torch.float32
                with torch.autocast(learnt.device.type, learnt.dtype, lowered):
                    learnt = adapters[key](learnt)
            loss = FEATURE_LOSSES[options.feature_loss]
            losses.append(loss(taught.float(), learnt.float()).mean())
        return options.of_teachers(losses)

    def _adapter(self, learner: str, teacher: str, view: BatchView) -> nn.Module | None:
        """A linear map of channels, the same at every position, where a hint needs one."""
        taught, learnt = to_common_size(*self._compared(learner, teacher, view))
        channels = learnt.shape[1], taught.shape[1]
        if self.options.feature_loss != "hint" or channels[0] == channels[1]:
            return None
        adapter = nn.Conv2d(*channels, 1) if learnt.ndim == 4 else nn.Linear(*channels)
        return adapter.to(learnt.device)

    def _compared(self, learner: str, teacher: str, view: BatchView) -> tuple[Tensor, Tensor]:
        """The features of a teacher and of the learner."""
        layers = self.options.layer
        names = (teacher, layers.teacher), (learner, layers.learner)
        (a, taught), (b, learnt) = (layer_of(self.field, *name, view) for name in names)
        dimensions, shapes = _COMPARED[self.options.feature_loss]
        if {taught.ndim, learnt.ndim} <= dimensions and len(taught) == len(learnt):
            return taught, learnt
        raise InputError(
            f"{self.field}.layer: {a!r} of peer {teacher!r} has shape {tuple(taught.shape)} "
            f"and {b!r} of peer {learner!r} {tuple(learnt.shape)}; {self.options.feature_loss} "
            f"compares {shapes} of as many rows: (rows, channels, height, width) or (rows, units)"
        )


#: By loss: the dimensions of features that it compares, and how messages call these.
_COMPARED = {
    "hint": ({2, 4}, "maps or vectors"),
    "attention": ({4}, "maps"),
    "similarity": ({2, 3, 4, 5}, "any shapes"),
}


def _key(learner: str, teacher: str) -> str:
    return f"{learner}:{teacher}"


def hint(teacher: Tensor, learner: Tensor) -> Tensor:
    """Mean squared difference of two maps of one shape.

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3. A learner of another
    shape goes through an adapter first.

    Shapes:
        teacher, learner: (R, C, ...); result: (R,)
    """
    squares = (learner - teacher).square()
    # Divided last, where numbers are fewest; nothing is flattened, so that gradients lie in memory
    # as the maps do.
    return squares.sum(tuple(range(1, squares.ndim))) / math.prod(squares.shape[1:])


def attention(teacher: Tensor, learner: Tensor) -> Tensor:
    """Mean squared difference of two attention maps: channels may differ, the scale has no say.

    A = mean over channels of F², divided by its L2 norm over all positions. Zagoruyko & Komodakis,
    "Paying More Attention to Attention", ICLR 2017, equation 2 with p = 2, in its authors' scale.

    Shapes:
        teacher: (R, C, H, W); learner: (R, C', H, W); result: (R,)
    """
    return (_attention_map(teacher) - _attention_map(learner)).square().mean(1)


def similarity(teacher: Tensor, learner: Tensor) -> Tensor:
    """Mean squared difference of how alike the rows of a batch are to each other.

    G = F Fᵀ of the flattened maps, each of its rows divided by its L2 norm. Tung & Mori,
    "Similarity-Preserving Knowledge Distillation", ICCV 2019, equation 4. The maps may have any
    two shapes; time and memory grow with R².

    Shapes:
        teacher: (R, ...); learner: (R, ...); result: (R,)
    """
    return (_likeness(teacher) - _likeness(learner)).square().mean(1)


FEATURE_LOSSES: Mapping[FeatureLossName, Callable[[Tensor, Tensor], Tensor]] = {
    "hint": hint,
    "attention": attention,
    "similarity": similarity,
}


def to_common_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps, averaged over areas to the smaller height and the smaller width of the two.

    A vector beside a map stands for its mean over all positions.

    Shapes:
        first: (R, C, H, W) or (R, C); second: (R, C', H', W') or (R, C').
    """
    if first.ndim == second.ndim == 4:
        height, width = (min(a, b) for a, b in zip(first.shape[2:], second.shape[2:], strict=True))
        return _averaged(first, height, width), _averaged(second, height, width)
    if {first.ndim, second.ndim} == {2, 4}:
        return _averaged(first, 1, 1).flatten(1), _averaged(second, 1, 1).flatten(1)
    return first, second


def _averaged(x: Tensor, height: int, width: int) -> Tensor:
    same = x.ndim == 2 or x.shape[2:] == (height, width)
    return x if same else F.adaptive_avg_pool2d(x, (height, width))


def _attention_map(x_RCHW: Tensor) -> Tensor:
    return F.normalize(x_RCHW.square().mean(1).flatten(1), dim=1)


def _likeness(x: Tensor) -> Tensor:
    x_RF = x.flatten(1)
    return F.normalize(x_RF @ x_RF.T, dim=1)
