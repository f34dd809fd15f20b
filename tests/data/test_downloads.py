import gzip
import hashlib
import io
import re
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from peerlearn.data.downloads import Patience, RemoteFile, download, mirrored
from peerlearn.data.originals import (
    ORIGINALS,
    fetch_original,
    read_cifar10,
    read_cifar100,
    read_idx,
)
from peerlearn.data.registry import DATASETS, load_dataset
from peerlearn.data.spec import DataSpec
from peerlearn.errors import InputError, RunError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class FlakyServer:
    """Serves `files`; each request takes the next of `faults`: None, "break", "corrupt", 503 …"""

    def __init__(self):
        self.files, self.faults, self.requests = {"/f.bin": CONTENT}, [], []
        self.ranges = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request):
        wanted = request.headers.get("Range")
        self.requests.append(wanted)
        fault = self.faults.pop(0) if self.faults else None
        body = self.files.get(request.path)
        if body is None or isinstance(fault, int):
            request.send_error(fault if body is not None else 404)
            return
        if fault == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if start >= len(body):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        rest = body[start:]
        request.wfile.write(rest[: len(rest) // 2] if fault == "break" else rest)


@pytest.fixture
def server():
    flaky = FlakyServer()
    yield flaky
    flaky.http.shutdown()
    flaky.http.server_close()


def test_public_sources_are_https_and_have_a_checksum_that_cannot_be_forged():
    for original in ORIGINALS.values():
        for file in original.files:
            assert all(url.startswith("https://") for url in file.urls)
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)


@pytest.fixture
def waits():
    return []


@pytest.fixture
def fetch(server, tmp_path, waits):
    def run(sha256=SHA256, urls=None):
        file = RemoteFile("f.bin", urls or (server.url + "/f.bin",), sha256)
        return download(file, tmp_path / "d", Patience(attempts=3, sleep=waits.append, timeout=5))

    return run


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "d").iterdir())


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, fetch, tmp_path):
    assert fetch().read_bytes() == CONTENT
    fetch()
    assert server.requests == [None]
    assert names(tmp_path) == ["f.bin"]


def test_a_broken_line_is_resumed_where_it_broke(server, fetch):
    server.faults = ["break", "break"]
    assert fetch().read_bytes() == CONTENT
    assert server.requests == [None, "bytes=150000-", "bytes=225000-"]


def test_a_partial_file_of_an_earlier_call_is_taken_up(server, fetch, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f.bin.part").write_bytes(CONTENT[:1000])
    assert fetch().read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, fetch):
    server.ranges, server.faults = False, ["break"]
    assert fetch().read_bytes() == CONTENT
    assert server.requests == [None, "bytes=150000-"]


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_a_complete_or_overlong_partial_file_is_settled_by_its_checksum(fetch, tmp_path, length):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f.bin.part").write_bytes((CONTENT + b"extra")[:length])
    assert fetch().read_bytes() == CONTENT


def test_damaged_kept_bytes_are_thrown_away_once(server, fetch, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f.bin.part").write_bytes(b"\0" * 1000)
    assert fetch().read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-", None]


def test_a_corrupt_file_is_removed_and_both_checksums_are_named(server, fetch, tmp_path):
    server.faults = ["corrupt"] * 9
    with pytest.raises(RunError) as caught:
        fetch()
    damaged = hashlib.sha256(bytes([CONTENT[0] ^ 1]) + CONTENT[1:]).hexdigest()
    for part in (server.url + "/f.bin", f"expected sha256 {SHA256}", f"found {damaged}"):
        assert part in str(caught.value)
    assert names(tmp_path) == []


def test_a_corrupt_server_that_also_breaks_off_comes_to_an_end(server, fetch, tmp_path):
    server.faults = ["corrupt", "break"] * 9
    with pytest.raises(RunError, match="expected sha256"):
        fetch(sha256="0" * 64)
    assert len(server.requests) < 8
    assert names(tmp_path) == []


def test_a_damaged_finished_file_is_fetched_anew(fetch, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f.bin").write_bytes(b"damaged")
    assert fetch().read_bytes() == CONTENT


def test_busy_servers_are_retried_with_growing_waits_then_given_up(server, fetch, waits):
    server.faults = [503, 503]
    assert fetch().read_bytes() == CONTENT
    assert waits == [1.0, 2.0]


def test_a_server_that_stays_down_is_named_with_its_reason(server, fetch, waits):
    server.faults = [503] * 9
    with pytest.raises(RunError, match=r"f\.bin could not be downloaded\.\n .*/f\.bin: .*"):
        fetch()
    assert len(server.requests) == 3
    assert len(waits) == 2


def test_a_missing_file_is_not_retried_and_the_next_source_is_used(server, fetch, waits):
    urls = (server.url + "/none.bin", server.url + "/f.bin")
    assert fetch(urls=urls).read_bytes() == CONTENT
    assert waits == []


def test_other_kinds_of_address_are_refused(fetch):
    with pytest.raises(InputError, match="file:///etc/x: allowed: http"):
        fetch(urls=("file:///etc/x",))


def test_a_mirror_replaces_every_source():
    files = ORIGINALS["mnist"].files
    moved = mirrored("mnist", files, "http://here/data/")
    assert moved[0].urls == ("http://here/data/mnist/train-images-idx3-ubyte.gz",)
    assert [file.sha256 for file in moved] == [file.sha256 for file in files]
    assert mirrored("mnist", files, None) == files


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes(), mtime=0)


def tar(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def small_mnist():
    rng = np.random.default_rng(1)
    return {
        f"{prefix}-{kind}-ubyte.gz": idx(array)
        for prefix, rows in (("train", 40), ("t10k", 10))
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8)),
            ("labels-idx1", (np.arange(rows) % 10).astype(np.uint8)),
        )
    }


