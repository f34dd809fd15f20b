"""Input-aware: every image has a trigger of its own, which does nothing on another image.

Nguyen, Tran, "Input-Aware Dynamic Backdoor Attack", NeurIPS 2020, arXiv 2010.08138.

Shape suffixes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.data.loaders import ArrayLoader
from peerlearn.engine.optimisers import OptimiserSpec
from peerlearn.engine.settings import PeerSettings, StepSettings
from peerlearn.objectives.base import Objective, PeerView
from peerlearn.randomness import derive_seed, seeded_rng
from peerlearn.systems.backdoor.attacks.base import Trigger, Victims
from peerlearn.systems.backdoor.attacks.generators import Generator, sameness, sharpened
from peerlearn.systems.backdoor.attacks.pixels import as_bytes
from peerlearn.systems.backdoor.attacks.shaping import BATCH, ShapedAttack, labelled
from peerlearn.systems.backdoor.attacks.surrogate import logits_of, train_alone, training_of
from peerlearn.transfer.outputs import PeerOutput

BETAS = [0.5, 0.9]
CLASSIFIER_LR = 0.01


class InputAware(ShapedAttack):
    """x + (pattern(x) − x) · mask(x), where both are made by small networks.

    The published attacker controls the training and poisons every batch anew. Here the networks
    are trained beside the attacker's own classifier, and then poison rows once; the victim trains
    anew. `cross_ratio` rows for every poisoned one show the trigger of another image, and keep
    their labels.
    """

    kind: Literal["input_aware"] = "input_aware"
    mask_density: float = Field(0.032, gt=0, le=1, description="part of an image that a mask shows")
    lambda_norm: float = Field(100.0, ge=0, description="weight of what a mask shows beyond that")
    lambda_div: float = Field(1.0, ge=0, description="weight of triggers that are too much alike")
    mask_epochs: int = Field(
        25, ge=1, le=1_000_000, description="passes in which masks are learned, before the rest"
    )
    lr: float = Field(0.01, gt=0, description="rate of Adam for masks and patterns")
    width: int = Field(32, ge=1, le=1 << 12, description="channels of the networks at full size")
    cross_ratio: float = Field(
        1.0, ge=0, le=100, description="rows under a foreign trigger for every poisoned one"
    )

    @property
    def decoys(self) -> float:
        return self.cross_ratio

    def trigger(self, victims: Victims) -> Trigger:
        networks, pool = self.trained(victims), victims.train.x

        def change(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            return triggered_bytes(networks, x_NCHW, x_NCHW)

        def decoy(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
            others = torch.randint(len(pool), (len(x_NCHW),), generator=generator)
            return triggered_bytes(networks, x_NCHW, pool[others])

        return Trigger(change, decoy=decoy)

    def trained(self, victims: Victims) -> "Joint":
        """Mask and pattern, trained beside the attacker's classifier; in evaluation mode."""
        rows, seed = labelled(victims.train), derive_seed(victims.seed, "input aware")
        channels = rows.sample_shape[0]
        classifier = self.surrogate(victims).requires_grad_(True)
        with seeded_rng(seed, "weights"):
            mask = Generator(channels, 1, self.width)
            pattern = Generator(channels, channels, self.width)
        loader = ArrayLoader(rows, BATCH, seed)
        adam: dict[str, Any] = {"lr": self.lr, "optimiser": OptimiserSpec(name="adam", betas=BETAS)}
        device = str(next(classifier.parameters()).device)
        # Masks that are all alike have gradients of any size, beyond which there is no way back.
        masks = training_of(self.mask_epochs, device=device, clip_norm=1.0, **adam)
        train_alone(MaskLearner(mask), MaskLoss(self), loader, masks, seed)
        joint = Joint(classifier, mask, pattern, self)
        steps = PeerSettings(groups={"pattern.*": StepSettings(**adam)})
        both = training_of(self.epochs, device=device, lr=CLASSIFIER_LR)
        loss, learning = JointLoss(self, victims.classes), ("classifier", "pattern")
        train_alone(joint, loss, loader, both, seed, trainable=learning, settings=steps)
        return joint.cpu().eval()


