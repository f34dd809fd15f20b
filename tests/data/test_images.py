import numpy as np
import pytest
from PIL import Image

from peerlearn.data.image_form import ImageFiles
from peerlearn.data.images import image_header, opened_image, readable

ARROW = np.array([[9, 0, 0], [200, 100, 50]], np.uint8)  # 3 wide, 2 high


def stored(path, orientation, **options):
    """`ARROW` as a camera stores it that was held otherwise."""
    turns = [
        lambda x: x, np.fliplr, lambda x: np.rot90(x, 2), np.flipud, np.transpose,
        lambda x: np.rot90(x, 1), lambda x: np.rot90(x, 2).T, lambda x: np.rot90(x, -1),
    ]  # fmt: skip
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turns[orientation - 1](ARROW))).save(
        path, exif=tags, **options
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "options"), [("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})]
)
def test_images_come_upright(tmp_path, name, options, orientation):
    path = tmp_path / name
    stored(path, orientation, **options)
    header = image_header(path)
    assert (header.height, header.width) == (2, 3)
    with opened_image(path) as image:
        assert np.array_equal(np.array(image.convert("L")), ARROW)
    pixels = ImageFiles((path,), 2, 3, grey=True).decode([0])
    assert np.array_equal(pixels[0, 0].numpy(), ARROW)


def test_a_jpeg_is_turned_too(tmp_path):
    path = tmp_path / "a.jpg"
    stored(path, 6, quality=100)
    assert (image_header(path).height, image_header(path).width) == (2, 3)
    with opened_image(path) as image:
        assert np.abs(np.array(image.convert("L")).astype(int) - ARROW).max() < 12


def test_headers_decode_nothing(tmp_path, monkeypatch):
    for orientation in (1, 6):
        stored(tmp_path / f"{orientation}.png", orientation)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert image_header(tmp_path / "1.png").width == image_header(tmp_path / "6.png").width == 3


def test_nonsense_in_the_tags_is_no_damage(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(ARROW).save(path, exif=b"Exif\x00\x00not a header at all")
    assert image_header(path).width == 3
    with opened_image(path) as image:
        assert image.size == (3, 2)


def test_suffixes_are_those_that_pillow_reads_itself(tmp_path):
    for name in ("a.png", "a.WEBP", "a.jpeg", "a.bmp", "a.tiff", "a.gif", "a.jp2"):
        assert readable(tmp_path / name)
    for name in ("a.eps", "a.h5", "a.txt", "a.npz", "a.pdf", "png"):
        assert not readable(tmp_path / name)


def chunks(png):
    """The chunks of a PNG, each with its name."""
    at = 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at : at + 12 + size]
        at += 12 + size


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_tags_behind_the_pixels_of_a_png_turn_it_too(tmp_path, orientation):
    path = tmp_path / "a.png"
    stored(path, orientation)
    found = list(chunks(path.read_bytes()))
    moved = [kind for kind in found if kind[0] == b"eXIf"]
    rest = [kind for kind in found if kind[0] != b"eXIf"]
    ordered = [*rest[:-1], *moved, rest[-1]]
    assert [name for name, _ in ordered][-3:] == [b"IDAT", b"eXIf", b"IEND"]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk for _, chunk in ordered))
    header = image_header(path)
    assert (header.height, header.width) == (2, 3)
    pixels = ImageFiles((path,), 2, 3, grey=True).decode([0])
    assert np.array_equal(pixels[0, 0].numpy(), ARROW)
    path.write_bytes(path.read_bytes()[:-30])  # what is cut off is told where pixels are read
    assert image_header(path).width in (2, 3)
