"""What networks of every kind promise; the contract tests of each kind say on which samples."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Build = Callable[..., nn.Module]


def runs_channels_last(model: nn.Module, x: Tensor, maps: bool = True) -> None:
    """The same logits and features in that format; `maps`: the feature maps have it too."""
    expected = model.eval()(x)
    model = model.to(memory_format=torch.channels_last)
    output = model(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-4, rtol=1e-4)
    for key, map_ in output.features.items():
        torch.testing.assert_close(map_, expected.features[key], atol=1e-4, rtol=1e-4)
        if maps and map_.ndim == 4:
            assert map_.is_contiguous(memory_format=torch.channels_last), key


def trains_in_bfloat16(model: nn.Module, x: Tensor) -> None:
    """Under autocast: 16-bit logits, finite 32-bit gradients."""
    with torch.autocast("cpu", torch.bfloat16):
        output = model(x)
    assert output.logits.dtype == torch.bfloat16
    assert torch.isfinite(output.logits).all()
    output.logits.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def evaluates_each_row_alone(model: nn.Module, x: Tensor) -> None:
    """In evaluation mode a row has the same logits whatever is beside it, every time."""
    model(x)  # moves the normalisation statistics off their initial values
    model.eval()
    with torch.no_grad():
        together = model(x).logits
        assert torch.equal(together, model(x).logits)
        alone = torch.cat([model(row[None]).logits for row in x[:2]])
    torch.testing.assert_close(together[:2], alone, atol=1e-4, rtol=1e-4)


def is_decided_by_its_seed(build: Build, x: Tensor) -> None:
    """Equal seeds give equal weights; others give other outputs."""
    first, again, other = build(seed=0), build(seed=0), build(seed=1)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert not torch.equal(first(x).logits, other(x).logits)


def state_dict_round_trips(build: Build, x: Tensor) -> None:
    """Another network with its state says the same."""
    model, other = build(seed=0), build(seed=1)
    model(x)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(model.eval()(x).logits, other.eval()(x).logits)
