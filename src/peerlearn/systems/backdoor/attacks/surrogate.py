"""The attacker's own network, by which some attacks shape their triggers."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data.augment import Normalisation
from peerlearn.data.datasets import BatchLoader, Split, channel_statistics
from peerlearn.data.loaders import ArrayLoader
from peerlearn.data.spec import AugmentSpec
from peerlearn.engine.settings import EvaluationSpec, PeerSettings, TrainingSpec
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.trainer import Observer, Trainer
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.objectives.base import Classification, Objective
from peerlearn.randomness import derive_seed, seeded_rng
from peerlearn.transfer.outputs import as_peer_output

BATCH = 128
LR = 0.05


class Surrogate(nn.Module):
    """A network that reads images in 0..255 as attacks have them, and is differentiable in them.

    Args:
        network: reads normalised images, and gives logits or a `PeerOutput`.
        mean, std: of each channel of the images in [0, 1].

    Shapes:
        input: uint8 or float (B, C, H, W) on any device, that of the logits
        output: logits (B, classes)
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self._normalisation = Normalisation.of(mean, std)

    def forward(self, x: Tensor) -> Tensor:
        device = next(self.network.parameters()).device
        unit = x.to(device, torch.float32) / 255
        mean, std = (each.float().to(device).view(1, -1, 1, 1) for each in self._normalisation)
        return logits_of(self.network, (unit - mean) / std).to(x.device)


def trained_surrogate(
    model: str,
    arguments: Mapping[str, Any] | None = None,
    seed: int = 0,
    *,
    device: str = "auto",
    threads: int | None = None,
    observe: Observer = lambda event: None,
    field: str = "surrogate",
) -> Callable[[Split, int, int], Surrogate]:
    """What `Victims.surrogate` is: trains one network on rows of the attacker's choice.

    Cross-entropy; SGD of rate 0.05 with a cosine, batches of 128, shifted crops. The network is
    given in evaluation mode, and its weights gather no gradients.

    Args:
        model, arguments: the network by its name, as peers have it.
        seed: keys weights, batches and augmentation.
        device, threads: as of a training.
        observe: is told of steps and epochs.
        field: what messages call the model.

    Raises InputError, when it is called: an unknown model, or images that it does not read.
    """

    def train(rows: Split, classes: int, epochs: int) -> Surrogate:
        mean, std = channel_statistics(rows.rows, rows.measured_rows())
        with seeded_rng(seed, "weights", "surrogate"):
            network = build_model(model, rows.sample_shape, classes, arguments, field)
        augment = AugmentSpec(crop=min(rows.sample_shape[1:]) // 8)
        key = derive_seed(seed, "surrogate")
        loader = ArrayLoader(rows, BATCH, key, augment, mean, std)
        training = training_of(epochs, device=device, threads=threads)
        train_alone(network, Classification(), loader, training, key, observe=observe)
        surrogate = Surrogate(network, mean, std).eval()
        return surrogate.requires_grad_(False)

    return train


def training_of(epochs: int, **more: Any) -> TrainingSpec:
    """How networks of an attacker train; `more` are other fields of `TrainingSpec`."""
    usual = {"lr": LR, "batch_size": BATCH, "precision": "fp32"}
    return TrainingSpec(epochs=epochs, evaluation=EvaluationSpec(select="last"), **(usual | more))


def train_alone(
    network: nn.Module,
    objective: Objective,
    loader: BatchLoader,
    training: TrainingSpec,
    seed: int,
    *,
    trainable: Collection[str] | None = None,
    settings: PeerSettings | None = None,
    observe: Observer = lambda event: None,
) -> None:
    """Train one network by the engine, as a cohort of one whose rows nobody measures.

    `trainable` names the submodules that train, None for all; the others are run as they are
    evaluated.
    """
    name = "surrogate"
    cohort = Cohort({name: network}, "none", objective)
    stages = [TrainingStage(name, training.epochs, loader, trainable=trainable)]
    own = {} if settings is None else {name: settings}
    Trainer(cohort, stages, training, None, own, seed, observe=observe).run()


def logits_of(network: nn.Module, x: Tensor) -> Tensor:
    """Logits (B, classes) of a network, whatever form it gives them in."""
    return as_peer_output(network(x), "surrogate").logits


def last_linear(network: nn.Module, attack: str) -> nn.Linear:
    """The layer that a network classifies with: the last `nn.Linear` that it holds.

    Raises InputError: it has none.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise InputError(
            f"surrogate: {type(network).__name__} has no linear layer (torch.nn.Linear), whose "
            f"inputs attack {attack!r} is made by; choose another model"
        )
    return layers[-1]
