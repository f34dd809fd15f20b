"""State files: whole or not there, exact, and never a pickle."""

from pathlib import Path

import pytest
import torch

from peerlearn.engine import files
from peerlearn.engine.run_folder import TEMPORARY, RunFolder
from peerlearn.errors import InputError

STATE = {
    "weights": {"w": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)},
    "optimiser": {"state": {0: {"momentum": torch.ones(2)}}, "lr": 0.1, "betas": [0.9, 0.99]},
    "none": None,
    "name": "α",
    "flags": [True, {"deep": torch.zeros(0)}],
}


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    files.save_state(tmp_path / "s.safetensors", STATE)
    back = files.load_state(tmp_path / "s.safetensors")
    assert torch.equal(back["weights"]["w"], STATE["weights"]["w"])
    assert back["weights"]["steps"].dtype == torch.int64
    assert torch.equal(back["optimiser"]["state"][0]["momentum"], torch.ones(2)), "integer keys"
    assert back["optimiser"]["betas"] == [0.9, 0.99]
    assert (back["none"], back["name"], back["flags"][0]) == (None, "α", True)
    assert list(back) == list(STATE)


def test_a_channels_last_tensor_keeps_its_values(tmp_path: Path) -> None:
    image = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    files.save_state(tmp_path / "s.safetensors", {"x": image})
    assert torch.equal(files.load_state(tmp_path / "s.safetensors")["x"], image)


def test_a_pickle_is_refused_and_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    torch.save({"w": torch.ones(1)}, path)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        files.load_state(path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    files.save_state(path, STATE)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"s\.safetensors: not a whole safetensors file"):
        files.load_state(path)


def test_a_header_that_is_not_what_was_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    files.save_state(path, STATE)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"betas", b"betaz"))
    with pytest.raises(InputError, match=r"s\.safetensors: the header of the state is damaged"):
        files.load_state(path)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(1)}, tmp_path / "s.safetensors")
    with pytest.raises(InputError, match="not a state written by peerlearn"):
        files.load_state(tmp_path / "s.safetensors")


def test_what_a_kill_leaves_of_any_file_of_a_run_is_taken_away(tmp_path) -> None:
    for file in vars(RunFolder(tmp_path / "run")).values():
        if isinstance(file, Path) and file.suffix:
            assert TEMPORARY.fullmatch(f".{file.name}.a1b2c3_4"), file


def test_what_a_kill_leaves_of_a_file_of_weights_is_taken_away(tmp_path: Path) -> None:
    """safetensors itself writes beside the file that it is given."""
    folder = RunFolder(tmp_path / "run")
    folder.open({"epochs": 1}, resume=False)
    best = folder.best("a").parent
    best.mkdir(parents=True)
    kept = [best / name for name in ("a.safetensors", ".tmp", ".tmpnotes.txt")]
    for path in (*kept, best / ".tmp0wXS8W", best / ".a.safetensors.a1b2c3_4"):
        path.touch()
    folder.open({"epochs": 1}, resume=True)
    assert sorted(best.iterdir()) == sorted(kept)
