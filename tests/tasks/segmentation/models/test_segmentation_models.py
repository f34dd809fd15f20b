"""What every segmentation network promises, checked on a narrow instance of each."""

import importlib.util
import math
import sys
from functools import partial
from typing import Any

import pytest
import torch
from model_promises import (
    evaluates_each_row_alone,
    is_decided_by_its_seed,
    runs_channels_last,
    state_dict_round_trips,
    trains_in_bfloat16,
)
from torch import nn

from peerlearn.errors import InputError
from peerlearn.models import MODELS, multiply_adds, parameter_count
from peerlearn.models.arguments import argument_defaults
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.segmentation.models.registry import SEGMENTATION_MODELS
from peerlearn.transfer.outputs import PeerOutput

CLASSES = 5
MONAI = pytest.mark.skipif(
    importlib.util.find_spec("monai") is None, reason="needs MONAI: peerlearn[segmentation]"
)

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"width": 4, "levels": 3},
    "fpn": {"width": 4},
    "deeplab": {"width": 4},
    "monai_unet": {"width": 4, "levels": 3},
}
NAMES = [pytest.param(name, marks=MONAI if name == "monai_unet" else ()) for name in SMALL]
every_model = pytest.mark.parametrize("name", NAMES)


def build(name: str, in_shape=(3, 16, 24), seed: int = 0, **arguments: Any) -> nn.Module:
    with seeded_rng(seed, "weights"):
        return SEGMENTATION_MODELS.build(name, in_shape, CLASSES, SMALL[name] | arguments)


def sample(in_shape=(3, 16, 24), batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, *in_shape, generator=torch.Generator().manual_seed(1))


def expected_features(name: str, width: int, height: int, wide: int) -> dict[str, tuple[int, ...]]:
    """Channels and sizes as the docstrings give them."""

    def at(halvings: int) -> tuple[int, int]:
        step = 2**halvings
        return math.ceil(height / step), math.ceil(wide / step)

    stages = {f"stage{n}": (width * 2 ** (n - 1), *at(n)) for n in range(1, 5)}
    match name:
        case "unet":
            encoder = {f"encoder{n}": (width * 2 ** (n - 1), *at(n - 1)) for n in (1, 2, 3)}
            decoder = {f"decoder{n}": encoder[f"encoder{n}"] for n in (3, 2, 1)}
            return encoder | {"bottleneck": (8 * width, *at(3))} | decoder
        case "fpn":
            bottom = stages["stage4"]
            return stages | {"bottleneck": bottom, "pyramid": (2 * width, *at(1))}
        case "deeplab":
            stages["stage4"] = bottom = (8 * width, *at(3))
            late = {"pyramid": (4 * width, *at(3)), "decoder": (2 * width, *at(1))}
            return stages | {"bottleneck": bottom} | late
        case _:
            encoder = {f"encoder{n}": (width * 2 ** (n - 1), *at(n)) for n in (1, 2, 3)}
            bottom = {"bottleneck": (8 * width, *at(3))}
            return encoder | bottom | {f"decoder{n}": encoder[f"encoder{n - 1}"] for n in (3, 2)}


