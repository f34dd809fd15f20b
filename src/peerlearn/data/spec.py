"""What a configuration may say about data."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field

from peerlearn.data.datasets import MeasuredOnTrain
from peerlearn.validation import Spec, short_form

Side = Annotated[int, Field(ge=1, le=1 << 15)]
Fit = Literal["crop", "pad", "resize"]
Damaged = Literal["refuse", "leave_out"]
MIRRORED = ("cifar10", "cifar100")
"""Data sets whose images mean the same in a mirror."""


def fraction_or_count(value: float) -> float:
    """The value, refused where it is neither a fraction nor a whole number."""
    if value >= 1 and value != int(value):
        raise ValueError(f"{value} is neither a fraction below 1 nor a whole number of rows")
    return value


FractionOrCount = Annotated[float, AfterValidator(fraction_or_count)]


class SourceSpec(Spec):
    """Where rows are from, and how many are used. A name alone is a short form.

    A row is what a label belongs to, such as an image, a node or a graph.
    """

    name: str
    train_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="training rows to keep, as many of each class as possible"
    )
    split_seed: int = Field(0, ge=0, lt=1 << 63, description="seed of every choice of rows")
    root: str | None = Field(
        None, description="folder of named data sets; default $PEERLEARN_DATA, ~/.cache/peerlearn"
    )

    _name_alone = short_form("name")

    @property
    def short_name(self) -> str:
        """The name as results show it: of a path its last part, without suffix."""
        return stem(self.name)

    def named(self, name: str) -> Self:
        """The same choices, of other data."""
        return self.model_copy(update={"name": name})


class NamedDataSpec(SourceSpec):
    """What the `data` blocks say that have a label for every row, or for some of each class."""

    labels: Annotated[int, Field(ge=1)] | None = Field(
        None, description="training labels to keep; the other rows stay, unlabelled"
    )
    val_labels: Annotated[int, Field(ge=1)] | Literal["all"] | None = Field(
        None,
        description="labelled validation rows to use, as many of each class as possible; None: no "
        "more than `labels`, so that few labels are few labels; the others are left out",
    )
    val_size: FractionOrCount = Field(
        0.1, gt=0, description="held out of train where the data has no val: a fraction, or a count"
    )


class CountedClassesSpec(Spec):
    """What the `data` blocks say of labels that are numbers without names."""

    classes: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="how many classes there are, where labels leave it open: as many as occur, "
        "also where they look like numbers to predict; or those from 0 on",
    )


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size, where one number stands for both."""
    return (size, size) if isinstance(size, int) else size


def stem(name: str) -> str:
    """Of a path its last part, without suffix; any other name as it is."""
    return Path(name).stem or name


class ImageDataSpec(NamedDataSpec):
    """What a `data` block says of rows that are arrays or image files."""

    in_memory: Literal["auto"] | bool = Field(
        "auto",
        description="hold all rows in memory, or stream them; auto: hold what takes less than a "
        "quarter of the memory that is available",
    )
    workers: int = Field(
        0, ge=0, le=512, description="processes that read and augment rows which are streamed"
    )
    size: Side | tuple[Side, Side] | None = None
    damaged: Damaged = Field(
        "refuse", description="images of a folder that cannot be read: refuse to run, or leave_out"
    )


class DataSpec(ImageDataSpec, CountedClassesSpec):
    """The `data` block of a recipe for images or vectors."""

    name: str = Field("digits", description="a data set of `peerlearn ls data`, or a path")
    size: Side | None = Field(
        None, description="side in pixels to which the images of a folder are fitted"
    )
    fit: Fit = Field(
        "crop",
        description="how: crop what stands over, pad with black, or resize out of proportion",
    )


class AugmentSpec(Spec):
    """The `augment` block: random changes of training images, drawn anew for every view."""

    crop: int = Field(
        0, ge=0, le=1 << 15, description="pixels of reflected border to shift the image within"
    )
    flip: bool = Field(False, description="mirror left and right, half of the time")
    cutout: int = Field(
        0, ge=0, le=1 << 15, description="side in pixels of a square set to the channel mean"
    )
    rotation: float = Field(0, ge=0, le=180, description="largest angle in degrees, either way")
    blend: float = Field(
        0, ge=0, lt=1, description="largest share of a smooth random image that is mixed in"
    )
    noise: float = Field(
        0, ge=0, le=1, description="largest deviation of Gaussian noise, of pixels in [0, 1]"
    )


class AugmentChoice(Spec):
    """The `augment` block, with `auto` for what depends on the data."""

    crop: Annotated[int, Field(ge=0, le=1 << 15)] | Literal["auto"] = Field(
        "auto", description="auto: an eighth of the side"
    )
    flip: bool | Literal["auto"] = Field("auto", description="auto: for CIFAR only")
    cutout: int = Field(
        0, ge=0, le=1 << 15, description="side in pixels of a square set to the mean"
    )
    rotation: float = Field(0, ge=0, le=180, description="largest angle in degrees")
    blend: float = Field(
        0, ge=0, lt=1, description="largest share of a smooth random image that is mixed in"
    )
    noise: float = Field(
        0, ge=0, le=1, description="largest deviation of Gaussian noise, of pixels in [0, 1]"
    )

    def resolve(self, data: MeasuredOnTrain) -> AugmentSpec:
        """The augmentation for `data`; vectors get none unless asked."""
        image = len(data.sample_shape) == 3
        eighth = min(data.sample_shape[1:]) // 8 if image else 0
        crop = eighth if self.crop == "auto" else self.crop
        flip = data.name in MIRRORED if self.flip == "auto" else self.flip
        same = {name: getattr(self, name) for name in ("cutout", "rotation", "blend", "noise")}
        return AugmentSpec(crop=crop, flip=flip, **same)