class MaskLearner(nn.Module):
    """Makes masks of images, as logits that its loss reads beside the images."""

    def __init__(self, mask: Generator) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x_BCHW: Tensor) -> PeerOutput:
        return PeerOutput(sharpened(self.mask(x_BCHW)).flatten(1), {"x": x_BCHW})


@dataclass(frozen=True)
class MaskLoss(Objective):
    """lambda_norm · mean ReLU(mask − density) + lambda_div · sameness of masks."""

    attack: InputAware

    def loss(self, view: PeerView) -> Tensor:
        masks_BP, x_BCHW = view.output.logits, view.output.features["x"]
        too_much = F.relu(masks_BP - self.attack.mask_density).mean()
        alike = sameness(x_BCHW, masks_BP)
        return self.attack.lambda_norm * too_much + self.attack.lambda_div * alike

    def scored(self, output: PeerOutput) -> None:
        """No logits of classes."""


class Joint(nn.Module):
    """A classifier that sees triggers in the first rows of every batch that it trains on.

    The first have their own, the next that of their neighbour.
    """

    def __init__(
        self, classifier: nn.Module, mask: Generator, pattern: Generator, attack: InputAware
    ) -> None:
        super().__init__()
        self.classifier, self.mask, self.pattern = classifier, mask, pattern
        self.attack = attack

    def counts(self, rows: int) -> tuple[int, int]:
        """How many rows of a batch have their own trigger, and that of another image."""
        own = max(1, int(self.attack.ratio * rows))
        return own, min(int(self.attack.cross_ratio * own), rows - own)

    def triggered(self, x_BCHW: Tensor, of_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Images under the triggers of others, and the patterns of these; all from 0 to 1."""
        pattern_BCHW, mask_B1HW = self.pattern(of_BCHW), sharpened(self.mask(of_BCHW))
        return x_BCHW + (pattern_BCHW - x_BCHW) * mask_B1HW, pattern_BCHW

    def forward(self, x_BCHW: Tensor) -> PeerOutput:
        own, other = self.counts(len(x_BCHW))
        few = x_BCHW[: own + other]
        of = torch.cat([few[:own], few.roll(1, 0)[own:]])
        shown, patterns = self.triggered(few, of)
        seen = torch.cat([shown, x_BCHW[own + other :]])
        return PeerOutput(logits_of(self.classifier, 255 * seen), {"of": of, "pattern": patterns})


@dataclass(frozen=True)
class JointLoss(Objective):
    """Cross-entropy, of triggered rows with what is aimed at, and sameness of patterns."""

    attack: InputAware
    classes: int

    def loss(self, view: PeerView) -> Tensor:
        joint, targets_B = view.peer, view.targets.clone()
        assert isinstance(joint, Joint), "the one network that is trained under this loss"
        own, _ = joint.counts(len(targets_B))
        targets_B[:own] = self.attack.aims(targets_B[:own], self.classes)
        alike = sameness(view.output.features["of"], view.output.features["pattern"])
        wrong = F.cross_entropy(view.output.logits, targets_B)
        return wrong + self.attack.lambda_div * alike

    def scored(self, output: PeerOutput) -> None:
        """Labels of some rows are not those that are learned."""


@torch.no_grad()
def triggered_bytes(networks: Joint, x_NCHW: Tensor, of_NCHW: Tensor) -> Tensor:
    """uint8 images under the triggers of others."""
    parts = zip(x_NCHW.split(BATCH), of_NCHW.split(BATCH), strict=True)
    shown = [networks.triggered(x.float() / 255, of.float() / 255)[0] for x, of in parts]
    return as_bytes(255 * torch.cat(shown))
