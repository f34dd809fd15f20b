"""Fill the tables of the benchmark pages from their result files.

    python benchmarks/write_tables.py            # rewrite
    python benchmarks/write_tables.py --check    # exit 1 where a page and its results disagree

A page asks for a table with a pair of lines; the path is relative to the page:

    <!-- table: cifar10-resnets.json -->
    <!-- end -->

`grid:` in place of `table:` asks for the order × weight tables of the Rényi benchmark.
"""

import json
import re
import sys
from pathlib import Path

from peerlearn.compare.table import markdown_table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from renyi.grid import grid_markdown  # noqa: E402 -- found through the line above

SLOT = re.compile(r"(<!-- (?P<kind>table|grid): (?P<file>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
MAKERS = {"table": markdown_table, "grid": grid_markdown}


def filled(page: Path) -> str:
    """The text of `page` with every table made from its result file."""

    def table(slot: re.Match[str]) -> str:
        results = json.loads((page.parent / slot["file"]).read_text(encoding="utf-8"))
        return f"{slot[1]}\n{MAKERS[slot['kind']](results)}\n{slot[4]}"

    return SLOT.sub(table, page.read_text(encoding="utf-8"))


def main() -> int:
    """Rewrite or check every page."""
    check = "--check" in sys.argv[1:]
    stale = []
    for page in sorted(HERE.glob("*/README.md")):
        text = filled(page)
        if text != page.read_text(encoding="utf-8"):
            stale.append(page.parent.name)
            if not check:
                page.write_text(text, encoding="utf-8")
    print(f"{'stale' if check else 'rewritten'}: {', '.join(stale) or 'none'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
