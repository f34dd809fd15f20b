"""Parts: an image as a bag of what its places look like, over a dictionary learned online.

Zhao & Han, "Novel Visual Category Discovery with Dual Ranking Statistics and Mutual Knowledge
Distillation", NeurIPS 2021, section 3.2.

Shape suffixes: B images, P places of a map, D channels, E entries of the dictionary.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.validation import Spec

INITIAL_SCALE = 0.5
SMALLEST_CROPPED = 5
"""Side of the smallest map whose border is left out by itself: what remains has three."""


class PartSpec(Spec):
    """A dictionary of parts. Defaults are those of the authors."""

    size: int = Field(2048, ge=1, le=1 << 20, description="entries of the dictionary")
    sharpness: float = Field(15.0, gt=0, description="of the softmax over entries")
    momentum: float = Field(
        0.99, ge=0, lt=1, description="of the running distance from a place to its nearest entry"
    )
    crop: Literal["auto", 0, 1] = Field(
        "auto",
        description="places left out along the border of a map; auto: 1 where both sides are at "
        "least 5, else 0",
    )


class PartDictionary(nn.Module):
    """Assigns images to parts, and replaces its oldest parts by those it sees.

    For places u of a map and entries v of the dictionary:

        d_uv = ‖F_u − e_v‖²
        m    ← momentum · m + (1 − momentum) · mean over places and images of min_v d_uv
        a_u  = softmax over v of −(sharpness / m) d_uv
        b    = mean over u of a_u

    A batch in training then puts one random place of each image in the place of the oldest entries;
    distances are those to the entries before. Places are drawn from the seed and a counter of all
    that were ever put in, which is kept with the weights: a resumed training goes on alike. In
    evaluation nothing changes. No gradient passes.

    The public code crops always, which leaves 2x2 places of a 4x4 map, and needs a `size` that is a
    multiple of the batch; here small maps are kept whole and the last batch may be of any size.

    Shapes:
        input: (B, D, height, width); output: (B, E), fp32, rows sum to 1
    """

    entries: Tensor
    scale: Tensor
    counter: Tensor

    def __init__(self, channels: int, spec: PartSpec | None = None, seed: int = 0) -> None:
        super().__init__()
        self.spec = spec or PartSpec()
        self.seed = seed
        generator = keyed_generator(seed, "parts")
        entries = torch.randn(self.spec.size, channels, generator=generator).clamp_min(0)
        self.register_buffer("entries", entries)
        self.register_buffer("scale", torch.tensor(INITIAL_SCALE))
        self.register_buffer("counter", torch.tensor(0))  # the next slot is counter mod size

    @torch.no_grad()
    def forward(self, maps_BDHW: Tensor) -> Tensor:
        """The bag of parts of every image.

        Raises InputError: not maps of `channels`, or too small to leave out their border.
        """
        places_BPD = self._places(maps_BDHW).float()
        distances_BPE = squared_distances(places_BPD, self.entries)
        learns = self.training and len(places_BPD) > 0
        if learns:
            nearest = distances_BPE.amin(-1).mean()
            self.scale.lerp_(nearest, 1 - self.spec.momentum)
        sharpness = self.spec.sharpness / self.scale.clamp_min(torch.finfo(torch.float32).tiny)
        bags_BE = F.softmax(-sharpness * distances_BPE, -1).mean(1)
        if learns:
            self._put(places_BPD)
        return F.normalize(bags_BE, p=1, dim=1)

    def _places(self, maps_BDHW: Tensor) -> Tensor:
        channels = self.entries.shape[1]
        if maps_BDHW.ndim != 4 or maps_BDHW.shape[1] != channels:
            raise InputError(
                f"objective.parts: expected maps (batch, {channels}, height, width), found "
                f"{tuple(maps_BDHW.shape)}"
            )
        height, width = maps_BDHW.shape[2:]
        crop = self.spec.crop
        border = int(min(height, width) >= SMALLEST_CROPPED) if crop == "auto" else crop
        if min(height, width) <= 2 * border:
            raise InputError(
                f"objective.parts.crop: {border} leaves nothing of maps of {height}x{width}; use "
                "crop: 0, larger images, or a last stage of stride 1"
            )
        inner = maps_BDHW[..., border : height - border, border : width - border]
        return inner.flatten(2).transpose(1, 2)

    def _put(self, places_BPD: Tensor) -> None:
        images, places, _ = places_BPD.shape
        size, before = len(self.entries), int(self.counter)
        generator = keyed_generator(self.seed, "parts", before)
        drawn = torch.randint(places, (images,), generator=generator)
        image = torch.arange(images)[-size:]  # of more images than entries the last ones stay
        slots = (before + image) % size
        self.entries[slots] = places_BPD[image, drawn[image]]
        self.counter += images


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖x_i − y_j‖² of x (..., D) and y (E, D) as ‖x_i‖² − 2⟨x_i, y_j⟩ + ‖y_j‖², at least 0."""
    squares = x.square().sum(-1, keepdim=True) + y.square().sum(-1)
    return (squares - 2 * x @ y.T).clamp_min(0)
