"""`run`, `compare`, `eval` and the report end with the network to use; `export` writes it."""

from pathlib import Path

import pytest
from tiny import TINY

from peerlearn.cli import app
from peerlearn.compare.report import write_report


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[str]:
    capsys.readouterr()
    app([str(word) for word in words], standalone_mode=False)
    out = capsys.readouterr().out.splitlines()
    return out[out.index("Which network to use:") :] if "Which network to use:" in out else out


def test_the_block_and_the_commands_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = said(capsys, "run", "dml", *TINY, "--out", "r")
    assert "best of 2 on validation (accuracy" in run[1] and run[2].startswith("  On test rows:")
    assert any("The ensemble of a and b:" in line for line in run)
    assert said(capsys, "eval", "r") == run
    (export,) = (line.split()[1:] for line in run if "peerlearn export" in line)
    (written,) = said(capsys, *export)
    assert written.startswith(
        f"{export[-1]}: pt2 of peer {export[-3]}; raw uint8 rows (N, 1, 8, 8)"
    )
    assert Path(export[-1]).is_file()
    page = write_report([Path("r")], tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"peerlearn export r --peer {export[-3]}" in page and "Which network to use" in page


def test_a_comparison_names_one_of_its_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--arms", "mutual,independent", "--seeds", "0-1", "--out", "c")
    compared = said(
        capsys, "compare", "dml", *(word for word in TINY if word != "epochs=2"), "epochs=1", *words
    )
    assert "best of 8 on validation" in " ".join(compared)
    (predict,) = (line.split() for line in compared if "peerlearn predict" in line)
    assert (Path(predict[2]) / "results.json").is_file()