@pytest.mark.parametrize("in_shape", [(3, 16, 24), (1, 17, 31), (2, 33, 9)])
@every_model
def test_logits_have_the_size_of_the_image_and_features_the_documented_one(name, in_shape):
    output = build(name, in_shape)(sample(in_shape, 2))
    assert isinstance(output, PeerOutput)
    assert output.logits.shape == (2, CLASSES, *in_shape[1:])
    assert torch.isfinite(output.logits).all()
    padded = [-(-side // 8) * 8 for side in in_shape[1:]]
    sides = padded if name == "monai_unet" else in_shape[1:]
    expected = expected_features(name, 4, *sides)
    assert {key: tuple(map_.shape[1:]) for key, map_ in output.features.items()} == expected
    assert list(output.features) == list(expected)


@pytest.mark.parametrize("in_shape", [(1, 7, 9), (2, 1, 5), (1, 1, 1)])
@every_model
def test_tiny_images_pass(name, in_shape):
    model = build(name, in_shape).eval()
    if name == "monai_unet":
        in_shape = (in_shape[0], *(max(side, 9) for side in in_shape[1:]))
    logits = model(sample(in_shape, 2)).logits
    assert logits.shape == (2, CLASSES, *in_shape[1:])
    assert torch.isfinite(logits).all()


@every_model
def test_every_parameter_learns_from_the_logits(name):
    model = build(name)
    y = torch.randint(CLASSES, (4, 16, 24), generator=torch.Generator().manual_seed(2))
    nn.functional.cross_entropy(model(sample()).logits, y).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        before_normalisation = name == "monai_unet" and key.endswith("bias")
        assert parameter.grad.abs().sum() > 0 or before_normalisation, key


@every_model
def test_every_feature_map_carries_gradients_back(name):
    model = build(name)
    for key, map_ in model(sample()).features.items():
        model.zero_grad(set_to_none=True)
        map_.square().mean().backward(retain_graph=True)
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()), key


@every_model
def test_pixels_near_and_far_reach_the_logits_of_a_pixel(name):
    """The centre's logits see further than the convolutions at full size do alone."""
    model, x = build(name, (1, 33, 33)).eval(), sample((1, 33, 33), 1).requires_grad_()
    model(x).logits[0, :, 16, 16].sum().backward()
    seen = x.grad[0, 0] != 0
    assert seen[16, 16] and seen[16, 16 - 8] and seen[16 + 8, 16]


@every_model
def test_width_scales_parameters_as_its_square(name):
    counts = [
        parameter_count(SEGMENTATION_MODELS.build(name, (3, 32, 32), CLASSES, {"width": width}))
        for width in (8, 16, 32)
    ]
    assert 3.5 < counts[1] / counts[0] < 4.1
    assert 3.7 < counts[2] / counts[1] < 4.1


@every_model
def test_every_width_is_a_network(name):
    counts = [parameter_count(build(name, width=width)) for width in range(1, 10)]
    assert counts == sorted(set(counts))
    assert build(name, width=7)(sample()).logits.shape == (4, CLASSES, 16, 24)


@every_model
def test_channels_last_gives_the_same_logits_and_maps(name):
    # torch's instance norm, which MONAI takes, makes maps contiguous.
    runs_channels_last(build(name), sample(), maps=name != "monai_unet")


@every_model
def test_bfloat16_autocast_trains(name):
    trains_in_bfloat16(build(name), sample())


@every_model
def test_evaluation_is_deterministic_and_each_image_stands_alone(name):
    evaluates_each_row_alone(build(name), sample())


@every_model
def test_equal_seeds_give_equal_weights_and_others_do_not(name):
    is_decided_by_its_seed(partial(build, name), sample())


@every_model
def test_state_dict_round_trips(name):
    state_dict_round_trips(partial(build, name), sample())


@pytest.mark.parametrize("name", ["unet", "fpn", "deeplab"])
def test_weights_start_from_the_stated_distributions(name):
    model = build(name, width=16)
    for key, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) or layer.weight.numel() < 1000:
            continue
        up = isinstance(layer, nn.ConvTranspose2d)
        fan_in = layer.in_channels if up else layer.weight[0].numel()
        variance = (1 if up or layer is model.classifier else 2) / fan_in
        assert layer.weight.std().item() == pytest.approx(variance**0.5, rel=0.15), key
        assert layer.bias is None or not layer.bias.any(), key


OTHER = {
    "width": 8,
    "levels": 2,
    "norm": {"unet": "instance", "monai_unet": "batch"},
    "dropout": 0.5,
    "blocks": 1,
    "rates": [1, 3],
    "residual_units": 0,
}


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        pytest.param(info.name, key, marks=MONAI if info.name == "monai_unet" else ())
        for info in SEGMENTATION_MODELS.describe()
        for key in info.arguments
    ],
)
def test_every_argument_changes_the_network(name, argument):
    value = OTHER[argument]
    value = value[name] if isinstance(value, dict) else value
    outputs = []
    for model in (build(name), build(name, **{argument: value})):
        with seeded_rng(0, "dropout"):
            outputs.append(model(sample()).logits)
    assert not torch.allclose(outputs[0], outputs[1])


def test_instance_norm_does_not_look_at_the_rest_of_the_batch():
    model, x = build("unet", norm="instance").train(), sample()
    torch.testing.assert_close(model(x).logits[:1], model(x[:1]).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["unet", "fpn"])
def test_models_export_with_a_free_batch_size(name):
    model, x = build(name, (3, 17, 24)).eval(), sample((3, 17, 24))
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x).logits, model(x).logits)


def test_unet_of_the_papers_width_has_the_papers_parameters():
    # Ronneberger et al. 2015, figure 1: 31.03 million weights and biases of convolutions with one
    # channel in and two classes out; batch normalisation has two numbers where a bias was one.
    with torch.device("meta"):
        model = SEGMENTATION_MODELS.build("unet", (1, 572, 572), 2, {"width": 64})
    assert parameter_count(model) / 1e6 == pytest.approx(31.03, abs=0.02)


