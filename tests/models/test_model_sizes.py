"""Parameters and multiply-adds against the papers, counted on the meta device."""

import pytest
import torch
from torch import nn

from peerlearn.models import build_model, multiply_adds, parameter_count
from peerlearn.models.googlenet import STAGES, Inception

CIFAR = (3, 32, 32)


def meta(name: str, classes: int, **arguments) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, CIFAR, classes, arguments)


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [
        ("resnet20", 10, 0.27),  # He et al. 2016, table 6
        ("resnet32", 10, 0.46),
        ("resnet56", 10, 0.85),
        ("resnet32", 100, 0.47),
        ("wrn16_2", 10, 0.69),  # Zagoruyko and Komodakis 2016: 0.7M
        ("wrn28_10", 10, 36.48),  # 36.5M
        ("wrn28_10", 100, 36.54),
        ("preact_resnet18", 10, 11.17),
        ("mobilenet", 100, 3.31),  # Howard et al. 2017: 3.2M without this classifier
        ("vgg11_bn", 10, 9.23),
        ("vgg13_bn", 10, 9.41),
        ("vgg16_bn", 10, 14.72),
        ("vgg19_bn", 10, 20.04),
        ("googlenet", 10, 5.98),
    ],
)
def test_parameters_match_the_paper(name, classes, millions):
    assert parameter_count(meta(name, classes)) / 1e6 == pytest.approx(millions, abs=0.006)


def test_vgg_with_its_hidden_layers_has_the_papers_fully_connected_parameters():
    layers = [512 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 100 + 100]
    with_hidden = parameter_count(meta("vgg16_bn", 100, hidden=4096))
    without = parameter_count(meta("vgg16_bn", 100)) - (512 * 100 + 100)
    assert with_hidden - without == sum(layers)


def test_inception_blocks_have_the_channels_of_table_1():
    # Szegedy et al. 2015, table 1: output depth of 3a to 5b, and 159K weights (of 1024) in 3a.
    blocks = [block for stage in STAGES for block in stage]
    depths = [block.one + block.three + block.five + block.pool for block in blocks]
    assert depths == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    first = Inception(192, blocks[0]).modules()
    weights = sum(layer.weight.numel() for layer in first if isinstance(layer, nn.Conv2d))
    assert weights // 1024 == 159


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("resnet20", 40.6),
        ("resnet56", 125.5),
        ("wrn28_10", 5243),  # Zagoruyko and Komodakis 2016: 5.2 billion
        ("mobilenet", 46.4),
        ("vgg16_bn", 313.2),
    ],
)
def test_multiply_adds_match_the_published_counts(name, millions):
    assert multiply_adds(meta(name, 10), CIFAR) / 1e6 == pytest.approx(millions, rel=2e-3)


def test_multiply_adds_of_one_linear_layer_is_its_weights():
    assert multiply_adds(nn.Linear(7, 11), (7,)) == 77


def test_parameter_count_counts_shared_and_frozen_weights_once():
    shared = nn.Linear(3, 3).requires_grad_(False)
    assert parameter_count(nn.Sequential(shared, shared)) == 12


def test_counting_leaves_modes_statistics_gradients_and_generator_alone():
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x)

    model = nn.Sequential(Noisy(), build_model("cnn", (1, 8, 8), 3))
    model.train()
    model[1].stages["stage2"].eval()
    modes = [part.training for part in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    generator = torch.get_rng_state()

    assert multiply_adds(model, (1, 8, 8)) > 0

    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_modes_come_back_when_the_forward_fails():
    model = nn.Linear(3, 2).train()
    with pytest.raises(RuntimeError):
        multiply_adds(model, (4,))
    assert model.training


def test_counting_follows_the_type_of_the_parameters():
    model = build_model("mlp", (4,), 2, {"hidden": [3]}).double()
    assert multiply_adds(model, (4,)) == 4 * 3 + 3 * 2
