"""Reads images and masks from an `.npz` file; nothing in it is ever unpickled."""

from pathlib import Path

from peerlearn.data.arrays import check_names
from peerlearn.data.datasets import Source
from peerlearn.data.npz import array_shape, open_npz, read_array
from peerlearn.data.segmentation.arrays import KEYS, masks_from_arrays
from peerlearn.data.segmentation.masks import MaskSplit
from peerlearn.errors import InputError


def read_mask_npz(path: Path, ignore: int | None = None) -> Source[MaskSplit]:
    """The splits of an `.npz` file; see `peerlearn.data.segmentation.arrays` for its arrays.

    Raises:
        InputError: the file is missing, damaged or holds pickled objects, or an array is wrong.
    """
    with open_npz(path) as file:
        check_names(dict.fromkeys(file.files), str(path), KEYS)
        arrays = {key: read_array(file, key, path) for key in KEYS if key in file.files}
    return masks_from_arrays(arrays, str(path), ignore)


def holds_masks(path: Path) -> bool:
    """Whether the targets of an `.npz` file are masks; only their shape is read."""
    try:
        shape = array_shape(path, "y_train")
    except InputError:
        return False
    return shape is not None and len(shape) >= 3
