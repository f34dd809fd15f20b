"""Opens image files: which ones can be read, how large they are, whether they are whole.

Images come upright: an orientation that a camera noted in the file (EXIF) is applied here, once,
so that sizes, pixels and masks agree wherever a file is read.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peerlearn.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

COMMON = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".gif")
ALLOWED = f"{', '.join(COMMON)} and others that Pillow reads"
FOREIGN = ("EPS", "WMF", "MPEG", "HDF5", "BUFR", "GRIB", "IPTC")
"""Formats that Pillow knows but leaves to other programs, or to nobody."""

GREY_MODES = ("1", "L")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
MANY_PICTURES = ("GIF", "TIFF", "WEBP")
"""Formats whose files often hold frames or pages; of a PNG the first frame is its still image."""

DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises over a damaged file."""

ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
TAGS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
"""Where Pillow keeps the tags of a PNG."""
TAG_CHUNKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
BEHIND = 1 << 14
"""Bytes at the end of a PNG in which tags are looked for; larger ones stand before the pixels."""
ENDING = 64
"""Bytes at the end of a file in which the mark of its end is looked for."""
THREADS = 16
FEW = 64
"""Files that are looked at one after the other."""


class DamagedError(InputError):
    """A file that cannot be read as an image."""


@dataclass(frozen=True)
class ImageHeader:
    """Size, upright, and colour mode of an image file.

    Attributes:
        format: Pillow's name of it.
        several: whether the file holds more pictures than the first, which is read.
    """

    path: Path
    height: int
    width: int
    mode: str
    format: str = "PNG"
    several: bool = False

    @property
    def grey(self) -> bool:
        """Whether it has one channel."""
        return self.mode in GREY_MODES


def readable(path: Path) -> bool:
    """Whether a file is an image by its suffix, in either case."""
    return path.suffix.lower() in _suffixes()


@cache
def _suffixes() -> frozenset[str]:
    try:
        from PIL import Image
    except ImportError:
        return frozenset(COMMON)
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, format in known if format in _formats())


@cache
def _formats() -> tuple[str, ...]:
    """Formats that Pillow reads by itself, in the order in which it tries them."""
    from PIL import Image

    Image.init()
    return tuple(it for it in Image.ID if it in Image.OPEN and it not in FOREIGN)


def image_header(path: Path) -> ImageHeader:
    """The header of an image file; its pixels are not decoded.

    Raises:
        DamagedError: not an image.
        InputError: more than 8 bits a channel.
    """
    with _opened(path) as image:
        if image.mode in DEEP_MODES:
            raise InputError(
                f"{path}: colour mode {image.mode}, more than 8 bits a channel; "
                "convert it to 8 bits, or use an .npz of floats."
            )
        width, height = image.size
        if orientation(image) >= 5:  # lies on its side
            width, height = height, width
        format = image.format or ""
        several = format in MANY_PICTURES and getattr(image, "is_animated", False)
        return ImageHeader(path, height, width, image.mode, format, several)


@contextmanager
def opened_image(path: Path) -> "Iterator[PillowImage]":
    """An image, upright, whose pixels are decoded on first use.

    Raises DamagedError: it cannot be read, here or while the block decodes it.
    """
    from PIL.Image import Transpose

    with _opened(path) as image:
        turn = {
            2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
            5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE,
            8: Transpose.ROTATE_90,
        }.get(orientation(image))  # fmt: skip
        yield image if turn is None else image.transpose(turn)


