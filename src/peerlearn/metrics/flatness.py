"""How flat is the minimum? The loss under Gaussian noise on the weights.

For each relative scale σ and each draw, every weight tensor W of a convolution or linear layer
becomes W + σ · rms(W) · ε with ε ~ N(0, 1). A loss that hardly moves as σ grows is a wide minimum,
which is how Zhang et al. explain deep mutual learning (CVPR 2018, section 3.6). Their noise scales
and protocol are not public: scales relative to each tensor, and those below, are this library's.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from peerlearn.calling import called
from peerlearn.errors import InputError
from peerlearn.modes import evaluating
from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.transfer.outputs import PeerOutput, as_peer_output

SIGMAS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05)


def flatness(
    model: nn.Module,
    batches: Callable[[], Iterable[tuple[Any, Tensor]]],
    loss: Callable[[PeerOutput, Tensor], Tensor],
    sigmas: Sequence[float] = SIGMAS,
    draws: int = 10,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Mean and spread, over noise draws, of a model's loss in evaluation mode.

    Noise is keyed by (seed, position of σ, draw, tensor name): models of one architecture meet the
    same noise, so arms can be compared draw by draw. Weights, modes, buffers and global generators
    are afterwards as they were, whatever was raised in between.

    Args:
        batches: called once for every draw; yields the same (x, y) every time.
        loss: mean loss of a batch from the model's output, read as a `PeerOutput`. Batches are
            weighted by their number of rows.
        draws: for each scale; σ = 0 is evaluated once.

    Returns:
        `sigma`, `mean` and `std` (sample standard deviation over draws; 0 for one draw), in the
        order of `sigmas`.

    Raises InputError: a negative scale, no draw, no batch, or a model without such layers.
    """
    if draws < 1:
        raise InputError(f"flatness: draws = {draws}; at least 1 is needed")
    for sigma in sigmas:
        if not (math.isfinite(sigma) and sigma >= 0):
            raise InputError(f"flatness: sigma = {sigma}; allowed: finite numbers from 0 up")
    weights = noised_weights(model)
    result: dict[str, list[float]] = {"sigma": [float(s) for s in sigmas], "mean": [], "std": []}
    with torch.no_grad(), evaluating(model), _put_back(model, weights) as originals:
        for position, sigma in enumerate(sigmas):
            losses = []
            for draw in range(draws if sigma else 1):
                _add_noise(weights, originals, sigma, (seed, "flatness", position, draw))
                # Layers that sample in evaluation mode draw the same for every σ and draw.
                with seeded_rng(seed, "flatness", "forward"):
                    losses.append(_mean_loss(model, batches(), loss))
            result["mean"].append(statistics.fmean(losses))
            result["std"].append(_sample_std(losses))
    return result


def noised_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of convolution and linear layers by name: no bias, no normalisation, none twice.

    A layer of one's own counts as linear where it has an attribute `linear = True`.
    """
    weights = {
        f"{layer}.{name}": weight
        for layer, module in model.named_modules()
        if isinstance(module, (nn.Linear, _ConvNd)) or getattr(module, "linear", None) is True
        for name, weight in module.named_parameters()
        if weight.ndim >= 2
    }
    if not weights:
        raise InputError(
            f"flatness: {type(model).__name__} has no convolution or linear layer to add noise to"
        )
    # Tied layers share one tensor, which gets its noise once, under its first name.
    first_name = {id(weight): name for name, weight in reversed(weights.items())}
    return {name: weight for name, weight in weights.items() if first_name[id(weight)] == name}


@contextmanager
def _put_back(model: nn.Module, weights: dict[str, nn.Parameter]) -> Iterator[dict[str, Tensor]]:
    """Yield copies of `weights`; at the end restore them, and the buffers."""
    originals = {name: weight.detach().clone() for name, weight in weights.items()}
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield originals
    finally:
        for name, weight in weights.items():
            weight.copy_(originals[name])
        for module, name, buffer, value in buffers:
            buffer.copy_(value)
            setattr(module, name, buffer)


def _add_noise(
    weights: dict[str, nn.Parameter],
    originals: dict[str, Tensor],
    sigma: float,
    key: tuple[int, str, int, int],
) -> None:
    for name, weight in weights.items():
        original = originals[name]
        # Drawn on the CPU, so that every device sees the same noise.
        noise = torch.randn(original.shape, generator=keyed_generator(*key, name))
        rms = original.float().square().mean().sqrt()
        weight.copy_(original + (sigma * rms * noise.to(original.device)).to(original.dtype))


def _mean_loss(
    model: nn.Module,
    batches: Iterable[tuple[Any, Tensor]],
    loss: Callable[[PeerOutput, Tensor], Tensor],
) -> float:
    total, rows, name = 0.0, 0, type(model).__name__
    for x, y in batches:
        output = as_peer_output(called(model, x, name), name)
        total += float(loss(output, y)) * len(y)
        rows += len(y)
    if not rows:
        raise InputError("flatness: batches() gave no row to evaluate")
    return total / rows


def _sample_std(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    return torch.tensor(values, dtype=torch.float64).std().item()  # NaN in, NaN out
