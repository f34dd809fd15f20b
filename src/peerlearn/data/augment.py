"""Random augmentation of a whole batch at once, and the normalisation that every batch gets.

Shape suffixes: B batch, C channels, H height, W width, h and w those of an output.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.data.spec import AugmentSpec
from peerlearn.errors import InputError

#: Height and width of the random images that are blended in, before they are made large and smooth.
COARSE = 4


class Draws(NamedTuple):
    """One uniform number in [0, 1) per row for each thing that can be random, each (B,)."""

    shift_y: Tensor
    shift_x: Tensor
    mirror: Tensor
    angle: Tensor
    hole_y: Tensor
    hole_x: Tensor
    blend: Tensor
    noise: Tensor
    content: Tensor  # of what is blended in

    @classmethod
    def of(cls, rows: int, generator: torch.Generator) -> "Draws":
        """Everything drawn for `rows` rows, whatever of it will be used."""
        return cls(*torch.rand(len(cls._fields), rows, generator=generator))

    def select(self, index: Tensor) -> "Draws":
        """The draws of the rows at `index`."""
        return Draws(*(draw[index.to(draw.device)] for draw in self))


class Normalisation(NamedTuple):
    """(x − mean) / std by channel, each (C,), as one multiplication and one addition.

    A std of 0 counts as 1, so a constant channel becomes 0. Of no channel, rows stay as they are.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, mean: Sequence[float] | None, std: Sequence[float] | None) -> "Normalisation":
        """From plain numbers; None leaves the values where they are."""
        mean_C = torch.tensor([0.0] if mean is None else list(mean), dtype=torch.float64)
        std_C = torch.tensor([1.0] if std is None else list(std), dtype=torch.float64)
        return cls(mean_C, torch.where(std_C == 0, torch.ones_like(std_C), std_C))

    def apply(self, x: Tensor) -> Tensor:
        """float32 of the shape of `x`, (B, C, ...); uint8 is scaled to [0, 1] first."""
        if not len(self.mean):
            return x
        unit = 255 if x.dtype == torch.uint8 else 1
        scale, shift = (
            values.float().to(x.device).view(1, -1, *[1] * (x.ndim - 2))
            for values in (1 / (unit * self.std), -self.mean / self.std)
        )
        # One fresh tensor, changed in place: at this size allocation costs more than arithmetic.
        return x.to(torch.float32, copy=True).mul_(scale).add_(shift)


