"""What is read of inputs: image files, folders of images, `.npz` and `.npy` arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from peerlearn.data.account import EMPTY, Account
from peerlearn.data.arrays import Array
from peerlearn.data.arrays import read_rows as rows_of_array
from peerlearn.data.folders import Scan
from peerlearn.data.images import ALLOWED, readable, require_pillow
from peerlearn.data.info import RowInfo
from peerlearn.data.npz import open_npz, read_array, read_npy
from peerlearn.errors import InputError, similar_path

GIVEN = "predict"
"""Where rows are from that are at hand."""
KEYS = ("x", "x_test")
"""Arrays of an `.npz` file that hold rows, the first one there is read."""


def input_files(path: Path) -> tuple[list[Path], Account]:
    """The files of an input as typed, and what was left out: of a folder, all images, by name.

    Raises InputError: no such file, a folder without images, or another kind of file.
    """
    if path.is_dir():
        scan = Scan(path)
        found = scan.images(path)
        if not found:
            raise InputError(f"{path}: no images in this folder; allowed: {ALLOWED}")
        return found, scan.account
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.{similar_path(path)}")
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: is neither a file nor a folder")
    if path.suffix.lower() not in (".npz", ".npy") and not readable(path):
        raise InputError(
            f"{path}: found a {path.suffix or 'file without suffix'}; allowed: .npz, .npy, "
            f"{ALLOWED}, or a folder of images"
        )
    return [path], EMPTY


def check_reads_images(path: Path, info: RowInfo) -> None:
    """See that networks read image files at all.

    Raises InputError: they read vectors, floats, or other channels than files have; names the file.
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


def checked_array(path: Path, info: RowInfo, any_size: bool = False) -> Tensor:
    """The rows of an `.npz` or `.npy` file that the networks can read, not yet normalised.

    Shapes:
        result: (N, C, H, W), of any height and width where `any_size` says so, or (N, F); uint8
            or float32.

    Raises InputError: it is damaged, holds no rows or others; names the file and the array.
    """
    if info.dtype == "items":
        raise InputError(
            f"{path}: the run was trained on a Dataset in Python, and does not know how its rows "
            "were made of files; in Python, call its networks with such rows"
        )
    where, array = _array(path)
    return checked_rows(array, info, where, any_size)


def as_array(x: Any) -> Array:
    """Numbers at hand as an array, from a tensor of any device too."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def checked_rows(array: Array, info: RowInfo, where: str = GIVEN, any_size: bool = False) -> Tensor:
    """Rows of an array from `where` that the networks can read; see `checked_array`."""
    ids = info.dtype == "int64"
    if array.dtype.kind in "iu" and array.dtype != np.uint8 and not ids:
        raise InputError(f"{where}: dtype {array.dtype}, but the run was trained on {_rows(info)}")
    x = rows_of_array(array, where, ids)
    dtype = str(x.dtype).removeprefix("torch.")
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
    return str(path), read_npy(path)


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
