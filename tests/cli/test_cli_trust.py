"""What is read is data: code that it names is run only where a user typed it, or allows it."""

import json
from pathlib import Path

import pytest
from overriding import over
from test_cli_bad_input import refused
from tiny_commands import TINY

from peerlearn.errors import InputError
from peerlearn.plain_yaml import read_yaml, to_yaml
from peerlearn.recipes import recipe
from peerlearn.serving import open_run

#: A module that leaves a file behind when it is imported, and more when it is called.
MODULE = """
from pathlib import Path
from torch import nn

from peerlearn.transfer import EdgeOptions, Knowledge

with Path("canary").open("a") as file:
    file.write("imported ")

def net(in_shape, classes):
    with Path("canary").open("a") as file:
        file.write("called ")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

class Nothing(Knowledge):
    Options = EdgeOptions

    def losses(self, view, learners):
        return {}
"""


@pytest.fixture
def module(tmp_path, request) -> str:
    """The name of the module, which nobody has imported before, in the current directory."""
    name = f"canary_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def quiet(folder: Path) -> bool:
    """Whether nothing of the module was run."""
    return not (folder / "canary").exists()


def change(path: Path, **keys) -> None:
    """Set keys of a YAML file."""
    path.write_text(to_yaml(read_yaml(path) | keys))


def with_model(config: dict, name: str) -> dict:
    return config["peers"] | {"b": {"model": name}}


@pytest.fixture
def foreign(run_folder, module) -> str:
    """The folder of a run whose configuration names code, as someone might send it."""
    path = run_folder / "config.yaml"
    change(path, peers=with_model(read_yaml(path), f"python:{module}:net"))
    return f"python:{module}:net"


@pytest.mark.parametrize(
    "verb", [["eval"], ["predict", "rows.npz"], ["export", "--out", "net.pt2"]]
)
def test_a_run_folder_that_names_code_is_refused(cli, tmp_path, foreign, verb):
    said = cli(verb[0], "run", *verb[1:])
    refused(said, "run/config.yaml: names code", f"peers.b.model: {foreign!r}", "--trust")
    assert quiet(tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        {"transfer": {"edges": [{"knowledge": "CODE"}]}},
        {"arms": {"x": {"peers.a.model": "CODE"}}},
        {"objective": "CODE"},
        {"weights": ["CODE"]},
    ],
)
def test_wherever_the_code_is_named(cli, tmp_path, run_folder, module, place):
    text = json.dumps(place).replace("CODE", f"python:{module}:Nothing")
    change(run_folder / "config.yaml", **json.loads(text))
    refused(cli("eval", "run"), "names code", "--trust")
    assert quiet(tmp_path)


def test_a_text_that_spells_edges_names_no_code(cli, tmp_path, run_folder, module):
    hidden = f'{{edges: [{{knowledge: "\\x70ython:{module}:Nothing"}}]}}'
    change(run_folder / "config.yaml", transfer=hidden)
    refused(cli("eval", "run"), "transfer")
    assert quiet(tmp_path)


def test_trust_allows_what_a_run_folder_names(cli, tmp_path, module):
    own = f"peers.b={{model: 'python:{module}:net'}}"
    assert cli("run", "dml", *over(*TINY, own), "--out", "run").status == 0
    (tmp_path / "canary").unlink()
    refused(cli("eval", "run"), "names code")
    assert quiet(tmp_path)
    assert cli("eval", "run", "--trust").status == 0
    assert "called" in (tmp_path / "canary").read_text()


def test_in_python_a_folder_is_opened_by_trust(run_folder, foreign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="trust=True"):
        open_run(run_folder)
    assert quiet(tmp_path)
    assert open_run(run_folder, trust=True).config.peers["b"].model == foreign


def test_a_report_runs_nothing(cli, tmp_path, foreign):
    assert cli("report", "run", "--out", "page.html").status == 0
    assert quiet(tmp_path)


@pytest.mark.parametrize("finished", [True, False])
def test_resuming_runs_what_was_typed_not_what_the_folder_names(
    cli, tmp_path, run_folder, module, finished
):
    edges = {"edges": [{"knowledge": f"python:{module}:Nothing"}]}
    change(run_folder / "config.yaml", transfer=edges)
    if not finished:
        (run_folder / "results.json").unlink()
    said = cli("run", "dml", *TINY, "--out", "run", "--resume")
    refused(said, "cannot resume with a changed configuration", "transfer.edges")
    assert quiet(tmp_path)


