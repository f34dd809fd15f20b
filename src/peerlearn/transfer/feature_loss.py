"""The loss of a lesson about features: a map of each teacher against one of the learner."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.transfer.features import FEATURE_LOSSES, LAST, to_common_size
from peerlearn.transfer.lessons import Exchange, Lesson

Adapters = Mapping[str, nn.Module]


def feature_loss(lesson: Lesson, exchange: Exchange, adapters: Adapters) -> Tensor:
    """How far a learner's features are from its teachers', a scalar in fp32.

    Args:
        lesson: from `lessons_of`.
        exchange: the outputs of the batch.
        adapters: by teacher, from the learner's channels to the teacher's; a teacher without one
            has as many.

    Raises:
        InputError: a peer without such a layer, or maps that cannot be compared; names the layers
            and their shapes.
    """
    spec = lesson.spec
    losses = []
    for teacher in lesson.teachers:
        taught, learnt = features_of(lesson, teacher, exchange)
        taught = taught.detach() if spec.detach else taught
        if spec.feature_loss != "similarity":
            taught, learnt = to_common_size(taught, learnt)
        if teacher in adapters:
            with torch.autocast(learnt.device.type, learnt.dtype, learnt.dtype != torch.float32):
                learnt = adapters[teacher](learnt)
        losses.append(FEATURE_LOSSES[spec.feature_loss](taught.float(), learnt.float()).mean())
    together = torch.stack(losses)
    return together.sum() if spec.target == "sum" else together.mean()


def adapter_for(lesson: Lesson, teacher: str, exchange: Exchange) -> nn.Module | None:
    """A linear map of channels, the same at every position, where a hint needs one.

    It is the regressor of FitNets (Romero et al. 2015). It trains with the learner and belongs to
    no peer, so it is not there where a peer is evaluated or exported.

    Raises:
        InputError: as `feature_loss`.
    """
    taught, learnt = features_of(lesson, teacher, exchange)
    if lesson.spec.feature_loss != "hint":
        return None
    taught, learnt = to_common_size(taught, learnt)
    channels = learnt.shape[1], taught.shape[1]
    if channels[0] == channels[1]:
        return None
    adapter = nn.Conv2d(*channels, 1) if learnt.ndim == 4 else nn.Linear(*channels)
    return adapter.to(learnt.device)


def features_of(lesson: Lesson, teacher: str, exchange: Exchange) -> tuple[Tensor, Tensor]:
    """The features of a teacher and of the learner that a lesson compares.

    Raises:
        InputError: as `feature_loss`.
    """
    layers = lesson.spec.layer
    names = (teacher, layers.teacher), (lesson.learner, layers.learner)
    (a, taught), (b, learnt) = (layer_of(lesson.field, *name, exchange) for name in names)
    kind = lesson.spec.feature_loss
    wanted = {"hint": {2, 4}, "attention": {4}, "similarity": {2, 3, 4, 5}}[kind]
    if taught.ndim not in wanted or learnt.ndim not in wanted or len(taught) != len(learnt):
        shapes = {"hint": "maps or vectors", "attention": "maps", "similarity": "any shapes"}[kind]
        raise InputError(
            f"{lesson.field}.layer: {a!r} of peer {teacher!r} has shape {tuple(taught.shape)} and "
            f"{b!r} of peer {lesson.learner!r} {tuple(learnt.shape)}; {kind} compares {shapes} of "
            "as many rows: (rows, channels, height, width) or (rows, units)"
        )
    return taught, learnt


def layer_of(field: str, peer: str, layer: str, exchange: Exchange) -> tuple[str, Tensor]:
    """The name and the features of a peer's layer, which `last` leaves to the peer.

    Raises:
        InputError: a peer without such a layer.
    """
    features = exchange.outputs[peer].features
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
