"""`validate`: everything that is wrong at once, and what to type next."""

import pytest
from tiny_commands import TINY

from peerlearn.systems.registry import RECIPES
from peerlearn.tasks.classification.task import ClassificationTask


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_holds(cli, tmp_path, name):
    said = cli("validate", name)
    assert said.status == 0
    assert said.out.startswith(f"{name}: ok\n")
    assert f"peerlearn run {name}" in said.out
    assert not list(tmp_path.iterdir())


def test_the_summary_says_what_would_be_trained(cli):
    out = cli("validate", "dml", *TINY).out
    assert "digits: 10 classes, rows of 1×8×8 (100 train, 180 val, 360 test)" in out
    assert "a: mlp, 1,210 parameters" in out  # 64·16 + 16 + 16·10 + 10
    assert "b → a, a → b: predictions through kl" in out
    assert "edges    none: peers learn alone" in out


def test_peers_that_differ_by_arm_are_listed_by_arm(cli):
    out = cli("validate", "dml", *TINY, "arms={two: {}, one: {peers.b: null, transfer: none}}").out
    two, _, one = out.partition("arm      one\n")
    assert "b: mlp" in two  # what holds unless an arm says otherwise
    assert "peers    a: mlp" in one
    assert "b: mlp" not in one


def test_arms_of_the_same_data_read_them_once(cli, monkeypatch):
    read, times = ClassificationTask.read.__func__, []

    def counted(cls, config):
        times.append(config.data.name)
        return read(cls, config)

    monkeypatch.setattr(ClassificationTask, "read", classmethod(counted))
    assert cli("validate", "dml", *TINY).status == 0
    assert times == ["digits"]


def test_all_faults_are_told_at_once(cli, tmp_path):
    (tmp_path / "my.yaml").write_text(
        "recipe: dml\nepcohs: 3\nlr: -1\ndata: {name: digitz}\n"
        "peers: {a: {model: cnnn}, b: {model: mlq}}\n"
    )
    said = cli("validate", "my.yaml")
    assert said.status == 2
    assert "my.yaml: 5 faults" in said.err
    for expected in (
        "epcohs: unknown key. Did you mean 'epochs'?",
        "lr: input should be greater than 0; found -1.",
        "data.name: unknown data set or path 'digitz'. Did you mean 'digits'?",
        "peers.a.model: unknown model 'cnnn'. Did you mean 'cnn'?",
        "peers.b.model: unknown model 'mlq'. Did you mean 'mlp'?",
    ):
        assert expected in said.err
    assert said.err.endswith("try again: peerlearn validate my.yaml\n")


def test_faults_of_models_and_edges_are_told_together(cli):
    said = cli("validate", "dml", "peers.a.model=cnnn", "transfer.edges=[{from: x, to: b}]")
    assert "peers.a.model: unknown model 'cnnn'" in said.err
    assert "transfer.edges.0.from: unknown peer 'x'" in said.err


def test_every_arm_is_checked_and_named(cli):
    said = cli("validate", "dml", *TINY, "arms.odd={transfer.divergence: kll}")
    assert said.status == 2
    assert "arms.odd: transfer.divergence: found 'kll'. Did you mean 'kl'?" in said.err
    assert said.err.count("unknown") + said.err.count("found") == 1


def test_a_fault_of_the_recipe_itself_is_not_blamed_on_its_arms(cli):
    said = cli("validate", "dml", "transfer.divergence=kll")
    assert "\n  transfer.divergence: found 'kll'" in said.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "my.yaml: not YAML: line 1, column 5"),
        ("- a", "my.yaml: expected a mapping of keys, found list"),
        ("epochs: 3", "my.yaml: no key 'recipe'"),
        ("recipe: dlm", "my.yaml: recipe: unknown recipe 'dlm'. Did you mean 'dml'?"),
        ("1: 2\nrecipe: dml", "my.yaml: the key 1 is not a text; put it in quotes"),
        ("recipe: dml\narms: [a]", "arms: expected a mapping of names to overrides"),
        ("recipe: dml\narms: {a: 3}", "arms.a: expected a mapping of keys to values; found 3"),
        ("recipe: dml\narms: {a: {1: on}}", "arms.a: the key 1 is not a text"),
        ("recipe: dml\narm: x\narms: {y: {}}", "arm: unknown arm 'x'"),
        ("recipe: dml", "peers: required, but not given"),
        ("recipe: dml\npeers: [a]", "peers: "),
        ("recipe: dml\npeers: {}", "peers: "),
    ],
)
def test_files_that_are_no_recipe(cli, tmp_path, text, expected):
    (tmp_path / "my.yaml").write_text(text)
    for verb in ("validate", "run"):
        said = cli(verb, "my.yaml")
        assert said.status == 2
        assert expected in said.err
        assert "Traceback" not in said.err
    assert cli("compare", "my.yaml").status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_a_kind_of_knowledge_of_ones_own_is_named_among_those_allowed(cli):
    edge = "transfer.edges=[{from: a, to: b, knowledge: predikt}]"
    said = cli("validate", "dml", *TINY, edge)
    assert said.status == 2
    assert "transfer.edges.0.knowledge: unknown knowledge 'predikt'." in said.err
    assert "predictions, python:package.module:Class, rankings, relations." in said.err
