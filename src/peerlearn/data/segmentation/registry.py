"""Finds a data set of images with masks by name or path, and builds its splits."""

from pathlib import Path

from peerlearn.data.datasets import Source
from peerlearn.data.registry import Description, in_memory_of
from peerlearn.data.roots import find_named, looks_like_path, named_files, npz_at
from peerlearn.data.segmentation.embedded import CLASSES, SCENES, SIDE, digits_scenes
from peerlearn.data.segmentation.folder import read_mask_folder
from peerlearn.data.segmentation.masks import MaskSplit, SegmentationDataset
from peerlearn.data.segmentation.npz import holds_masks, read_mask_npz
from peerlearn.data.segmentation.spec import SegmentationDataSpec
from peerlearn.data.splits import divide
from peerlearn.errors import InputError, unknown_name

EMBEDDED = "digits-scenes"
SEGMENTATION = "segmentation"
"""Folder below a root in which these data sets are looked for, after the root itself."""


def load_segmentation(spec: SegmentationDataSpec) -> SegmentationDataset:
    """The data set that a `data` block asks for.

    A name is `digits-scenes`, or looked up as `ROOT/NAME.npz`, then `ROOT/segmentation/NAME.npz`;
    anything else is the path of an `.npz` file or of a folder of images and masks.

    Raises:
        InputError: no such data set, or something in it is wrong; names the file and array.
    """
    source = _read(spec)
    in_memory = in_memory_of(spec, source)
    data = SegmentationDataset(
        spec.short_name, *divide(source, spec), *source[3:], in_memory=in_memory
    )
    return data.decoded() if in_memory else data


def segmentation_dataset_names(root: str | None = None) -> tuple[str, ...]:
    """Every name that `data.name` takes: embedded, or a file of masks below the root."""
    found = [
        name
        for name in named_files(root, SEGMENTATION)
        if (path := find_named(name, root, SEGMENTATION)) and holds_masks(path)
    ]
    return tuple(dict.fromkeys([EMBEDDED, *found]))


def describe_segmentation_datasets(root: str | None = None) -> tuple[Description, ...]:
    """A `Description` of each of `segmentation_dataset_names`; rows are images."""
    rows, shape = (SCENES["train"] + SCENES["val"], SCENES["test"]), (1, SIDE, SIDE)
    about = "scenes of digits, to be marked as even or odd"
    files = [
        Description(name, "your file", None, None, None, str(get_segmentation_dataset(name, root)))
        for name in segmentation_dataset_names(root)[1:]
    ]
    return Description(EMBEDDED, about, len(CLASSES), shape, rows, "embedded"), *files


def get_segmentation_dataset(name: str, root: str | None = None) -> Path:
    """The file of a named data set of masks.

    Args:
        name: a name of `segmentation_dataset_names` that is a file.
        root: where to look; default as in `SegmentationDataSpec.root`.

    Raises:
        InputError: unknown name, or embedded data.
    """
    if name == EMBEDDED:
        raise InputError(f"{name}: made of scikit-learn's digits; there is nothing to download.")
    if found := find_named(name, root, SEGMENTATION):
        return found
    raise unknown_name("data set of masks", name, segmentation_dataset_names(root))


def _read(spec: SegmentationDataSpec) -> Source[MaskSplit]:
    name = spec.name
    if name == EMBEDDED:
        if spec.ignore is not None:
            raise InputError(f"data.ignore: {spec.ignore}; every pixel of {EMBEDDED} counts.")
        return digits_scenes()
    if named := find_named(name, spec.root, SEGMENTATION):
        return read_mask_npz(named, spec.ignore)
    path = Path(name).expanduser()
    if path.is_dir():
        return read_mask_folder(path, spec.size, spec.ignore)
    if path.is_file() or looks_like_path(name):
        file = npz_at(path, "a folder with train/images/ and train/masks/")
        return read_mask_npz(file, spec.ignore)
    names = segmentation_dataset_names(spec.root)
    raise unknown_name("data set of masks or path", name, names, field="data.name")
