"""What is read of inputs: image files, folders of images, `.npz` and `.npy` arrays."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.arrays import Array
from peerlearn.data.arrays import read_rows as rows_of_array
from peerlearn.data.image_folder import (
    GREY_MODES,
    SUFFIXES,
    ImageHeader,
    image_header,
    images_below,
    require_pillow,
)
from peerlearn.data.info import RowInfo
from peerlearn.data.npz import open_npz, read_array
from peerlearn.errors import InputError, similar_path

GIVEN = "predict"
"""Where rows are from that are at hand."""
KEYS = ("x", "x_test")
"""Arrays of an `.npz` file that hold rows, the first one there is read."""


def input_files(path: Path) -> list[Path]:
    """The files of an input as typed: of a folder, all images, also in subfolders, by name.

    Raises InputError: no such file, a folder without images, or another kind of file.
    """
    if path.is_dir():
        return images_below(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.{similar_path(path)}")
    if path.suffix.lower() not in (*SUFFIXES, ".npz", ".npy"):
        raise InputError(
            f"{path}: found a {path.suffix or 'file without suffix'}; allowed: .npz, .npy, "
            f"{', '.join(SUFFIXES)}, or a folder of images"
        )
    return [path]


def checked_image(path: Path, info: RowInfo) -> ImageHeader:
    """The header of an image whose pixels the networks can read, whatever its size.

    Raises InputError: it is damaged, or the networks read no images or others; names the file.
    """
    require_pillow()
    if len(info.sample_shape) != 3 or info.dtype != "uint8":
        raise InputError(
            f"{path}: an image, but the run was trained on {_rows(info)}; give an .npz or "
            ".npy file of such rows"
        )
    channels = info.sample_shape[0]
    if channels not in (1, 3):
        raise InputError(
            f"{path}: an image file has 1 or 3 channels, but the run was trained on "
            f"{channels}; give an .npz or .npy file"
        )
    header = image_header(path)
    if channels == 1 and header.mode not in (*GREY_MODES, "LA"):
        raise InputError(
            f"{path}: a colour image (mode {header.mode}), but the run was trained on grey "
            "ones; convert it first"
        )
    return header


def checked_array(path: Path, info: RowInfo, any_size: bool = False) -> Tensor:
    """The rows of an `.npz` or `.npy` file that the networks can read, not yet normalised.

    Shapes:
        result: (N, C, H, W), of any height and width where `any_size` says so, or (N, F); uint8
            or float32.

    Raises InputError: it is damaged, holds no rows or others; names the file and the array.
    """
    where, array = _array(path)
    return checked_rows(array, info, where, any_size)


def as_array(x: Any) -> Array:
    """Numbers at hand as an array, from a tensor of any device too."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def checked_rows(array: Array, info: RowInfo, where: str = GIVEN, any_size: bool = False) -> Tensor:
    """Rows of an array from `where` that the networks can read; see `checked_array`."""
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        raise InputError(f"{where}: dtype {array.dtype}, but the run was trained on {_rows(info)}")
    x = rows_of_array(array, where)
    dtype = "uint8" if x.dtype == torch.uint8 else "float32"
    found, expected = tuple(x.shape[1:]), info.sample_shape
    if not ((len(found), found[0]) == (3, expected[0]) if any_size else found == expected):
        raise InputError(
            f"{where}: shape {array.shape}, but the run was trained on {_rows(info)}; expected "
            f"{_layouts(expected, any_size)}"
        )
    if dtype != info.dtype:
        raise InputError(
            f"{where}: dtype {array.dtype}, but the run was trained on {_rows(info)}; uint8 is "
            "scaled to [0, 1] and float is not"
        )
    if not len(x):
        raise InputError(f"{where}: shape {array.shape}; there is no row to predict")
    return x


def _array(path: Path) -> tuple[str, Array]:
    if path.suffix.lower() == ".npz":
        with open_npz(path) as file:
            for key in KEYS:
                if key in file.files:
                    return f"{path}: {key}", read_array(file, key, path)
            found = ", ".join(file.files) or "nothing"
            raise InputError(f"{path}: no array {' or '.join(KEYS)}; found {found}")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if reason.startswith("Object arrays"):
            raise InputError(
                f"{path}: holds pickled Python objects, which are never loaded; save numbers of "
                "one shape and dtype"
            ) from None
        raise InputError(
            f"{path}: not a .npy file, or cut short ({reason}); numpy.save writes one"
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: an .npz file; rename it so that its name says so")
    return str(path), array


def _rows(info: RowInfo) -> str:
    return f"{info.dtype} rows of shape {info.sample_shape}"


def _layouts(shape: tuple[int, ...], any_size: bool) -> str:
    """The array shapes that `rows_of_array` turns into rows of `shape`."""
    if len(shape) == 1:
        return f"(N, {shape[0]})"
    channels, height, width = shape
    size = "H, W" if any_size else f"{height}, {width}"
    other = f"(N, {size})" if channels == 1 else f"(N, {size}, {channels})"
    return f"(N, {channels}, {size}) or {other}"
