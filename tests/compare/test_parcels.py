"""Folders of runs travel as parcels, of which nothing else is unpacked."""

import io
import zipfile
from pathlib import Path

import pytest

from peerlearn.compare.parcels import packed, unpack
from peerlearn.errors import InputError, RunError

FILES = {
    "config.yaml": b"seed: 0\n",
    "env.json": b"{}",
    "metrics.jsonl": b"{}\n",
    "rows.npz": b"rows",
    "checkpoints/best/a peer.safetensors": b"\x00\xff",
    "checkpoints/last/state.safetensors": b"state",
    "results.json": b"{}",
}


def run_folder(folder: Path) -> Path:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_run_arrives_as_it_was_sent_without_what_its_process_alone_needs(tmp_path: Path) -> None:
    sent = run_folder(tmp_path / "sent")
    for name in (".lock", ".results.json.abcdefgh", "checkpoints/best/.tmpAbCdEf"):
        (sent / name).write_bytes(b"of the process")
    unpack(packed(sent), tmp_path / "here")
    assert files_in(tmp_path / "here") == FILES


def test_files_that_tell_how_far_a_run_is_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(
        "peerlearn.compare.parcels.write_atomically", lambda path, write: written.append(path.name)
    )
    unpack(packed(run_folder(tmp_path / "sent")), tmp_path / "here")
    assert written[-2:] == ["state.safetensors", "results.json"] and len(written) == len(FILES)


def parcel(*names: str, mode: int = 0o100644, how: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, how
            archive.writestr(entry, b"no" * 100)
    return content.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../results.json",
        "/tmp/results.json",
        "checkpoints/best/../../../x.safetensors",
        "checkpoints/best/..safetensors",
        "checkpoints\\best\\a.safetensors",
        "checkpoints/best/a/b.safetensors",
        "sitecustomize.py",
        "results.json/",
        ".lock",
        "weights.pt",
        "cells/results.json",
    ],
)
def test_other_names_are_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="what came for it is no folder of a run"):
        unpack(parcel("config.yaml", name), tmp_path / "out" / "here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (parcel("results.json", mode=0o120777), "'results.json' is no file"),
        (parcel("results.json", how=zipfile.ZIP_DEFLATED), "'results.json' is compressed"),
        (b"", "is damaged"),
        (parcel("results.json")[:-30], "is damaged"),
        (parcel("results.json").replace(b"nono", b"NoNo", 1), "is damaged"),
    ],
)
def test_links_bombs_and_damage_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(RunError, match=said):
        unpack(content, tmp_path / "here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a name comes twice"):
        unpack(parcel("results.json", "results.json"), tmp_path / "here")


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
    (here / "checkpoints").symlink_to(elsewhere)
    with pytest.raises(InputError, match="leads out of"):
        unpack(packed(run_folder(tmp_path / "sent")), here)
    assert list(elsewhere.iterdir()) == []
