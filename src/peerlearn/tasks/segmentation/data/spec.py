"""What a configuration may say about images with masks, and about changing them at random."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from peerlearn.data.spec import ImageDataSpec, Side, sides
from peerlearn.validation import Spec

Value = Annotated[int, Field(ge=0, le=255)]
Values = Value | Annotated[tuple[Value, ...], Field(min_length=1)]
_EXPECTED = (
    "a list with the label value of each class, 0 to 255, or several in brackets: "
    "data.values=[0,255] or data.values=[0,[1,255]]"
)
Factor = Annotated[float, Field(gt=0, le=100)]
LARGEST = 256
"""Side of images up to which training sees them whole, unless it is told otherwise."""


class SegmentationDataSpec(ImageDataSpec):
    """The `data` block of a segmentation recipe, whose rows are images with a mask each.

    `labels` counts images whose masks are kept; `val_size` likewise counts images.
    """

    name: str = Field(
        "digits-scenes", description="a data set with masks of `peerlearn ls data`, or a path"
    )
    size: Side | tuple[Side, Side] | None = Field(
        None,
        description="side, or height and width, in pixels to which a folder's images are resized",
    )
    ignore: Annotated[int, Field(ge=0, le=255)] | None = Field(
        None, description="label value of pixels that do not count, besides 255 (and -1 in arrays)"
    )
    values: Annotated[tuple[Values, ...], Field(min_length=2)] | None = Field(
        None,
        description="label value of each class, or several values: [0, [127, 255]]; pixels of "
        "other values do not count",
    )

    @field_validator("values", mode="before")
    @classmethod
    def _a_list(cls, given: Any) -> Any:
        if given is not None and not _is_of_values(given):
            raise ValueError(f"found {given!r}; expected {_expected(given)}")
        return given

    @model_validator(mode="after")
    def _each_value_once(self) -> Self:
        groups = [(each,) if isinstance(each, int) else each for each in self.values or ()]
        flat = [value for group in groups for value in group]
        if len(set(flat)) < len(flat):
            twice = next(value for value in flat if flat.count(value) > 1)
            raise ValueError(f"values: names a value twice, {twice}; expected {_EXPECTED}")
        if self.values is not None and self.ignore is not None:
            raise ValueError("ignore: given beside 'values', which leaves out all others; drop one")
        return self


def _is_of_values(given: Any) -> bool:
    """Whether it is a list of label values, or of lists of them, two at least."""
    if not isinstance(given, list | tuple) or len(given) < 2:
        return False
    return all(
        _is_value(each)
        or (isinstance(each, list | tuple) and len(each) > 0 and all(map(_is_value, each)))
        for each in given
    )


def _is_value(given: Any) -> bool:
    whole = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 255
    return whole and given == int(given)


def _expected(given: Any) -> str:
    """What `values` are, with what was meant where a mapping or a text says it."""
    text = str(given)
    if "#" in text or "rgb" in text.lower():
        return f"{_EXPECTED}. Colours are no label values: save masks as grey or palette images"
    meant: Any = None
    if isinstance(given, Mapping):
        meant = next((it for it in map(list, (given, given.values())) if _is_of_values(it)), None)
    elif isinstance(given, str):
        parts = [part.strip() for part in given.strip("()[] ").split(",")]
        numbers = [int(part) for part in parts if part.isascii() and part.isdigit()]
        meant = numbers if len(numbers) == len(parts) and _is_of_values(numbers) else None
    if meant is None:
        return _EXPECTED
    said = str(meant).replace(" ", "")
    names = (
        " Names of classes go into classes.txt or class_names" if isinstance(given, Mapping) else ""
    )
    return f"{_EXPECTED}. Did you mean data.values={said}?{names}"


class SegmentAugmentSpec(Spec):
    """The `augment` block: random changes of training images and, alike, of their masks.

    What comes in from outside the image is its reflection, and does not count in the mask.
    """

    flip: bool = Field(False, description="mirror left and right, half of the time")
    flip_vertical: bool = Field(False, description="mirror top and bottom, half of the time")
    rotate90: bool = Field(False, description="turn by 0, 90, 180 or 270 degrees")
    rotation: float = Field(0, ge=0, le=180, description="largest angle in degrees, either way")
    scale: tuple[Factor, Factor] = Field(
        (1.0, 1.0), description="smallest and largest magnification, drawn evenly in its logarithm"
    )
    crop: Side | tuple[Side, Side] | Literal["auto"] | None = Field(
        "auto",
        description="side, or height and width, in pixels of a window at a random place, a new one "
        "in every epoch; auto: at most 256 either way; null: whole images",
    )
    brightness: float = Field(
        0, ge=0, allow_inf_nan=False, description="largest shift, in standard deviations of train"
    )
    contrast: float = Field(
        0, ge=0, lt=1, description="largest relative change of the distance to the image's mean"
    )

    @model_validator(mode="after")
    def _smallest_first(self) -> Self:
        smallest, largest = self.scale
        if smallest > largest:
            raise ValueError(f"scale: {smallest:g} to {largest:g}; the smaller one comes first")
        return self

    def window(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of what is cut out of images of the given height and width."""
        if self.crop == "auto":
            return min(height, LARGEST), min(width, LARGEST)
        return sides(self.crop or (height, width))
