"""What would be trained, or is about to be: a word, and what it is about in lines beside it."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peerlearn.engine.description import Facts

NARROWEST, WIDEST = 40, 100
MARGIN = 9  # columns of the words


def head(arms: Mapping[str, "Facts"], width: int = 80, recipe: str | None = None) -> list[str]:
    """What holds of the first arm, then what is different in each; no line beyond the width.

    `arms` gives the facts of each arm by its name. Edges are told of every arm.
    """
    width = min(max(width, NARROWEST), WIDEST)
    lines = [] if recipe is None else _beside("recipe", [recipe], width)
    alone, first = len(arms) == 1, next(iter(arms.values()))
    for word in first:
        if alone or word != "edges":
            lines += _beside(word, first[word], width)
    if alone:
        return lines + [line for arm in arms if arm for line in _beside("arm", [arm], width)]
    for arm, facts in arms.items():
        lines += _beside("arm", [arm], width)
        for word, own in facts.items():
            if word == "edges" or own != first.get(word):
                lines += [f"  {line}" for line in _beside(word, own, width - 2)]
    return lines


def _beside(word: str, lines: Sequence[str], width: int) -> list[str]:
    """The lines behind the word, folded between words where they are longer than the width."""
    folded: list[str] = []
    for line in lines:
        # Folded as a bare word may be, but never before a count or a unit: `cat (12)`, `3 MB`.
        kept = re.sub(r" (?=\(\d[\d,]*\)|[kMGT]B\b)", "\N{NO-BREAK SPACE}", line)
        wrapped = textwrap.wrap(
            kept, width - MARGIN, subsequent_indent="  ", break_on_hyphens=False
        )
        folded += [part.replace("\N{NO-BREAK SPACE}", " ") for part in wrapped] or [""]
    return [f"{word if not n else '':<{MARGIN}}{line}" for n, line in enumerate(folded)]
