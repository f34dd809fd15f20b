"""`ls`, `cp` and `data`: what there is, and a copy of it to start from."""

import subprocess
import sys

import pytest
import yaml
from tiny_commands import TINY

from peerlearn.data.registry import DATASETS
from peerlearn.models import MODELS
from peerlearn.systems.registry import RECIPES
from peerlearn.tasks.segmentation.models.registry import SEGMENTATION_MODELS


def first_words(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def test_ls_alone_shows_every_recipe_and_how_to_list_the_rest(cli):
    said = cli("ls")
    assert said.status == 0
    assert set(RECIPES) <= set(first_words(said.out))
    assert "peerlearn ls data" in said.out
    assert "peerlearn ls models" in said.out


def test_ls_recipes_names_the_arms(cli):
    line = next(x for x in cli("ls", "recipes").out.splitlines() if x.startswith("dml "))
    assert RECIPES["dml"].summary in line
    assert "mutual, independent" in line


def test_ls_models_shows_every_model_with_its_arguments(cli):
    said = cli("ls", "models")
    assert {*MODELS.names, *SEGMENTATION_MODELS.names} <= set(first_words(said.out))
    assert "hidden=(256, 256)" in said.out


def test_ls_data_shows_files_of_the_root(cli, tmp_path, monkeypatch):
    (tmp_path / "mine.npz").touch()
    monkeypatch.setenv("PEERLEARN_DATA", str(tmp_path))
    said = cli("ls", "data")
    assert {*DATASETS.names(), "mine"} <= set(first_words(said.out))
    assert str(tmp_path / "mine.npz") in said.out


def test_data_ls_looks_below_the_given_root(cli, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "yours.npz").touch()
    assert "yours" in first_words(cli("data", "ls", "--root", "elsewhere").out)
    assert "yours" not in first_words(cli("data", "ls").out)


def test_data_get_prints_the_file_that_is_there(cli, tmp_path):
    (tmp_path / "mnist.npz").touch()
    said = cli("data", "get", "mnist", "--root", tmp_path)
    assert said == (0, f"{tmp_path / 'mnist.npz'}\n", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ls", "recipe"], "Did you mean 'recipes'?"),
        (["data", "get", "minst"], "Did you mean 'mnist'?"),
        (["data", "get", "digits"], "nothing to download"),
        (["cp", "dlm", "x.yaml"], "Did you mean 'dml'?"),
        (["cp", "dml", "x.txt"], "x.txt: a recipe file ends in .yaml or .yml"),
    ],
)
def test_unknown_names_get_the_nearest(cli, tmp_path, words, expected):
    said = cli(*words)
    assert said.status == 2
    assert expected in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", list(RECIPES))
def test_cp_keeps_the_comments_and_the_copy_is_the_recipe(cli, tmp_path, name):
    said = cli("cp", name, "new/my.yaml")
    copy = (tmp_path / "new" / "my.yaml").read_text()
    assert said.status == 0
    assert copy == RECIPES[name].default_text()
    assert "#" in copy
    assert yaml.safe_load(copy)["recipe"] == name


def test_cp_never_overwrites(cli, tmp_path):
    (tmp_path / "my.yaml").write_text("mine")
    said = cli("cp", "dml", "my.yaml")
    assert said.status == 2
    assert "my.yaml: exists" in said.err
    assert (tmp_path / "my.yaml").read_text() == "mine"


def test_a_copy_runs_as_it_is(cli, tmp_path):
    cli("cp", "dml", "my.yml")
    said = cli("run", "my.yml", *TINY, "--out", "run")
    assert said.status == 0
    assert (tmp_path / "run" / "results.json").exists()


def test_what_only_reads_imports_no_compiler():
    """torch's own takes a second, and is imported by the first optimiser that is made."""
    said = (
        "import sys; from peerlearn.cli import app; app(['ls', 'data'], standalone_mode=False); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", said], check=False).returncode == 0
