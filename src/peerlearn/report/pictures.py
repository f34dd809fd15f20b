"""Images of reports: small ones inside the page, and `gallery.npz`, which they are made from."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.files import check_file

Bytes = NDArray[np.uint8]
_FEW_COLOURS = 64  # of photographs, which would fill the page otherwise
_SMALL = 128 * 128


def visible(x: Tensor) -> Bytes:
    """Images (B, C, H, W) of any type in a byte a channel: three channels as RGB, else the first.

    Floats are stretched from the smallest to the largest value of each image.
    """
    shown = x[:, :3] if x.shape[1] >= 3 else x[:, :1]
    if shown.dtype != torch.uint8:
        values = shown.float().nan_to_num()
        low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
        shown = (255 * (values - low) / (high - low).clamp_min(1e-12)).round().to(torch.uint8)
    return (shown.permute(0, 2, 3, 1) if shown.shape[1] == 3 else shown[:, 0]).numpy()


def photograph(pixels: Bytes) -> str:
    """An image, grey (H, W) or RGB (H, W, 3), as a data URI."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if pixels.ndim == 3 and pixels.shape[0] * pixels.shape[1] > _SMALL:
        image = image.quantize(_FEW_COLOURS, method=Image.Quantize.MEDIANCUT)
    return data_uri(image)


def data_uri(image: Any, **options: Any) -> str:
    """A Pillow image as a PNG inside a page; options are those of its `save`."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def read_arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    """The arrays of a gallery by name. Raises InputError: it is damaged, or holds objects."""
    check_file(path)
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("one array, not several by name")
        with file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # a format in a format, each with errors of its own
        raise unreadable(path, str(error) or type(error).__name__) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or 0 in array.shape[1:]:
            raise unreadable(path, f"{name} is no array of values")
    return arrays


def unreadable(path: Path, why: str) -> InputError:
    """What to raise where a file is not the gallery that was expected."""
    return InputError(f"{path}: not readable as a gallery: {why}")
