"""What `import peerlearn` shows, and the example in its own words."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TINY

import peerlearn
from peerlearn.systems.overrides import parse_assignments


def test_everything_public_is_listed_and_there() -> None:
    assert set(peerlearn.__all__) <= set(dir(peerlearn))
    for name in ("Cohort", "fit", "load", "recipe"):
        assert name in dir(peerlearn) and (getattr(peerlearn, name).__doc__ or "").strip()
    assert all(getattr(peerlearn, name) is not None for name in peerlearn.__all__)


def test_listing_what_there_is_does_not_import_torch() -> None:
    code = "import sys, peerlearn; dir(peerlearn); raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_docstrings_comparison_needs_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 'recipe("dml", data="digits").compare(seeds=range(5))' in (peerlearn.__doc__ or "")
    monkeypatch.chdir(tmp_path)
    tiny = parse_assignments(TINY) | {"epochs": 1}
    bound = peerlearn.recipe("dml", tiny | {"data.name": "digits"})
    for number in (1, 2):
        results = bound.compare(arms=["mutual", "independent"], seeds=range(2))
        assert results["seeds"] == [0, 1] and len(results["arms"]) == 2
        assert (tmp_path / f"runs/compare-dml-{number}/results.json").is_file()
