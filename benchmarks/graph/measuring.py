"""The clock and the page of the speed benchmark beside this folder, for the scripts in it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "speed"))

from page import fill, markdown_table, options
from timing import (
    Sample,
    Samples,
    Work,
    environment,
    interleave,
    pin,
    row,
    summary,
)

__all__ = [
    "Sample",
    "Samples",
    "Work",
    "environment",
    "fill",
    "interleave",
    "markdown_table",
    "options",
    "pin",
    "row",
    "summary",
]
