"""What attacks do with images: rounding, smooth pictures, low-pass filters, patches.

Shape suffixes: N rows, C channels, H height, W width.
"""

import torch
from torch import Tensor

from peerlearn.errors import InputError


def as_bytes(x: Tensor) -> Tensor:
    """Values cut off at 0 and 255 and rounded to whole numbers, uint8 of the same shape."""
    return x.round().clamp(0, 255).to(torch.uint8)


def frequencies(height: int, width: int) -> Tensor:
    """Cycles per pixel of every term of a real 2-d Fourier transform, (H, W // 2 + 1)."""
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    return (rows[:, None].square() + columns.square()).sqrt()


def low_passed(x_CHW: Tensor, sigma: float) -> Tensor:
    """An image with a Gaussian low-pass filter, of `sigma` cycles per 32 pixels; periodic."""
    height, width = x_CHW.shape[-2:]
    gain_HF = (-0.5 * (frequencies(height, width) * 32 / sigma).square()).exp()
    return torch.fft.irfft2(torch.fft.rfft2(x_CHW) * gain_HF, s=(height, width))


def smooth_image(shape_CHW: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A random picture of the spectrum 1/f that photographs have, float (C, H, W) in 0 to 255.

    Every channel is drawn for itself, and spread over the whole range.
    """
    channels, height, width = shape_CHW
    white = torch.randn(channels, height, width, generator=generator)
    size_HF = frequencies(height, width)
    size_HF[0, 0] = torch.inf  # no constant part
    image = torch.fft.irfft2(torch.fft.rfft2(white) / size_HF, s=(height, width))
    return 255 * spread(image, (1, 2))


def spread(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Values moved to fill [0, 1] over some dimensions; 0 where they are all equal."""
    low, high = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
    return (x - low) / (high - low).clamp(min=1e-12)


def checkers(size: int) -> Tensor:
    """Bool (size, size), true in the upper left corner and in every other field."""
    place = torch.arange(size)
    return (place[:, None] + place) % 2 == 0


def check_side(size: int, shape_CHW: tuple[int, ...], field: str = "size") -> None:
    """InputError where a square patch is larger than images."""
    height, width = shape_CHW[1:]
    if size > min(height, width):
        raise InputError(
            f"{field}: found {size}; allowed: up to {min(height, width)}, for images have "
            f"{height}x{width} pixels"
        )
