"""The original files of MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100: where, which, how read.

Formats: IDX (a big-endian header, then bytes) and the CIFAR binary version (records of label
bytes and 3 x 32 x 32 pixels). Neither can hold code, unlike the pickled CIFAR version.
"""

import gzip
import math
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peerlearn.data.arrays import Array
from peerlearn.data.catalogue import writable_root
from peerlearn.data.downloads import Patience, RemoteFile, download, mirrored
from peerlearn.data.npz import write_npz
from peerlearn.errors import InputError
from peerlearn.locks import one_at_a_time

Bytes = NDArray[np.uint8]
CIFAR = ("https://www.cs.toronto.edu/~kriz/",)
CIFAR_SIDE = 32
CIFAR_PIXELS = 3 * CIFAR_SIDE**2
UNREADABLE = (OSError, EOFError, zlib.error, tarfile.TarError, KeyError)


@dataclass(frozen=True)
class Original:
    """A published data set: its files, and how a folder that holds them becomes arrays."""

    title: str
    classes: int
    shape: tuple[int, int, int]
    rows: tuple[int, int]
    megabytes: int
    files: tuple[RemoteFile, ...]
    read: Callable[[Path], Mapping[str, Array]]


def read_idx(path: Path) -> Bytes:
    """The array of unsigned bytes in a gzipped IDX file.

    Raises InputError: not gzip, not IDX of bytes, or of another length than its header says.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except UNREADABLE as error:
        raise InputError(f"{path}: not a gzip file, or cut short ({error}).") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise InputError(f"{path}: not an IDX file of bytes; it begins with {raw[:4]!r}.")
    header = 4 + 4 * raw[3]
    if len(raw) < header:
        raise InputError(f"{path}: the IDX header is cut short.")
    shape = tuple(np.frombuffer(raw[4:header], ">u4").tolist())
    if len(raw) - header != math.prod(shape):
        raise InputError(f"{path}: {len(raw) - header} bytes for an IDX array of shape {shape}.")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_mnist(folder: Path) -> dict[str, Array]:
    """`x_train, y_train, x_test, y_test` from the four IDX files of MNIST's layout."""
    arrays: dict[str, Array] = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        arrays[f"x_{part}"] = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        arrays[f"y_{part}"] = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return arrays


def read_cifar10(folder: Path) -> dict[str, Array]:
    """`x_train, y_train, x_test, y_test` of CIFAR-10, x of shape (N, 3, 32, 32)."""
    batches = [f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)]
    tests = ["cifar-10-batches-bin/test_batch.bin"]
    return _read_cifar(folder / "cifar-10-binary.tar.gz", batches, tests, label_bytes=1)


def read_cifar100(folder: Path) -> dict[str, Array]:
    """`x_train, y_train, x_test, y_test` of CIFAR-100 under its 100 fine labels."""
    members = ["cifar-100-binary/train.bin"], ["cifar-100-binary/test.bin"]
    return _read_cifar(folder / "cifar-100-binary.tar.gz", *members, label_bytes=2)


def _read_cifar(
    archive: Path, train: list[str], test: list[str], label_bytes: int
) -> dict[str, Array]:
    """Records of `label_bytes` labels, the last of which counts, and the pixels."""
    arrays: dict[str, Array] = {}
    record = label_bytes + CIFAR_PIXELS
    try:
        # Members are read in place by name: nothing is ever extracted to a path of their choice.
        with tarfile.open(archive, "r:gz") as tar:
            for part, members in (("train", train), ("test", test)):
                raw = b"".join(_member(tar, name) for name in members)
                if not raw or len(raw) % record:
                    raise InputError(f"{archive}: {members[0]} is no multiple of {record} bytes.")
                records = np.frombuffer(raw, np.uint8).reshape(-1, record)
                arrays[f"y_{part}"] = records[:, label_bytes - 1].copy()
                pixels = records[:, label_bytes:]
                arrays[f"x_{part}"] = pixels.reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
    except UNREADABLE as error:
        raise InputError(f"{archive}: not the CIFAR binary archive ({error}).") from error
    return arrays


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is not a file")
    return file.read()


def _files(bases: tuple[str, ...], md5: Mapping[str, str]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(n, tuple(base + n for base in bases), md5[n]) for n in md5)


ORIGINALS = {
    "mnist": Original(
        "handwritten digits", 10, (1, 28, 28), (60_000, 10_000), 12,
        _files(
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            {
                "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
                "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
                "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
            },
        ),
        read_mnist,
    ),
    "fashion_mnist": Original(
        "photographs of clothes", 10, (1, 28, 28), (60_000, 10_000), 31,
        _files(
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            {
                "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
            },
        ),
        read_mnist,
    ),
    "cifar10": Original(
        "small colour photographs", 10, (3, 32, 32), (50_000, 10_000), 170,
        _files(CIFAR, {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}),
        read_cifar10,
    ),
    "cifar100": Original(
        "small colour photographs", 100, (3, 32, 32), (50_000, 10_000), 169,
        _files(CIFAR, {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"}),
        read_cifar100,
    ),
}  # fmt: skip
"""Every data set that can be downloaded, by name."""


def fetch_original(name: str, root: str | None = None, patience: Patience | None = None) -> Path:
    """Download a data set of `ORIGINALS` and convert it, unless `ROOT/NAME.npz` is there.

    Its root is as in `SourceSpec.root`. $PEERLEARN_MIRROR is a base address that holds `NAME/FILE`
    for each original file, in place of the public sources.

    Raises:
        InputError: a folder that cannot be written.
        RunError: the download failed.
    """
    target = writable_root(root) / f"{name}.npz"
    parts = target.parent / name
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(target.parent / f".{name}.lock"):
            if not target.exists():
                original, mirror = ORIGINALS[name], os.environ.get("PEERLEARN_MIRROR")
                for file in mirrored(name, original.files, mirror):
                    download(file, parts, patience)
                write_npz(target, original.read(parts))
                shutil.rmtree(parts, ignore_errors=True)
    except PermissionError as error:
        raise InputError(f"data.root: {error.filename} cannot be written.") from error
    return target
