"""`python:package.module:function` builds the user's own network, or says what is wrong."""

import itertools
import sys

import pytest
from torch import nn

from peerlearn.errors import InputError
from peerlearn.models import build_model

SOURCE = """
from torch import nn

number = 3

class Net(nn.Module):
    def __init__(self, in_shape, classes, width=2):
        super().__init__()
        self.context = (in_shape, classes, width)

def linear(units, bias=True):
    return nn.Linear(units, units, bias=bias)

def anything(**arguments):
    net = nn.Identity()
    net.arguments = arguments
    return net

def late():
    from {name}_helper import helper
    return helper()

def positional(classes, /):
    return nn.Identity()

def not_a_module(classes):
    return classes

def raises():
    raise ValueError("too wide")
"""

numbers = itertools.count()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A current directory with a module of a name that no other test has imported."""
    name = f"user_nets_{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(SOURCE.format(name=name))
    (tmp_path / f"{name}_helper.py").write_text("from torch import nn\nhelper = nn.Identity\n")
    monkeypatch.chdir(tmp_path)
    yield name
    for module in [key for key in sys.modules if key.startswith(name)]:
        del sys.modules[module]


def build(name, arguments=None):
    return build_model(f"python:{name}", (1, 8, 8), 4, arguments, field="peers.b.model")


def refusal(name, arguments=None) -> str:
    with pytest.raises(InputError) as caught:
        build(name, arguments)
    message = str(caught.value)
    assert message.startswith("peers.b.model: ")
    return message


def test_shape_and_classes_reach_a_factory_that_names_them(project):
    assert build(f"{project}:Net", {"width": 7}).context == ((1, 8, 8), 4, 7)


def test_shape_and_classes_do_not_reach_other_factories(project):
    model = build(f"{project}:linear", {"units": 3, "bias": False})
    assert isinstance(model, nn.Linear)
    assert model.bias is None
    assert build(f"{project}:anything", {"depth": 2}).arguments == {"depth": 2}


def test_the_users_own_classes_argument_wins(project):
    assert build(f"{project}:Net", {"classes": 9}).context[1] == 9


def test_vectors_are_left_to_the_factory_to_judge(project):
    assert build_model(f"python:{project}:Net", (6,), 2).context[0] == (6,)


def test_factory_may_import_its_neighbours_while_it_builds(project):
    assert isinstance(build(f"{project}:late"), nn.Identity)


def test_import_path_is_left_as_found(project):
    before = list(sys.path)
    build(f"{project}:Net")
    refusal(f"{project}:raises")
    refusal("no_such_module_at_all:f")
    assert sys.path == before


def test_modules_inside_packages_are_found(project, tmp_path):
    package = tmp_path / f"{project}_package"
    package.mkdir()
    (package / "nets.py").write_text("from torch import nn\nfactory = nn.Identity\n")
    assert isinstance(build(f"{project}_package.nets:factory"), nn.Identity)
    assert "Did you mean 'nets'?" in refusal(f"{project}_package.net:factory")


def test_missing_module_names_the_nearest(project):
    wrong = project.replace("nets", "netz")
    message = refusal(f"{wrong}:Net")
    assert f"no module {wrong!r}" in message
    assert "Did you mean 'user_nets" in message


def test_missing_function_names_the_nearest(project):
    message = refusal(f"{project}:liner")
    assert "'liner'" in message
    assert "Did you mean 'linear'?" in message
    assert "Allowed: Net, anything, late, linear, " in message


def test_attribute_that_cannot_be_called_is_refused(project):
    assert "is int, not a function" in refusal(f"{project}:number")


@pytest.mark.parametrize("text", ["", "nets", "nets:", ":net"])
def test_wrong_form_is_refused_with_the_right_one(text):
    assert "python:package.module:function" in refusal(text)


def test_unknown_argument_names_the_nearest(project):
    message = refusal(f"{project}:linear", {"unit": 3})
    assert "Did you mean 'units'?" in message
    assert "Allowed: bias, units." in message


def test_missing_argument_is_named(project):
    assert "missing a required argument: 'units'" in refusal(f"{project}:linear")


def test_context_that_cannot_go_by_name_is_told(project):
    assert "positional only" in refusal(f"{project}:positional")


def test_result_that_is_no_module_is_refused(project):
    assert "returned int; expected a torch.nn.Module" in refusal(f"{project}:not_a_module")


def test_error_inside_the_factory_is_told_and_kept_as_the_cause(project):
    with pytest.raises(InputError, match="raised ValueError: too wide") as caught:
        build(f"{project}:raises")
    assert isinstance(caught.value.__cause__, ValueError)


def test_error_inside_the_module_is_not_mistaken_for_a_missing_module(project, tmp_path):
    (tmp_path / f"{project}_broken.py").write_text("import no_such_dependency\n")
    message = refusal(f"{project}_broken:f")
    assert f"importing {project}_broken failed" in message
    assert "no_such_dependency" in message