def test_multiply_adds_are_counted():
    with torch.device("meta"):
        small = SEGMENTATION_MODELS.build("unet", (3, 64, 64), 2, {"width": 8})
        large = SEGMENTATION_MODELS.build("unet", (3, 128, 128), 2, {"width": 8})
    assert multiply_adds(small, (3, 64, 64)) * 4 == multiply_adds(large, (3, 128, 128))
    assert multiply_adds(small, (3, 64, 64)) > 64 * 64 * 9 * (3 * 8 + 8 * 8)


@every_model
def test_it_learns_which_side_is_bright(name):
    """A few steps on two regions: the logits follow the image pixel by pixel."""
    model, generator = build(name, (1, 16, 16)), torch.Generator().manual_seed(0)
    x = torch.randn(8, 1, 16, 16, generator=generator) * 0.1
    y = torch.zeros(8, 16, 16, dtype=torch.int64)
    for image, edge in enumerate(range(4, 12)):
        y[image, :, edge:] = 1
    x = x + y[:, None]
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(25):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x).logits, y).backward()
        optimiser.step()
    assert (model(x).logits.argmax(1) == y).float().mean() > 0.9


def test_every_model_is_described_and_has_a_narrow_instance():
    described = {info.name: info for info in SEGMENTATION_MODELS.describe()}
    assert list(described) == SEGMENTATION_MODELS.names == list(SMALL)
    assert not set(described) & set(MODELS.names)
    for name, info in described.items():
        assert info.summary.endswith("."), name
        assert info.arguments == argument_defaults(SEGMENTATION_MODELS.builders[name])


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("unett", {}, r"peers.a.model: unknown model 'unett'. Did you mean 'unet'\?"),
        ("resnet20", {}, "unknown model 'resnet20'"),
        ("unet", {"widht": 3}, r"unknown unet argument 'widht'. Did you mean 'width'\?"),
        ("unet", {"width": 0}, "unet argument width = 0: input should be greater"),
        ("unet", {"width": 1.5}, "unet argument width = 1.5: input should be a valid integer"),
        ("unet", {"norm": "layer"}, "unet argument norm = 'layer': input should be 'batch' or"),
        ("deeplab", {"rates": [0]}, r"deeplab argument rates = \[0\]"),
        ("python:nothing_here:f", {}, "no module 'nothing_here'"),
    ],
)
def test_wrong_names_and_arguments_are_refused(name, arguments, said):
    with pytest.raises(InputError, match=said):
        SEGMENTATION_MODELS.build(name, (3, 8, 8), 2, arguments, field="peers.a.model")


@pytest.mark.parametrize(
    ("in_shape", "classes", "said"),
    [((20,), 2, "a vector of shape"), ((3, 8), 2, "in_shape"), ((3, 8, 8), 0, "classes = 0")],
)
def test_wrong_samples_and_classes_are_refused(in_shape, classes, said):
    with pytest.raises(InputError, match=said):
        SEGMENTATION_MODELS.build("unet", in_shape, classes)


def test_names_are_checked_without_building():
    SEGMENTATION_MODELS.check("monai_unet")
    SEGMENTATION_MODELS.check("python:not.looked:into")
    with pytest.raises(InputError, match="unknown model 'gcn'"):
        SEGMENTATION_MODELS.check("gcn", "peers.b.model")


def test_a_factory_of_the_user_is_given_what_the_data_decide(tmp_path, monkeypatch):
    (tmp_path / "my_masks.py").write_text(
        "from torch import nn\n"
        "def net(in_shape, classes, kernel=1):\n"
        "    return nn.Conv2d(in_shape[0], classes, kernel, padding=kernel // 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    network = SEGMENTATION_MODELS.build("python:my_masks:net", (2, 8, 8), 3, {"kernel": 3})
    assert network(torch.zeros(1, 2, 8, 8)).shape == (1, 3, 8, 8)


def test_without_monai_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(InputError, match=r'pip install "peerlearn\[segmentation\]"'):
        SEGMENTATION_MODELS.build("monai_unet", (3, 8, 8), 2)


@MONAI
def test_monai_unet_is_monais_where_its_sizes_fit():
    model, x = build("monai_unet").eval(), sample()
    torch.testing.assert_close(model(x).logits, model.net(x))
