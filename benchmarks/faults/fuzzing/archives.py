"""Cases about arrays: `.npz` and `.npy` files of every odd kind."""

import io
import pickle
import struct
import warnings
import zipfile
from functools import cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.fuzzing.bases import Arrays, arrays, npy, npz, recipe, run_files
from benchmarks.faults.fuzzing.case import Case
from benchmarks.faults.fuzzing.settings import FILE, dumped
from benchmarks.faults.fuzzing.values import number, scratched, text

DTYPES = (
    "u1", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "g", "c8", "?", ">f4", ">i4",
    ">u2", "S3", "U3", "M8[s]", "m8[s]", "V4", "i4,f4",
)  # fmt: skip
ODD_VALUES = (-1, -2, 0, 1, 2, 254, 255, 256, 1000, 2**31, 2**40, 2**62, -(2**62))


class Payload:
    """Pickles to a call that leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("EXECUTED", "w")


def array_file(draw: Random) -> Case:
    """The data of a recipe as an `.npz` in which something is odd."""
    base = draw.choice(["images", "images", "masks", "nodes", "graphs", "discovery"])
    raw = odd_npz(draw, arrays("images" if base == "discovery" else base))
    config = recipe(base)
    config["data"]["name"] = "odd.npz"
    config["data"] |= _choices(draw, base)
    verb = "read" if draw.random() < 0.85 else "validate"
    return Case((verb, FILE), {FILE: dumped(config), "odd.npz": raw})


def two_files(draw: Random) -> Case:
    """Labelled and unlabelled rows in a file each."""
    names = ("known.npz", "new.npz")
    files = {name: odd_npz(draw, arrays("rows")) for name in names}
    if draw.random() < 0.7:  # one of them is as it should be
        made = arrays("rows") if draw.random() < 0.5 else arrays("images")
        files[draw.choice(names)] = npz(made)
    config = recipe("discovery")
    config["data"] = {"labelled": names[0], "unlabelled": names[1], "overlap": True}
    return Case(("read", FILE), {FILE: dumped(config), **files})


def new_rows(draw: Random) -> Case:
    """What a finished run is asked about, or measured on."""
    run, own = draw.choice(
        [("predictions", "rows"), ("masks", "rows"), ("nodes", "nodes"), ("graphs", "graphs"),
         ("discovery", "rows")]
    )  # fmt: skip
    raw, name = odd_npz(draw, arrays(own)), "odd.npz"
    if own == "rows" and draw.random() < 0.4:
        raw, name = odd_npy(draw, arrays("rows")["x"]), "odd.npy"
    files = {f"run/{path}": content for path, content in run_files(run).items()} | {name: raw}
    if draw.random() < 0.8:
        return Case(("inputs", "run", name), files)
    return Case(("eval", "run", "--data", name, "--device", "cpu"), files)


def _choices(draw: Random, base: str) -> dict[str, Any]:
    if draw.random() < 0.8:
        return {}
    keys = {
        "images": ["train_size", "labels", "val_size", "split_seed", "in_memory", "size"],
        "masks": ["train_size", "labels", "val_size", "ignore", "size"],
        "nodes": [
            "split",
            "split_index",
            "features",
            "directed",
            "row_normalise",
            "labels_per_class",
        ],
        "graphs": ["split", "fold_index", "features", "directed", "train_size"],
        "discovery": ["known", "unlabelled_known", "test_size", "train_size"],
    }
    values = [0, 1, 2, 3, 5, 0.5, 0.9, 10**6, True, None, "random", "degree", "symmetric", "seed"]
    return {draw.choice(keys[base]): draw.choice(values)}


def odd_npz(draw: Random, given: Arrays) -> bytes:
    """The file of some arrays, one or two of which, or the file itself, are not as they should."""
    made: dict[str, bytes] = {}
    changed = set(draw.sample(list(given), min(len(given), draw.choice([0, 1, 1, 1, 2]))))
    for name, array in given.items():
        kept = odd_array(draw, array) if name in changed else array
        made[name] = npy(kept) if draw.random() < 0.93 else odd_npy(draw, kept)
    for _ in range(draw.choice([0, 0, 0, 1])):
        key = draw.choice(list(made))
        match draw.choice(["drop", "rename", "extra", "names"]):
            case "drop":
                del made[key]
            case "rename":
                made[draw.choice([key.upper(), key[:-1], f"../{key}", text(draw)])] = made.pop(key)
            case "extra":
                made[draw.choice(["z", "x_valid", "ptr", "fold", "split", "x_val"])] = made[key]
            case "names":
                names = np.array([text(draw)[:9] for _ in range(draw.choice([2, 3, 3, 3, 4]))])
                key = "classes" if "classes" in made else "class_names"
                made[key] = npy(names.astype(draw.choice(["U9", "U9", "U9", "O"])))
        if not made:
            break
    raw = _zipped(draw, made)
    return scratched(draw, raw) if draw.random() < 0.1 else raw


def odd_array(draw: Random, array: NDArray[Any]) -> NDArray[Any]:
    """The array in another type, shape or layout, or with other values."""
    match draw.choice(["type", "shape", "values", "values", "layout", "rows"]):
        case "type":
            try:
                with np.errstate(all="ignore"):
                    return array.astype(draw.choice(DTYPES))
            except (TypeError, ValueError):
                return np.zeros(array.shape, "V4")
        case "shape":
            shapes: list[Any] = [
                array.T, array[None], array[..., None], array.ravel(), array[:0], array[..., :0],
                np.array(0), np.zeros(0), np.zeros((0, 0)), array.reshape(1, -1),
                array[:, None], np.stack([array] * 3, -1), np.zeros((1,) * 32),
            ]  # fmt: skip
            return draw.choice(shapes)
        case "values" if array.dtype.kind in "biuf" and array.size:
            kind: Any = draw.choice([array.dtype, "i8", "f8"])
            made = array.astype(kind)
            for _ in range(draw.choice([1, 1, 3])):
                value = number(draw) if made.dtype.kind == "f" else draw.choice(ODD_VALUES)
                with np.errstate(all="ignore"):
                    fits = np.array(value).astype(made.dtype)
                if draw.random() < 0.2:
                    made[:] = fits
                else:
                    made.flat[draw.randrange(made.size)] = fits
            return made
        case "layout":
            return draw.choice([np.asfortranarray(array), array[::-1], array.astype(">f8")
                                if array.dtype.kind in "biuf" else array])  # fmt: skip
        case "rows" if array.ndim:
            return draw.choice([array[:-1], array[:1], np.concatenate([array, array]), array[::2]])
    return array


def odd_npy(draw: Random, array: NDArray[Any]) -> bytes:
    """An `.npy` file whose header and content may not agree."""
    descr, shape = np.lib.format.dtype_to_descr(array.dtype), array.shape
    raw = array.tobytes()
    match draw.choice(["pickle", "objects", "lie", "lie", "text", "version", "damage", "empty"]):
        case "pickle":
            return pickle.dumps(Payload())
        case "objects":
            return npy_of(repr({"descr": "|O", "fortran_order": False, "shape": (1,)})) + (
                pickle.dumps(np.array([Payload()], dtype=object))
            )
        case "lie":
            shapes: list[Any] = [
                (10**9,), (2**40,), (2**62, 2), (2**31, 2**31, 4), (-1,), (10**6, 64),
                (*shape, 2), (), (0,), (0, 2**62), shape[:-1], (1.5,), "x", (True,), [3],
            ]  # fmt: skip
            shape = draw.choice(shapes)
            return npy_of(repr({"descr": descr, "fortran_order": draw.random() < 0.3,
                                 "shape": shape})) + raw  # fmt: skip
        case "text":
            headers = [
                "", "{}", "[]", "{'descr': '<f8'}",
                "{'descr': 'x', 'fortran_order': 1, 'shape': 3}",
                "__import__('os').mkdir('EXECUTED')", "(" * 500, "{'descr': [('a', '<f8')], "
                "'fortran_order': False, 'shape': (1,)}", "{'descr': '|V0', 'fortran_order': "
                "False, 'shape': (99,)}", "{'descr': '<U99999999', 'fortran_order': False, "
                "'shape': (99999,)}", "\x00", "é" * 20,
            ]  # fmt: skip
            return npy_of(draw.choice(headers)) + raw
        case "version":
            whole = npy(array)
            return (
                whole[:6]
                + draw.choice([b"\x00\x00", b"\x02\x00", b"\x03\x00", b"\xff\x01"])
                + (whole[8:])
            )
        case "empty":
            return draw.choice([b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"text"])
    return scratched(draw, npy(array))


def npy_of(text: str, raw: bytes = b"") -> bytes:
    """An `.npy` file whose header is a text, whatever that says."""
    encoded = text.encode("latin1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(encoded)) + encoded + raw


@cache
def _bomb() -> bytes:
    """An array of zeros that is small in its file."""
    header = repr({"descr": "|u1", "fortran_order": False, "shape": (2**24,)})
    return npy_of(header) + bytes(2**24)


def _zipped(draw: Random, members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    methods = [zipfile.ZIP_STORED] * 6 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", draw.choice(methods)) as file:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content)
        match draw.choice(["nothing"] * 8 + ["folder", "plain", "bomb", "comment"]):
            case "folder":
                file.writestr(zipfile.ZipInfo("x_train.npy/"), b"")
            case "plain":
                file.writestr(zipfile.ZipInfo("notes.txt"), b"hello")
            case "bomb":
                name = next(iter(members), "x")
                file.writestr(zipfile.ZipInfo(f"{name}.npy"), _bomb(), zipfile.ZIP_DEFLATED, 1)
            case "comment":
                file.comment = b"PK\x05\x06" * 3
    raw = stream.getvalue()
    if draw.random() < 0.05:  # every member is said to be encrypted, or packed in an unknown way
        at, value = draw.choice([(8, 1), (10, 99), (10, 7)])
        made = bytearray(raw)
        place = raw.find(b"PK\x01\x02")
        while place >= 0 and place + at < len(made):
            made[place + at] = value
            place = raw.find(b"PK\x01\x02", place + 1)
        raw = bytes(made)
    return raw


def zip_of(members: dict[str, bytes]) -> bytes:
    """An archive of `.npy` files by the names of their arrays."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content)
    return stream.getvalue()
