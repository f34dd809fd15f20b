"""Bad names, arguments and shapes are refused in words that name the way out."""

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.models import MODELS, build_model
from peerlearn.models.arguments import argument_defaults, passing_on
from peerlearn.models.resnet import resnet

IMAGE = (3, 32, 32)


def refusal(name, in_shape=IMAGE, classes=10, arguments=None, field="peers.a.model") -> str:
    with pytest.raises(InputError) as caught:
        build_model(name, in_shape, classes, arguments, field=field)
    message = str(caught.value)
    assert message.startswith(f"{field}: ")
    return message


def test_unknown_model_names_the_nearest_and_every_other():
    message = refusal("resnt32")
    assert "'resnt32'" in message
    assert "Did you mean 'resnet32'?" in message
    assert all(name in message for name in MODELS.names)
    assert "python:package.module:function" in message


def test_unknown_argument_names_the_nearest_and_the_allowed():
    message = refusal("wrn16_2", arguments={"widn": 2})
    assert "wrn16_2 argument 'widn'" in message
    assert "Did you mean 'widen'?" in message
    assert "Allowed: dropout, widen, width." in message


@pytest.mark.parametrize("name", MODELS.names)
@pytest.mark.parametrize("argument", ["in_shape", "classes", "no_such_argument"])
def test_what_the_data_decide_is_no_argument(name, argument):
    assert repr(argument) in refusal(name, arguments={argument: 3})


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("resnet8", "width", 0),
        ("resnet8", "width", -4),
        ("resnet8", "width", 1.5),
        ("resnet8", "width", "8"),
        ("resnet8", "width", True),
        ("resnet8", "width", None),
        ("preact_resnet18", "width", 0.5),
        ("cnn", "width", 0),
        ("cnn", "width", float("nan")),
        ("cnn", "width", float("inf")),
        ("mobilenet", "width", "half"),
        ("googlenet", "width", True),
        ("vgg11_bn", "hidden", -1),
        ("wide_resnet", "depth", 17),
        ("wide_resnet", "depth", 4),
        ("wide_resnet", "widen", 0.5),
        ("wrn16_2", "dropout", 1.0),
        ("mlp", "dropout", -0.1),
        ("mlp", "hidden", 64),
        ("mlp", "hidden", "64"),
        ("mlp", "hidden", [64, 0]),
        ("mlp", "hidden", [64, 1.5]),
    ],
)
def test_wrong_value_is_quoted_with_its_argument(name, argument, value):
    message = refusal(name, arguments={argument: value})
    assert f"{name} argument {argument} = {value!r}: " in message


def test_depth_that_does_not_fit_names_its_neighbours():
    assert "16 or 22" in refusal("wide_resnet", arguments={"depth": 17})
    with pytest.raises(InputError, match="8 or 14"):
        resnet(IMAGE, 10, depth=9)


def test_whole_numbers_are_good_widths():
    models = [build_model("cnn", (1, 8, 8), 2, {"width": width}) for width in (1, 1.0)]
    assert str(models[0]) == str(models[1])


@pytest.mark.parametrize("hidden", [[4, 3], (4, 3)])
def test_hidden_sizes_come_as_lists_or_tuples(hidden):
    assert build_model("mlp", (5,), 2, {"hidden": hidden}).classifier.in_features == 3


@pytest.mark.parametrize("name", [name for name in MODELS.names if name != "mlp"])
def test_image_model_on_vectors_names_the_models_that_take_them(name):
    assert "Models that take vectors: mlp." in refusal(name, in_shape=(64,))


@pytest.mark.parametrize(
    "in_shape", [(), (3, 32), (1, 3, 32, 32), (3, 0, 32), (3, 8.0, 8), 5, None]
)
def test_wrong_shape_is_refused(in_shape):
    assert "in_shape" in refusal("mlp", in_shape=in_shape)


@pytest.mark.parametrize("classes", [0, -1, 2.5, True, None])
def test_wrong_number_of_classes_is_refused(classes):
    assert "classes" in refusal("mlp", classes=classes)


@pytest.mark.parametrize(
    ("name", "arguments"), [(None, None), (3, None), ("mlp", [1]), ("mlp", "a")]
)
def test_wrong_kinds_of_name_and_arguments_are_refused(name, arguments):
    assert "expected" in refusal(name, arguments=arguments)


def test_a_torch_size_is_a_shape():
    assert build_model("cnn", torch.zeros(2, 1, 8, 8).shape[1:], 2)(torch.zeros(2, 1, 8, 8))


def test_arguments_that_are_passed_on_show_in_the_signature():
    def network(sample, *, hidden=1, layers=2, head="linear"):
        return hidden, layers, head

    @passing_on(network, "head")
    def builder(sample, *, hidden=8, heads=3, **others):
        return network(sample, hidden=hidden * heads, **others)

    assert argument_defaults(builder) == {"hidden": 8, "heads": 3, "layers": 2}
    assert list(argument_defaults(builder)) == ["hidden", "heads", "layers"]
    assert builder(0, layers=5) == (24, 5, "linear")
