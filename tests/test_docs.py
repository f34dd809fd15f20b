"""The pages in `docs/`: their commands are ones that hold, and their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from peerlearn.systems.overrides import parse_assignments
from peerlearn.systems.registry import find_recipe

DOCS = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))


def test_there_are_pages() -> None:
    assert {page.stem for page in DOCS} >= {"scaling", "snapshots"}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_runs_on_a_page_hold(page: Path) -> None:
    blocks = re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in (line for block in blocks for line in block.splitlines()):
        program, verb, name, *words = shlex.split(line.rstrip(" &"))
        assert (program, verb) == ("peerlearn", "run"), line
        recipe, given = find_recipe(name)
        overrides = words[: words.index("--out")]
        recipe.resolve(given, parse_assignments(overrides))


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    scripts = re.findall(r"`python (\S+)`", text)
    assert scripts, "every page says what measures it"
    places = [page.parent / each for each in linked] + [page.parents[1] / each for each in scripts]
    assert all(place.exists() for place in places), places
