"""The clock and the page of the speed benchmark beside this folder, for the scripts in it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "speed"))

from page import conditions, markdown_table, options, publish
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
    "conditions",
    "environment",
    "interleave",
    "markdown_table",
    "options",
    "pin",
    "publish",
    "row",
    "summary",
]