@contextmanager
def _opened(path: Path) -> "Iterator[PillowImage]":
    """An image as it is stored."""
    from PIL import Image

    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("no plain file")
        # Opened by name, an uncompressed TIFF is mapped to memory and turned wrongly (Pillow 13.0).
        with path.open("rb") as file, Image.open(file, formats=_formats()) as image:
            yield image
    except (*DAMAGE, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        why = str(error) or type(error).__name__
        raise DamagedError(f"{path}: cannot be read as an image ({why}).") from error


def orientation(image: "PillowImage") -> int:
    """The orientation of a stored image as EXIF numbers it, 1 for upright ones, to 8.

    Pillow turns TIFF and AVIF by itself. Tags of a PNG may stand behind its pixels, where Pillow
    finds them once these are decoded; so they are where the end of the file names tags.
    """
    from PIL import ExifTags, Image

    if image.format in ("TIFF", "AVIF"):
        return 1
    try:
        if image.format == "PNG" and not _tagged(image) and _tags_behind(image):
            image.load()
        # Not `image.getexif`, which decodes a PNG without the tag.
        found: Any = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except DAMAGE:  # of the tags, which say nothing about the pixels
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _tagged(image: "PillowImage") -> bool:
    return any(name in image.info for name in TAGS)


def _tags_behind(image: "PillowImage") -> bool:
    """Whether the last bytes of a PNG that is not decoded hold the name of a chunk of tags."""
    file: Any = image.fp  # type: ignore[attr-defined]
    if file is None:  # decoded, and closed
        return False
    place = file.tell()
    try:
        file.seek(max(0, file.seek(0, os.SEEK_END) - BEHIND))
        end = file.read()
    finally:
        file.seek(place)
    return any(name in end for name in TAG_CHUNKS)


def image_headers(paths: Sequence[Path]) -> tuple[list[ImageHeader], dict[Path, str]]:
    """Headers of the images that can be read, in order, and what is wrong with the others.

    Raises InputError: lists every image that has more than 8 bits a channel.
    """
    found = over_files(_header_or_fault, paths)
    if faults := [str(it) for it in found if type(it) is InputError]:
        raise InputError("\n".join(faults))
    headers = [it for it in found if isinstance(it, ImageHeader)]
    wrong = zip(paths, found, strict=True)
    return headers, {path: str(it) for path, it in wrong if isinstance(it, DamagedError)}


def undecodable(headers: Sequence[ImageHeader], thoroughly: bool) -> dict[Path, str]:
    """What is wrong with images whose header can be read and whose pixels cannot.

    Args:
        headers: of the images.
        thoroughly: look at all pixels; else files that end as their format says count as whole,
            so that most of them are not read.
    """

    def fault(header: ImageHeader) -> str | None:
        if not thoroughly and _ends(header):
            return None
        return _pixel_fault(header)

    faults = over_files(fault, headers)
    return {it.path: found for it, found in zip(headers, faults, strict=True) if found is not None}


def over_files(look: Callable[[Any], Any], files: Sequence[Any]) -> list[Any]:
    """`look` of each file, in order; of many in threads, for disks that answer slowly."""
    if len(files) < FEW:
        return [look(file) for file in files]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(look, files))


def _header_or_fault(path: Path) -> ImageHeader | InputError:
    try:
        return image_header(path)
    except InputError as error:
        return error


def _ends(header: ImageHeader) -> bool:
    """Whether a file ends with the mark of its format; False where that has none."""
    mark = ENDS.get(header.format)
    if mark is None:
        return False
    try:
        with header.path.open("rb") as file:
            file.seek(max(0, header.path.stat().st_size - ENDING))
            return mark in file.read()
    except OSError:
        return False


def _pixel_fault(header: ImageHeader) -> str | None:
    """Why the pixels of an image cannot be decoded, found as cheaply as its format allows."""
    try:
        with _opened(header.path) as image:
            if header.format == "PNG":
                image.verify()  # checksums of all that is in it, nothing is decoded
                return None
            image.draft(image.mode, (1, 1))  # a JPEG is decoded at an eighth of its size
            image.load()
    except DamagedError as error:
        if header.format != "PNG":
            return str(error)
    else:
        return None
    try:  # A wrong checksum beside the pixels does no harm.
        with _opened(header.path) as image:
            image.load()
    except DamagedError as error:
        return str(error)
    return None


def require_pillow() -> None:
    """Raise `InputError` with the pip command where Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise InputError("reading images needs Pillow: pip install 'peerlearn[image]'") from None
