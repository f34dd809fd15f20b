"""Tables on stdout, as wide as they need to be where nobody sees a screen, and folded sentences.

Nothing here needs torch: `peerlearn ls` prints with it.
"""

import sys
import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from peerlearn.errors import harmless

WIDE = 200


def console() -> Console:
    """stdout; a pipe or a file does not fold lines at the width of a terminal it has not."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def screen_width() -> int:
    """Columns of the terminal; 80 where nobody sees one."""
    return console().width if sys.stdout.isatty() else 80


def folded(line: str) -> list[str]:
    """A sentence in lines that a terminal, or 80 columns, can hold; names of files stay whole."""
    return textwrap.wrap(
        harmless(line),
        screen_width() - 1,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: bool = False,
    whole: Sequence[str] = (),
) -> Table:
    """A plain table, its first column bold.

    `right` sets all columns but the first flush right, as numbers are; `whole` are titles of
    columns that are never folded, as the first never is.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, title in enumerate(columns):
        first = number == 0
        made.add_column(
            title,
            style="bold" if first else None,
            no_wrap=first or title in whole,
            justify="right" if right and not first else "left",
        )
    for row in rows:
        # Keeps rich from reading `[...]` as markup.
        made.add_row(*(harmless(text).replace("[", r"\[") for text in row))
    return made
