"""Freed memory stays with the process, so that a step does not map it anew."""

import platform
import subprocess
import sys

import pytest

PAGES_PER_ROUND = """
import resource
import torch
from peerlearn.engine.precision import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(2 << 20) for _ in range(16)]
    del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages(), pages()
as_it_starts = pages()
assert keep_freed_memory()
pages()
print(as_it_starts, pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_is_mapped_once() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PAGES_PER_ROUND], capture_output=True, text=True, check=True
    )
    as_it_starts, kept = map(int, run.stdout.split())
    assert kept < as_it_starts / 10
