"""Networks of unknown origin on blots: files of weights, with and without a backdoor, and data."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from blots import blots
from overriding import parsed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from peerlearn.data.augment import Normalisation
from peerlearn.data.datasets import Split
from peerlearn.models import MODELS
from peerlearn.systems.backdoor.task import BackdoorTask
from peerlearn.systems.registry import find_recipe
from peerlearn.tasks.contract import trainer_of

SHAPE, CLASSES = (3, 12, 12), 5
NETWORK = "{model: cnn, arguments: {width: 0.25}}"
VICTIM = [
    *(f"peers.victim={NETWORK}", f"peers.student={NETWORK}", "peers.teacher=null"),
    *("transfer=none", "defence=none", "stages.standard.epochs=6", "data.clean=0.2", "seed=1"),
    *("precision=fp32", "threads=1"),
]
#: How the tests purify: a second or two.
QUICK = ["arguments.width=0.25", "threads=1", "precision=fp32", "epochs=6"]
QUICK_NON_TARGET = [*QUICK, "stages.non_target.epochs=6"]


class Origin(NamedTuple):
    """A network that somebody has trained, and what it was trained on.

    Attributes:
        weights: its file.
        train: `.npz` of the training rows alone, under x_train and y_train.
        clean: `.npz` of clean rows, under x and y.
        network: as it is.
        test: clean rows that nobody has.
        triggered: test rows with the trigger, none of them of class 0, the target.
        read: how it reads pixels.
    """

    weights: Path
    train: Path
    clean: Path
    network: nn.Module
    test: Split
    triggered: Tensor
    read: Normalisation

    def rates(self, network: nn.Module) -> tuple[float, float]:
        """Accuracy on the test rows, and the part of triggered rows that go to the target."""
        network.eval()
        with torch.no_grad():
            said = network(self.read.apply(self.test.x)).logits.argmax(1)
            aimed = network(self.read.apply(self.triggered)).logits.argmax(1) == 0
        return float((said == self.test.y).float().mean()), float(aimed.float().mean())


def origin(folder: Path, *, poisoned: bool) -> Origin:
    """A small network, trained on blots of which a tenth has the trigger of BadNets, or none."""
    recipe, given = find_recipe("backdoor")
    data = blots(folder / "blots.npz")
    attacked = recipe.task.load(recipe.resolve(given, parsed(*VICTIM, f"data.name={data}")))
    none = [] if poisoned else ["data.attack=null"]
    task = recipe.task.load(recipe.resolve(given, parsed(*VICTIM, f"data.name={data}", *none)))
    assert isinstance(task, BackdoorTask) and isinstance(attacked, BackdoorTask)
    trainer = trainer_of(task)
    trainer.run()
    network = trainer.cohort.peers["victim"]
    save_file(network.state_dict(), folder / "weights.safetensors")
    held, clean, shown = task.data, task.data.clean, attacked.data.triggered
    assert clean is not None and shown is not None
    arrays = {"x_train": last(held.train.x), "y_train": held.train.y.numpy()}
    np.savez(folder / "train.npz", **arrays)
    x, y = torch.cat([clean.x, held.val.x]), torch.cat([clean.y, held.val.y])
    np.savez(folder / "clean.npz", x=last(x), y=y.numpy())
    files = (folder / name for name in ("weights.safetensors", "train.npz", "clean.npz"))
    return Origin(*files, network, held.test, shown.x, task.normalisation())


def last(x_NCHW: Tensor) -> np.ndarray:
    """Images as files have them."""
    return x_NCHW.permute(0, 2, 3, 1).numpy()


def fresh() -> nn.Module:
    """The user's own network, whose weights are about to be loaded."""
    return MODELS.build("cnn", SHAPE, CLASSES, {"width": 0.25})


def loaded(path: Path) -> nn.Module:
    """It with the weights of a file, as the user reads them."""
    network = fresh()
    network.load_state_dict(load_file(path), strict=True)
    return network