def normalise(
    x: Tensor, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Tensor:
    """(x − mean) / std by channel as float32; uint8 is scaled to [0, 1] first.

    Shapes: x: (B, C, H, W) or (B, F), uint8 or float; mean, std: one number a channel or feature.
    """
    return Normalisation.of(mean, std).apply(x)


def check_augment(spec: AugmentSpec, sample_shape: Sequence[int]) -> None:
    """Refuse augmentation that the rows cannot take.

    Raises InputError: any augmentation of vectors, a border that reflection cannot fill, or a hole
    larger than an image.
    """
    active = [name for name, value in spec if value]
    if active and len(sample_shape) != 3:
        found = f"vectors of {sample_shape[0]} features" if sample_shape else "rows by name"
        raise InputError(
            f"augment.{active[0]}: the data has {found}; augmentation is for images. Leave the "
            "augment block out."
        )
    if spec.crop and spec.crop >= min(sample_shape[1:]):
        height, width = sample_shape[1:]
        raise InputError(
            f"augment.crop: {spec.crop} pixels cannot be reflected from images of "
            f"{height}x{width}; allowed: 0 to {min(height, width) - 1}."
        )
    if spec.cutout and spec.cutout > max(sample_shape[1:]):
        raise InputError(
            f"augment.cutout: {spec.cutout} pixels are more than images of "
            f"{'x'.join(map(str, sample_shape[1:]))} have; allowed: 0 to {max(sample_shape[1:])}."
        )


def augment(
    x: Tensor,
    spec: AugmentSpec,
    generator: torch.Generator,
    normalisation: Normalisation | None = None,
) -> Tensor:
    """One random view of a batch, normalised; see `changed` for what is done in which order.

    The CPU generator is the only source of randomness. Every call draws the same amount whatever
    is switched on, so that one option never reshuffles another.

    Shapes: x (B, C, H, W), uint8 or float; vectors (B, F) pass where nothing is switched on. The
    result is float32 of the same shape; without a normalisation uint8 is only scaled to [0, 1].
    """
    return changed(x, spec, Draws.of(len(x), generator), normalisation)


def changed(
    x: Tensor, spec: AugmentSpec, draws: Draws, normalisation: Normalisation | None = None
) -> Tensor:
    """The view of a batch that `draws` stand for; otherwise as `augment`.

    In this order: shifted crop and mirroring (one gather on the raw values, a quarter of the
    traffic where they are uint8), normalisation, rotation, blending, noise, cutout. Cutout comes
    last so that its square holds zeros, the channel mean, as in DeVries & Taylor 2017.
    """
    normalisation = normalisation or Normalisation.of(None, None)
    draws = Draws(*(draw.to(x.device) for draw in draws))
    if spec.crop or spec.flip:
        x = crop_and_flip(x, spec.crop, spec.flip, draws)
    x = normalisation.apply(x)
    if spec.rotation:
        x = rotate(x, spec.rotation, draws)
    if spec.blend:
        x = blended(x, spec.blend, draws, normalisation)
    if spec.noise:
        x = noisy(x, spec.noise, draws, normalisation)
    if spec.cutout:
        x = cut_out(x, spec.cutout, draws)
    return x


def crop_and_flip(x_BCHW: Tensor, border: int, flip: bool, draws: Draws) -> Tensor:
    """Crop at a random place of the image with a reflected border, then mirror half the rows."""
    height, width = x_BCHW.shape[2:]
    rows_BH = _shifted(height, border, draws.shift_y)
    columns_BW = _shifted(width, border, draws.shift_x)
    if flip:
        mirrored_B1 = (draws.mirror < 0.5)[:, None]
        columns_BW = torch.where(mirrored_B1, columns_BW.flip(1), columns_BW)
    return gathered(x_BCHW, rows_BH[:, :, None], columns_BW[:, None, :])


def rotate(x_BCHW: Tensor, degrees: float, draws: Draws) -> Tensor:
    """Turn each image by its own angle in [−degrees, degrees], bilinear, corners reflected."""
    height, width = x_BCHW.shape[2:]
    angle_B = (2 * draws.angle - 1) * math.radians(degrees)
    cos_B, sin_B, zero_B = angle_B.cos(), angle_B.sin(), torch.zeros_like(angle_B)
    # Grid coordinates run from -1 to 1 along either side: the ratio keeps pixels square.
    theta_B23 = torch.stack(
        [cos_B, -sin_B * height / width, zero_B, sin_B * width / height, cos_B, zero_B], dim=1
    ).view(-1, 2, 3)
    grid = F.affine_grid(theta_B23, list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid, padding_mode="reflection", align_corners=False)


def blended(x_BCHW: Tensor, most: float, draws: Draws, normalisation: Normalisation) -> Tensor:
    """Mix each image with a smooth random one, which has a share in [0, most] of the result."""
    batch, channels, height, width = x_BCHW.shape
    coarse_BChw = _numbers(draws.content, channels * COARSE**2).view(
        batch, channels, COARSE, COARSE
    )
    smooth_BCHW = F.interpolate(coarse_BChw, (height, width), mode="bicubic").clamp(0, 1)
    share_B111 = (most * draws.blend).view(-1, 1, 1, 1)
    return torch.lerp(x_BCHW, normalisation.apply(smooth_BCHW), share_B111)


def noisy(x_BCHW: Tensor, most: float, draws: Draws, normalisation: Normalisation) -> Tensor:
    """Add Gaussian noise to each image, of a deviation in [0, most], where pixels are in [0, 1]."""
    uniform_BCHW = _numbers(draws.content, x_BCHW[0].numel(), 1).view_as(x_BCHW)
    normal_BCHW = math.sqrt(2) * torch.erfinv((2 * uniform_BCHW - 1).clamp(-0.9999, 0.9999))
    unit_C11 = (1 / normalisation.std).float().to(x_BCHW.device).view(-1, 1, 1)
    return x_BCHW + (most * draws.noise).view(-1, 1, 1, 1) * unit_C11 * normal_BCHW


def _numbers(draw_B: Tensor, count: int, stream: int = 0) -> Tensor:
    """Numbers (B, count) in [0, 1) that each row's own draw stands for, whatever its batch.

    The fractional part of a large multiple of a sine: no generator, so that a version of a row that
    is made again is the same; and random enough for pixels.
    """
    place = torch.arange(1, count + 1, device=draw_B.device, dtype=torch.float64)
    angle_BN = (draw_B.double()[:, None] + 1 + stream) * (78.233 * place)
    return ((angle_BN.sin() * 43758.5453) % 1).float()


def cut_out(x_BCHW: Tensor, side: int, draws: Draws) -> Tensor:
    """Zero one square a row, centred on a random pixel and clipped at the image border."""
    height, width = x_BCHW.shape[2:]
    inside_BH = _hole(height, side, draws.hole_y)
    inside_BW = _hole(width, side, draws.hole_x)
    hole_B1HW = (inside_BH[:, :, None] & inside_BW[:, None, :])[:, None]
    return x_BCHW.masked_fill(hole_B1HW, 0.0)


def _shifted(length: int, border: int, draw_B: Tensor) -> Tensor:
    """Source position of every position along one axis, (B, length), reflected at both ends."""
    offset_B = (draw_B * (2 * border + 1)).long()
    return _shifts(length, border, draw_B.device).index_select(0, offset_B)


@cache
def _shifts(length: int, border: int, device: torch.device) -> Tensor:
    """`_shifted` by every offset, (2 · border + 1, length): a batch is made in fewer calls."""
    offset = torch.arange(-border, border + 1, device=device)
    position = offset[:, None] + torch.arange(length, device=device)
    return (length - 1) - ((length - 1) - position.abs()).abs()


def _hole(length: int, side: int, draw_B: Tensor) -> Tensor:
    """Positions along one axis that a hole of `side` covers, bool (B, length)."""
    first_B1 = (draw_B * length).long()[:, None] - side // 2
    position = torch.arange(length, device=draw_B.device)
    return (position >= first_B1) & (position < first_B1 + side)


def reflected(position: Tensor, length: int) -> Tensor:
    """Where a position along an axis is read: mirrored at both edges, as often as it takes.

    Positions are in pixels, floats of any shape, 0 at the first edge and `length` at the last one;
    the centre of pixel i is i + 0.5. The result has their shape, and values in [0, length].
    """
    folded = position.remainder(2 * length)
    return torch.minimum(folded, 2 * length - folded)


def reflected_pixels(position: Tensor, length: int) -> Tensor:
    """Number of the pixel that holds a position, int64, mirrored at both edges."""
    return reflected(position, length).floor().long().clamp_(max=length - 1)


def gathered(x_BCHW: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of each image at its rows and columns, of the type of the image.

    Shapes:
        rows, columns: int64, together (B, h, w); either may have one row or one column.
        Returns (B, C, h, w).
    """
    batch, channels, _, width = x_BCHW.shape
    source_Bhw = rows * width + columns
    pixels_BCP, source_B1P = x_BCHW.reshape(batch, channels, -1), source_Bhw.view(batch, 1, -1)
    moved_BCP = pixels_BCP.gather(2, source_B1P.expand(-1, channels, -1))
    return moved_BCP.view(batch, channels, *source_Bhw.shape[1:])