def test_a_recipe_given_to_run_is_the_users_own_and_one_that_is_validated_is_data(
    cli, tmp_path, module
):
    assert cli("cp", "dml", "my.yaml").status == 0
    path = tmp_path / "my.yaml"
    code = f"python:{module}:net"
    change(path, peers={"a": {"model": "mlp"}, "b": {"model": code}}, threads=1)
    said = cli("validate", "my.yaml", "data.train_size=100")
    assert said.status == 0
    assert f"not built: peers.b.model: {code}" in said.out
    assert "--trust" in said.out
    assert quiet(tmp_path)
    refused_said = cli("validate", "my.yaml", "data.train_sise=100", "lr=-1")
    assert refused_said.status == 2
    assert "data.train_sise: unknown key" in refused_said.err
    assert "lr: " in refused_said.err
    assert quiet(tmp_path)
    assert "b: " in cli("validate", "my.yaml", "data.train_size=100", "--trust").out
    assert "called" in (tmp_path / "canary").read_text()
    assert cli("run", "my.yaml", "data.train_size=100", "epochs=1", "--out", "run").status == 0


def test_a_kind_of_knowledge_is_not_built_for_validate(cli, tmp_path, module):
    assert cli("cp", "dml", "my.yaml").status == 0
    kind = f"python:{module}:Nothing"
    change(tmp_path / "my.yaml", transfer={"edges": [{"knowledge": kind}, {"gate": "correct"}]})
    said = cli("validate", "my.yaml", "data.train_size=100")
    assert said.status == 0, said
    assert f"not built: transfer.edges.0.knowledge: {kind}" in said.out
    assert quiet(tmp_path)


def test_what_was_typed_is_built_by_validate(cli, tmp_path, module):
    typed = f"peers.b={{model: 'python:{module}:net'}}"
    assert cli("validate", "dml", "data.train_size=100", typed).status == 0
    assert "called" in (tmp_path / "canary").read_text()


def test_the_configuration_of_a_run_folder_is_data_for_every_verb_that_trains(
    cli, tmp_path, run_folder, foreign
):
    for verb in (["run", "--out", "run", "--resume"], ["run", "--out", "new"], ["compare"]):
        said = cli(verb[0], "run/config.yaml", *verb[1:])
        refused(said, "run/config.yaml: names code", f"peers.b.model: {foreign!r}", "--trust")
    assert quiet(tmp_path)
    said = cli("run", "run/config.yaml", "epochs=1", "--out", "new", "--trust")
    assert said.status == 0, said.err
    assert "called" in (tmp_path / "canary").read_text()


def test_in_python_a_recipe_of_a_run_folder_needs_trust(run_folder, foreign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="trust=True"):
        recipe(run_folder / "config.yaml")
    assert quiet(tmp_path)
    assert recipe(run_folder / "config.yaml", trust=True).config.peers["b"].model == foreign


@pytest.mark.parametrize("link", ["metrics.jsonl", "checkpoints", "checkpoints/best"])
def test_a_run_is_not_continued_through_a_link_out_of_its_folder(cli, tmp_path, run_folder, link):
    (run_folder / "results.json").unlink()
    (run_folder / link).rename(tmp_path / "outside")
    (run_folder / link).symlink_to(tmp_path / "outside")
    before = [path.lstat().st_mtime_ns for path in [tmp_path, *tmp_path.glob("outside/**/*")]]
    said = cli("run", "dml", *TINY, "--out", "run", "--resume")
    refused(said, f"run/{link}", "leads out of run by a link")
    assert before == [p.lstat().st_mtime_ns for p in [tmp_path, *tmp_path.glob("outside/**/*")]]


def test_a_comparison_is_not_continued_through_a_link_out_of_its_folder(cli, tmp_path):
    words = ["compare", "dml", *TINY, "--arms", "mutual", "--out", "versus", "--seeds"]
    assert cli(*words, "0").status == 0
    (tmp_path / "outside").mkdir()
    (tmp_path / "versus/cells/mutual/seed-1").symlink_to(tmp_path / "outside")
    refused(cli(*words, "0-1", "--resume"), "versus/cells/mutual/seed-1: leads out of versus")
    assert not list((tmp_path / "outside").iterdir())
