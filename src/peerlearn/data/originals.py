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
IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
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


def _files(
    bases: tuple[str, ...], names: tuple[str, ...], sha256: tuple[str, ...]
) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name, tuple(base + name for base in bases), checksum)
        for name, checksum in zip(names, sha256, strict=True)
    )


ORIGINALS = {
    "mnist": Original(
        "handwritten digits", 10, (1, 28, 28), (60_000, 10_000), 12,
        _files(
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            IDX,
            (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        read_mnist,
    ),
    "fashion_mnist": Original(
        "photographs of clothes", 10, (1, 28, 28), (60_000, 10_000), 31,
        _files(
            (
                "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            ),
            IDX,
            (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
        read_mnist,
    ),
    "cifar10": Original(
        "small colour photographs", 10, (3, 32, 32), (50_000, 10_000), 170,
        _files(
            CIFAR,
            ("cifar-10-binary.tar.gz",),
            ("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",),
        ),
        read_cifar10,
    ),
    "cifar100": Original(
        "small colour photographs", 100, (3, 32, 32), (50_000, 10_000), 169,
        _files(
            CIFAR,
            ("cifar-100-binary.tar.gz",),
            ("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",),
        ),
        read_cifar100,
    ),
}  # fmt: skip
"""Every data set that can be downloaded, by name.

Checksums are those that several projects publish of the files whose MD5 the authors state.
"""


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
