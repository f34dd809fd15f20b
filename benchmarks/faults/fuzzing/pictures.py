"""Cases about folders of images and masks: odd files, odd names, odd places."""

import io
import zlib
from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image

from benchmarks.faults.fuzzing.bases import recipe, run_files
from benchmarks.faults.fuzzing.case import Case, Content, Fifo, Folder, Link
from benchmarks.faults.fuzzing.settings import FILE, dumped
from benchmarks.faults.fuzzing.values import scratched

TEXTS = (
    b"", b"not an image", b"<svg/>", b"P6\n", b"GIF89a", b"%PDF-1.4", b"RIFF\0\0\0\0WEBP",
    b"version https://git-lfs.github.com/spec/v1\n",
)  # fmt: skip
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16")
FORMATS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP",
           "ppm": "PPM", "ico": "ICO"}  # fmt: skip
NAMES = (
    ".hidden.png", "A.PNG", "a.jpeg", "a.png.txt", "é.png", "caf\udce9.png", "a b.png", "a\nb.png",
    "noext", "-x.png", "a.b.png", "0.png", "00.png", "Thumbs.db", ".DS_Store", "a" * 250 + ".png",
    "%s.png", "\u202e.png", "$(x).png", "*.png", "[a].png", "CON.png", "../up.png",
)  # fmt: skip
CLASSES = (
    "0",
    "1",
    "10",
    "2",
    "a",
    "b",
    "é",
    "\udce9",
    "a b",
    ".x",
    "__MACOSX",
    "ants.v2",
    "-",
    "c" * 200,
)
PARTS = (
    "train",
    "val",
    "test",
    "valid",
    "validation",
    "Test",
    "TRAIN",
    "training",
    "images",
    "masks",
)


def class_folder(draw: Random) -> Case:
    """A folder of classes to train on."""
    files: dict[str, Content] = {}
    parts = draw.sample(["train", "train", "val", "test"], draw.randint(1, 3))
    names = ["ant", "bee"] if draw.random() < 0.7 else draw.sample(CLASSES, draw.randint(1, 4))
    for part in {*parts, "train"} if draw.random() < 0.9 else parts:
        for name in names:
            for number in range(draw.randint(1, 3)):
                files[f"data/{part}/{name}/{number}.png"] = picture(draw, sane=0.95)
    if draw.random() < 0.15:  # classes at the top
        files = {path.replace("/train", "", 1): content for path, content in files.items()}
    _disturb(draw, files)
    config = recipe("images")
    config["data"] = {"name": "data"} | _size(draw)
    verb = "read" if draw.random() < 0.85 else "validate"
    return Case((verb, FILE), {FILE: dumped(config), **files})


def mask_folder(draw: Random) -> Case:
    """Images beside their masks."""
    files: dict[str, Content] = {}
    parts = draw.choice([[""], ["train/"], ["train/", "test/"], ["train/", "val/", "test/"]])
    values = draw.choice([(0, 1, 2)] * 4 + [(0, 255), (0, 1, 255), (0, 128, 255), (1, 2, 3),
                          tuple(range(250)), (7,), (255,), (0, 254)])  # fmt: skip
    for part in parts:
        for number in range(draw.randint(3, 5)):
            files[f"data/{part}images/{number}.png"] = picture(draw, sane=0.99)
            files[f"data/{part}masks/{number}.png"] = mask(draw, values)
    if draw.random() < 0.3:
        files["data/classes.txt"] = lines(draw)
    _disturb(draw, files)
    config = recipe("masks")
    config["data"] = {"name": "data"} | _size(draw)
    if draw.random() < 0.15:
        config["data"]["ignore"] = draw.choice([0, 1, 255, 254, 7])
    verb = "read" if draw.random() < 0.85 else "validate"
    return Case((verb, FILE), {FILE: dumped(config), **files})


def loose_images(draw: Random) -> Case:
    """Files and folders for `predict`, or for `discover` to sort."""
    files: dict[str, Content] = {}
    for number in range(draw.randint(1, 4)):
        files[f"data/{number}.png"] = picture(draw, sane=0.8)
    _disturb(draw, files)
    if draw.random() < 0.3:
        known = {f"known/train/{name}/{number}.png": picture(draw, sane=0.98)
                 for name in ("ant", "bee") for number in range(2)}  # fmt: skip
        config = recipe("discovery")
        config["data"] = {"labelled": "known", "unlabelled": "data"} | _size(draw)
        return Case(("read", FILE), {FILE: dumped(config), **files, **known})
    run = draw.choice(["predictions", "masks", "discovery"])
    made = {f"run/{path}": content for path, content in run_files(run).items()}
    typed = ["data"] if draw.random() < 0.6 else draw.sample(sorted(files), 1)
    typed = [path for path in typed if "\0" not in path]
    if draw.random() < 0.85:
        return Case(("inputs", "run", *typed), {**made, **files})
    words = ("predict", "run", *typed, "--device", "cpu", "--out", "out")
    return Case(words, {**made, **files}, ("out",))


