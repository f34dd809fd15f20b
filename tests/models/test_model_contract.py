"""What every registered model promises, checked on a narrow instance of each."""

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

from peerlearn.models import MODELS, build_model
from peerlearn.models.arguments import argument_defaults
from peerlearn.randomness import seeded_rng
from peerlearn.transfer.outputs import PeerOutput

CLASSES = 5
BATCH = 8
IMAGES = [(3, 32, 32), (1, 8, 8)]

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [16, 12]},
    "cnn": {"width": 0.25},
    "resnet8": {"width": 4},
    "resnet18": {"width": 4},
    "resnet20": {"width": 4},
    "resnet32": {"width": 4},
    "resnet56": {"width": 4},
    "wrn16_2": {"widen": 1},
    "wrn28_10": {"widen": 1},
    "wide_resnet": {"depth": 10, "widen": 1},
    "preact_resnet18": {"width": 8},
    "mobilenet": {"width": 0.125},
    "vgg11_bn": {"width": 0.125},
    "vgg13_bn": {"width": 0.125},
    "vgg16_bn": {"width": 0.125},
    "vgg19_bn": {"width": 0.125},
    "googlenet": {"width": 0.125},
}

every_model = pytest.mark.parametrize("name", MODELS.names)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str, in_shape=(1, 8, 8), seed: int = 0, **arguments: Any) -> nn.Module:
    with seeded_rng(seed, "weights"):
        return build_model(name, in_shape, CLASSES, SMALL[name] | arguments)


def sample(in_shape=(1, 8, 8), batch: int = BATCH) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, *in_shape, generator=generator)


def assert_output(output: PeerOutput, batch: int) -> None:
    assert isinstance(output, PeerOutput)
    assert output.logits.shape == (batch, CLASSES)
    assert torch.isfinite(output.logits).all()
    *stages, last = output.features
    assert last == "pooled"
    assert stages == [f"stage{n}" for n in range(1, len(stages) + 1)]
    assert len(stages) >= 1
    assert all(map_.shape[0] == batch for map_ in output.features.values())
    assert output.features["pooled"].ndim == 2


@pytest.mark.parametrize("in_shape", IMAGES)
@every_model
def test_images_give_logits_and_named_maps(name, in_shape):
    assert_output(build(name, in_shape)(sample(in_shape)), BATCH)


@pytest.mark.parametrize("in_shape", [(3, 7, 9), (2, 1, 5), (1, 1, 1)])
@every_model
def test_odd_and_tiny_images_pass(name, in_shape):
    assert_output(build(name, in_shape).eval()(sample(in_shape, 2)), 2)


def test_mlp_takes_vectors():
    assert_output(build("mlp", (20,))(sample((20,))), BATCH)


def test_mlp_without_hidden_layers_is_a_linear_classifier():
    model = build("mlp", (20,), hidden=[])
    x = sample((20,))
    torch.testing.assert_close(model(x).logits, model.classifier(x))


@every_model
def test_features_are_the_outputs_of_the_stages_and_stay_as_they_were(name):
    model, x = build(name).eval(), sample()
    seen = []
    for stage in model.stages.values():
        stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    features = model(x).features
    assert len(seen) == len(features) - 1
    for map_, then in zip(features.values(), seen, strict=False):
        assert torch.equal(map_, then)


@every_model
def test_every_parameter_learns_from_the_logits(name):
    model = build(name)
    targets = torch.arange(BATCH) % CLASSES
    nn.functional.cross_entropy(model(sample()).logits, targets).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


@every_model
def test_every_feature_map_carries_gradients_back(name):
    model = build(name)
    features = model(sample()).features
    sum(map_.square().mean() for map_ in features.values()).backward()
    body = [p for key, p in model.named_parameters() if not key.startswith("classifier")]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in body)


@every_model
def test_channels_last_gives_the_same_logits_and_maps(name):
    in_shape = (3, 16, 16)
    runs_channels_last(build(name, in_shape), sample(in_shape, 2))


@every_model
def test_bfloat16_autocast_trains(name):
    trains_in_bfloat16(build(name), sample())


@every_model
def test_evaluation_is_deterministic_and_each_row_stands_alone(name):
    evaluates_each_row_alone(build(name), sample())


@every_model
def test_equal_seeds_give_equal_weights_and_others_do_not(name):
    is_decided_by_its_seed(partial(build, name), sample())


@every_model
def test_state_dict_round_trips(name):
    state_dict_round_trips(partial(build, name), sample())


@every_model
def test_weights_start_from_the_stated_distributions(name):
    model = build(name, (3, 32, 32))
    for key, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear) or layer.weight.numel() < 1000:
            continue
        fan_in = layer.weight[0].numel()
        variance = (1 if layer is model.classifier else 2) / fan_in
        assert layer.weight.std().item() == pytest.approx(variance**0.5, rel=0.15), key
        assert layer.bias is None or not layer.bias.any(), key


def another(name: str, argument: str) -> Any:
    """A legal value that differs from the narrow instance's."""
    if argument == "width":
        return 2 * SMALL[name].get("width", 4)
    if argument == "hidden":
        return [7] if name == "mlp" else 8
    return {"widen": 2, "depth": 16, "dropout": 0.5}[argument]


@pytest.mark.parametrize(
    ("name", "argument"), [(info.name, key) for info in MODELS.describe() for key in info.arguments]
)
def test_every_argument_changes_the_network(name, argument):
    x = sample(batch=2)
    outputs = []
    for model in (build(name), build(name, **{argument: another(name, argument)})):
        with seeded_rng(0, "dropout"):
            outputs.append(model(x).logits)
    assert not torch.allclose(outputs[0], outputs[1])


def test_dropout_leaves_weights_and_their_names_alone():
    plain, dropped = build("wrn16_2"), build("wrn16_2", dropout=0.5)
    assert plain.state_dict().keys() == dropped.state_dict().keys()
    x = sample()
    assert torch.equal(plain.eval()(x).logits, dropped.eval()(x).logits)


@pytest.mark.parametrize("name", ["cnn", "resnet8"])
def test_models_export_with_a_free_batch_size(name):
    model, x = build(name).eval(), sample()
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x).logits, model(x).logits)


def test_every_model_is_described_and_has_a_narrow_instance():
    described = {info.name: info for info in MODELS.describe()}
    assert list(described) == MODELS.names == list(SMALL)
    for name, info in described.items():
        assert info.summary.endswith("."), name
        assert info.arguments == argument_defaults(MODELS.builders[name])
        build = partial(build_model, name, (3, 32, 32), 10)
        with torch.device("meta"):
            by_default, spelled_out = build(), build(info.arguments)
        assert str(by_default) == str(spelled_out)
