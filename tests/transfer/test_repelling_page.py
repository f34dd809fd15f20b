"""The page on edges that keep peers apart runs as it is, and names every option of theirs."""

import re
from pathlib import Path

import pytest

import peerlearn.transfer.knowledge as package
from peerlearn.transfer.spec import OPTIONS, SHARED

PAGE = Path(package.__file__).with_name("README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_invariant_8_a_block_runs(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(BLOCKS[number], f"block {number}", "exec"), {})
    if "print" in BLOCKS[number]:
        assert re.match(r"\{\('a', 'b'\): \d+\.\d+, ", capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["posteriors", "feature_distributions", "other_classes"])
def test_every_option_of_a_kind_is_explained(kind: str) -> None:
    said = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
    assert set(OPTIONS[kind].model_fields) - {*SHARED} <= said