def picture(draw: Random, sane: float = 0.5) -> bytes:
    """The bytes of an image of 8x8 grey pixels, or of something else."""
    if draw.random() < sane:
        return _saved(Image.fromarray(_noise(draw, 8, 8)), "PNG")
    match draw.choice(["mode", "size", "format", "damage", "turned", "header", "text", "frames"]):
        case "mode":
            return _converted(draw.choice(MODES))
        case "size":
            height, width = draw.choice([(1, 1), (8, 9), (1, 300), (64, 64), (9, 8)])
            return _saved(Image.fromarray(_noise(draw, height, width)), "PNG")
        case "format":
            return _saved(Image.fromarray(_noise(draw, 8, 8)), draw.choice(list(FORMATS.values())))
        case "damage":
            return scratched(draw, _saved(Image.fromarray(_noise(draw, 8, 8)), "PNG"))
        case "turned":
            exif = Image.Exif()
            exif[0x0112] = draw.choice([1, 3, 6, 8, 0, 99])
            stream = io.BytesIO()
            Image.fromarray(_noise(draw, 8, 8)).save(stream, "JPEG", exif=exif)
            return stream.getvalue()
        case "header":
            return _huge(draw)
        case "text":
            return draw.choice(TEXTS)
    stream = io.BytesIO()
    frames = [Image.fromarray(_noise(draw, 8, 8)) for _ in range(2)]
    frames[0].save(
        stream, draw.choice(["GIF", "PNG", "TIFF"]), save_all=True, append_images=frames[1:]
    )
    return stream.getvalue()


def mask(draw: Random, values: Sequence[int]) -> bytes:
    """The bytes of a mask of 8x8 pixels."""
    chosen = np.array([draw.choice(values) for _ in range(64)], np.uint8).reshape(8, 8)
    made = Image.fromarray(chosen)
    match draw.choice(
        ["grey"] * 40 + ["palette", "colours", "bits", "deep", "damage", "size", "odd"]
    ):
        case "palette":
            made = made.convert("P") if draw.random() < 0.5 else _palette(chosen)
        case "colours":
            made = made.convert(draw.choice(["RGB", "RGBA", "LA"]))
        case "bits":
            made = made.convert("1")
        case "deep":
            made = made.convert(draw.choice(["I", "F", "I;16"]))
        case "damage":
            return scratched(draw, _saved(made, "PNG"))
        case "size":
            made = made.resize((9, 8))
        case "odd":
            return picture(draw, sane=0)
    return _saved(made, "PNG")


def lines(draw: Random) -> bytes:
    """A text file with a name a line, more or less."""
    names = draw.choice([["a", "b", "c"]] * 4 + [["void", "a", "b", "c"], ["a", "a"], [], [""],
                        ["a", "", "c"], ["é", "b", "c"], ["a"] * 300, ["a,b", "c"]])  # fmt: skip
    text = draw.choice(["\n", "\n", "\n", "\r\n", "\r", "\n\n", ","]).join(names)
    match draw.choice(["plain"] * 4 + ["bom", "utf16", "latin", "nul", "damage", "blank"]):
        case "bom":
            return text.encode("utf-8-sig")
        case "utf16":
            return text.encode("utf-16")
        case "latin":
            return b"caf\xe9\n" + text.encode()
        case "nul":
            return text.encode() + b"\x00"
        case "damage":
            return scratched(draw, text.encode())
        case "blank":
            return b"\n" + text.encode() + b"\n \n"
    return text.encode()


def _disturb(draw: Random, files: dict[str, Content]) -> None:
    """Put something beside, above or in place of what is there."""
    for _ in range(draw.choice([0, 1, 1, 2])):
        path = draw.choice(sorted(files))
        folder, _, name = path.rpartition("/")
        match draw.choice(
            ["name", "name", "link", "fifo", "folder", "part", "nested", "drop", "loop"]
        ):
            case "name":
                files[f"{folder}/{draw.choice(NAMES)}"] = picture(draw, sane=0.9)
            case "link":
                target = draw.choice(["nowhere", name, "/etc/hostname", "..", "/dev/zero"])
                files[f"{folder}/link.png"] = Link(target)
            case "fifo":
                files[f"{folder}/pipe.png"] = Fifo()
            case "folder":
                files[f"{folder}/folder.png"] = Folder()
            case "part":
                files[f"data/{draw.choice(PARTS)}/{draw.choice(CLASSES)}/x.png"] = picture(
                    draw, 0.9
                )
            case "nested":
                files[f"{folder}/deeper/{name}"] = picture(draw, sane=0.95)
            case "drop" if len(files) > 1:
                del files[path]
            case "loop":
                files[f"{folder}/loop"] = Link(draw.choice([".", "..", "loop"]))


def _size(draw: Random) -> dict[str, object]:
    return {"size": draw.choice([8, 4, 1, 33])} if draw.random() < 0.25 else {}


def _noise(draw: Random, height: int, width: int) -> np.ndarray:
    pixels = np.frombuffer(draw.randbytes(height * width), np.uint8)
    return pixels.reshape(height, width)


def _saved(image: Image.Image, kind: str) -> bytes:
    """The bytes in a format, or in TIFF where that cannot hold such pixels."""
    for each in (kind, "TIFF"):
        stream = io.BytesIO()
        try:
            image.save(stream, each)
            return stream.getvalue()
        except (OSError, ValueError):
            continue
    return b""


def _converted(mode: str) -> bytes:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    between = (
        image
        if mode in ("1", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16")
        else image.convert("RGB")
    )
    try:
        made = between.convert(mode)
    except (ValueError, OSError):
        made = image
    return _saved(made, "PNG")


def _palette(values: np.ndarray) -> Image.Image:
    made = Image.fromarray(values, "P")
    made.putpalette([(7 * number) % 256 for number in range(768)])
    return made


def _huge(draw: Random) -> bytes:
    """A PNG whose header promises more pixels than it has."""
    side = draw.choice([0, 9, 5_000, 60_000, 2**31 - 1])
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    body = b"IDAT" + zlib.compress(bytes(100))
    chunks = [
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        for chunk in (header, body, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
