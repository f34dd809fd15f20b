"""Look at a network without leaving a trace: modes and statistics come back as they were."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@contextmanager
def kept_modes(module: nn.Module) -> Iterator[None]:
    """Every submodule gets its own mode back when the block ends."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            # Not part.train(): a module may override it, to keep a part of itself frozen.
            part.training = training


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Run a block with `module` in eval mode; every submodule gets its own mode back."""
    with kept_modes(module):
        module.eval()
        yield


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Run a block in which normalisation layers use the batch but do not remember it."""
    layers = [part for part in module.modules() if isinstance(part, _NormBase)]
    kept = [(layer, layer.track_running_stats, _running(layer)) for layer in layers]
    for layer in layers:
        # Without running buffers a layer in train mode normalises by the batch and stores nothing.
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    try:
        yield
    finally:
        for layer, tracks, (mean, var, count) in kept:
            layer.track_running_stats = tracks
            layer.running_mean, layer.running_var, layer.num_batches_tracked = mean, var, count


def _running(layer: _NormBase) -> tuple:
    return layer.running_mean, layer.running_var, layer.num_batches_tracked


@contextmanager
def counted_forwards(
    peers: Iterable[nn.Module], count: Callable[[], None], teaching: Iterable[nn.Module] = ()
) -> Iterator[None]:
    """Run a block in which every training forward is counted where it happens, at the network.

    Those of `teaching` networks, which only run to teach, count in evaluation mode too.
    """

    def hook(module: nn.Module, args: object, output: object) -> None:
        if module.training:
            count()

    def taught(module: nn.Module, args: object, output: object) -> None:
        count()

    handles = [peer.register_forward_hook(hook) for peer in peers]
    handles += [network.register_forward_hook(taught) for network in teaching]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