@pytest.fixture
def published(monkeypatch, server):
    """Publish small files under a real data set's names and checksums of their own."""

    def publish(name, files):
        server.files |= {f"/{name}/{file}": content for file, content in files.items()}
        renewed = tuple(
            replace(file, sha256=hashlib.sha256(files[file.name]).hexdigest())
            for file in ORIGINALS[name].files
        )
        monkeypatch.setitem(ORIGINALS, name, replace(ORIGINALS[name], files=renewed))
        monkeypatch.setenv("PEERLEARN_MIRROR", server.url)

    return publish


def test_mnist_is_downloaded_over_a_flaky_line_converted_and_found_again(
    server, published, tmp_path
):
    published("mnist", small_mnist())
    server.faults = [None, "break"]
    spec = DataSpec(name="mnist", root=str(tmp_path), val_size=10)
    path = fetch_original("mnist", str(tmp_path), Patience(sleep=lambda _: None))
    data = load_dataset(spec)
    asked = len(server.requests)
    assert path == tmp_path / "mnist.npz"
    assert [p.name for p in tmp_path.iterdir()] == ["mnist.npz"]
    assert data.sample_shape == (1, 28, 28)
    assert (len(data.train), len(data.val), len(data.test)) == (30, 10, 10)
    load_dataset(spec)
    assert len(server.requests) == asked == 5


def test_named_data_is_downloaded_when_it_is_first_loaded(published, tmp_path):
    published("mnist", small_mnist())
    data = load_dataset(DataSpec(name="mnist", root=str(tmp_path), val_size=10))
    assert data.classes == 10


def test_a_failed_download_leaves_no_data_set(server, published, tmp_path):
    published("mnist", small_mnist())
    server.files["/mnist/t10k-labels-idx1-ubyte.gz"] = b"something else"
    with pytest.raises(RunError, match=r"t10k-labels-idx1-ubyte\.gz.*expected sha256"):
        DATASETS.get("mnist", str(tmp_path))
    assert not (tmp_path / "mnist.npz").exists()


def test_cifar_archives_are_read_without_unpickling_or_extracting(tmp_path):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (12, 3072), dtype=np.uint8)
    fine = (np.arange(12) % 4).astype(np.uint8)[:, None]
    ten = np.hstack([fine, pixels])
    members = {f"cifar-10-batches-bin/data_batch_{i}.bin": ten[i : i + 2].tobytes() for i in (1, 2)}
    members |= {f"cifar-10-batches-bin/data_batch_{i}.bin": ten[:1].tobytes() for i in (3, 4, 5)}
    members |= {"cifar-10-batches-bin/test_batch.bin": ten.tobytes(), "../evil": b"x"}
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(tar(members))
    arrays = read_cifar10(tmp_path)
    assert arrays["x_train"].shape == (7, 3, 32, 32)
    assert arrays["y_train"].tolist() == [1, 2, 2, 3, 0, 0, 0]
    assert np.array_equal(arrays["x_test"].reshape(12, -1), pixels)

    hundred = np.hstack([np.full_like(fine, 9), fine, pixels]).tobytes()
    members = {"cifar-100-binary/train.bin": hundred, "cifar-100-binary/test.bin": hundred}
    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(tar(members))
    assert read_cifar100(tmp_path)["y_test"].tolist() == fine[:, 0].tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cifar-10-binary.tar.gz", "cifar-100-binary.tar.gz",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"", b"plain", tar({"other": b"x"}), tar({"cifar-10-batches-bin/data_batch_1.bin": b"x"})],
    ids=["empty", "plain", "other members", "short members"],
)
def test_other_archives_are_refused(tmp_path, content):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"cifar-10-binary\.tar\.gz: not the CIFAR"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"plain",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x0d\1" + b"\0" * 8),
        gzip.compress(b"\0\0\x08\3\0\0"),
        idx(np.zeros((3, 4), np.uint8))[:-9],
        gzip.compress(gzip.decompress(idx(np.zeros((3, 4), np.uint8)))[:-1]),
    ],
    ids=["plain", "empty", "floats", "short header", "cut gzip", "short data"],
)
def test_malformed_idx_files_are_refused(tmp_path, content):
    (tmp_path / "f.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"f\.gz: "):
        read_idx(tmp_path / "f.gz")
