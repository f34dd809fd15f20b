"""Fetches a file over HTTP: resumed where it broke off, retried, checked, and never half there."""

import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peerlearn.errors import InputError, RunError

CHUNK = 1 << 16
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
TRANSIENT = (
    http.client.HTTPException,
    urllib.error.URLError,
    ssl.SSLError,
    ConnectionError,
    TimeoutError,
)


@dataclass(frozen=True)
class RemoteFile:
    """A file, where it can be had, and the SHA-256 of its bytes, which every copy must have."""

    name: str
    urls: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Patience:
    """How long a download tries: `attempts` a URL, waiting backoff · 2^k seconds in between.

    An attempt that brought new bytes does not count: a line that keeps breaking still arrives.
    """

    attempts: int = 4
    backoff: float = 1.0
    timeout: float = 30.0
    sleep: Callable[[float], None] = time.sleep


class _Corrupt(Exception):
    """All bytes arrived, and they are not the published ones."""


def download(file: RemoteFile, folder: Path, patience: Patience | None = None) -> Path:
    """The verified file in `folder`, fetched from the first of its URLs that delivers it.

    Bytes are collected in `NAME.part`, which a later call takes up again, and renamed to `NAME`
    only once their checksum fits.

    Raises:
        InputError: a URL is not http or https. What comes over http is checked all the same.
        RunError: no URL delivered the file; lists each URL with the reason, for a wrong checksum
            the one expected and the one found. The damaged file has been removed.
    """
    for url in file.urls:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"{url}: allowed: http:// and https:// addresses.")
    target = folder / file.name
    if target.exists():
        if sha256_of(target) == file.sha256:
            return target
        target.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in file.urls:
        try:
            _fetch(url, target, file.sha256, patience or Patience())
            return target
        except (*TRANSIENT, _Corrupt) as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
    raise RunError(f"{file.name} could not be downloaded.\n  " + "\n  ".join(failures))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, target: Path, sha256: str, patience: Patience, restart: bool = True) -> None:
    """Fill `target` from one URL, or raise what the last attempt failed of."""
    part = target.with_name(target.name + ".part")
    furthest = _size(part)
    resumed = furthest > 0
    failed = 0
    while True:
        try:
            _transfer(url, part, patience.timeout)
            break
        except TRANSIENT as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code not in RETRIED_STATUS
            failed = 0 if _size(part) > furthest else failed + 1
            if final or failed >= patience.attempts:
                raise
            furthest = max(furthest, _size(part))
            resumed = True
            patience.sleep(patience.backoff * 2 ** max(0, failed - 1))
    found = sha256_of(part)
    if found == sha256:
        os.replace(part, target)  # noqa: PTH105 -- atomic on every platform, as said
        return
    part.unlink()
    if resumed and restart:
        # The bytes kept from an earlier attempt may be the damaged ones: once more, from zero.
        _fetch(url, target, sha256, patience, restart=False)
        return
    raise _Corrupt(f"checksum differs: expected sha256 {sha256}, found {found}; file removed")


def _transfer(url: str, part: Path, timeout: float) -> None:
    """Append to `part` what is missing of it, or start over where the server cannot resume."""
    offset = _size(part)
    headers = {"User-Agent": "peerlearn", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:
            # Nothing beyond what is here: complete, or of another file. The checksum tells.
            return
        raise
    with response:
        resumed = response.status == 206
        span = response.headers.get("Content-Range")
        if resumed and span is not None and not span.startswith(f"bytes {offset}-"):
            part.unlink()
            raise http.client.HTTPException("the server resumed at another place than asked")
        announced = response.headers.get("Content-Length")
        received = 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                received += len(chunk)
        if announced is not None and received < int(announced):
            raise http.client.HTTPException(
                f"the connection broke off after {received} of {announced} bytes"
            )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def mirrored(name: str, files: Sequence[RemoteFile], mirror: str | None) -> tuple[RemoteFile, ...]:
    """The same files at MIRROR/NAME/FILE alone, or unchanged where there is no mirror."""
    if not mirror:
        return tuple(files)
    base = f"{mirror.rstrip('/')}/{name}"
    return tuple(RemoteFile(file.name, (f"{base}/{file.name}",), file.sha256) for file in files)
