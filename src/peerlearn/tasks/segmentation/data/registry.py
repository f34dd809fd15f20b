"""Finds a data set of images with masks by name or path, and builds its splits."""

from pathlib import Path

from peerlearn.data.catalogue import Catalogue, Known, npz_at
from peerlearn.data.datasets import Source
from peerlearn.data.image_form import ImageForm
from peerlearn.data.overlap import with_shared_rows
from peerlearn.data.registry import built, image_form
from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.data.arrays import holds_masks, read_mask_npz
from peerlearn.tasks.segmentation.data.embedded import CLASSES, SCENES, SIDE, digits_scenes
from peerlearn.tasks.segmentation.data.folder import read_mask_folder
from peerlearn.tasks.segmentation.data.masks import MaskSplit, SegmentationDataset
from peerlearn.tasks.segmentation.data.spec import SegmentationDataSpec

EMBEDDED = "digits-scenes"
SCENES_SET: Known[Source[MaskSplit]] = Known(
    "scenes of digits, to be marked as even or odd", len(CLASSES),
    (SCENES["train"] + SCENES["val"], SCENES["test"]), lambda root: digits_scenes(),
    (1, SIDE, SIDE),
)  # fmt: skip
MASK_SETS = Catalogue("data set of masks", "segmentation", {EMBEDDED: SCENES_SET}, holds_masks)


def load_segmentation(
    spec: SegmentationDataSpec, form: ImageForm | None = None
) -> SegmentationDataset:
    """The data set that a `data` block asks for.

    A name is `digits-scenes`, or looked up as `ROOT/NAME.npz`, then `ROOT/segmentation/NAME.npz`;
    anything else is the path of an `.npz` file or of a folder of images and masks, which are read
    in `form`, in place of what `spec` says of it.

    Raises InputError: no such data set, or something in it is wrong; names the file and array.
    """
    for field in ("ignore", "values"):
        said = getattr(spec, field)
        if spec.name == EMBEDDED and said is not None:
            raise InputError(f"data.{field}: {said}; every pixel of {EMBEDDED} counts.")

    def at(path: Path) -> Source[MaskSplit]:
        if path.is_dir():
            read_as = form or image_form(spec)
            source = read_mask_folder(path, read_as, spec.ignore, spec.values)
            return source if read_as.measuring else with_shared_rows(source)
        file = npz_at(path, "a folder with train/images/ and train/masks/")
        return read_mask_npz(file, spec.ignore, spec.values)

    return built(SegmentationDataset, MASK_SETS.read(spec.name, spec.root, at), spec)
