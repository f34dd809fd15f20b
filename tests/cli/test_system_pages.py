"""Invariant 8: the page of every system runs as it is, and names all that the system has."""

import re
import shlex
from pathlib import Path

import pytest

from peerlearn.systems.registry import RECIPES

SYSTEMS = Path(__file__).parents[2] / "src/peerlearn/systems"
PAGES = sorted(SYSTEMS.glob("*/README.md"))


def test_every_system_has_a_page():
    systems = {recipe.system or recipe.name for recipe in RECIPES.values()}
    assert {page.parent.name for page in PAGES} == systems


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_page_runs_as_it_is(page, cli):
    """Its blocks, from the first to the last, in an empty folder."""
    for language, block in re.findall(r"```(\w+)\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        if language == "python":
            exec(compile(block, page.name, "exec"), {})
        if language == "bash":
            for command in block.strip().splitlines():
                program, *words = shlex.split(command)
                assert program == "peerlearn"
                assert cli(*words).status == 0, command


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_page_names_its_recipes_and_their_arms(recipe):
    page = (SYSTEMS / (recipe.system or recipe.name) / "README.md").read_text("utf-8")
    assert f"`{recipe.name}`" in page
    shown = set(re.findall(r"`([\w-]+)`", page))
    missing = set(recipe.defaults()["arms"]) - shown
    assert not missing, f"arms of {recipe.name} that the page does not explain"
