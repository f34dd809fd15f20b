"""Log-probabilities: layout, precision, caching; and what counts as the output of a peer."""

import types

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.transfer import BatchView, PeerOutput
from peerlearn.transfer.outputs import (
    as_peer_output,
    class_last,
    log_probabilities,
    mean_log_probabilities,
)


def logits(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_log_probabilities_follow_the_temperature(temperature):
    z = logits(6, 5)
    expected = (z.double() / temperature).softmax(-1).log()
    torch.testing.assert_close(log_probabilities(z, temperature).double(), expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_sigmoid_form_gives_both_outcomes_of_each_label(temperature):
    z = logits(6, 5)
    found = log_probabilities(z, temperature, "sigmoid")
    assert found.shape == (6, 5, 2)
    torch.testing.assert_close(found[..., 0].exp(), (z / temperature).sigmoid())
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(6, 5))


@pytest.mark.parametrize("shape", [(6, 5), (2, 5, 3), (2, 5, 3, 4)])
def test_the_class_dimension_moves_to_the_end(shape):
    z = logits(*shape)
    moved = class_last(z)
    assert moved.shape[-1] == 5
    assert moved.shape[0] == shape[0]
    torch.testing.assert_close(
        log_probabilities(z).exp().sum(-1), torch.ones((shape[0], *shape[2:]))
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_log_probabilities_are_taken_in_fp32(dtype, form):
    z = logits(6, 5).to(dtype)
    found = log_probabilities(z, 2.0, form)
    assert found.dtype == torch.float32
    assert torch.equal(found, log_probabilities(z.float(), 2.0, form))


def test_mean_of_probabilities():
    stacked = logits(3, 6, 5).log_softmax(-1)
    torch.testing.assert_close(mean_log_probabilities(stacked).exp(), stacked.exp().mean(0))


def test_what_entries_share_is_computed_once_for_each_key():
    view = BatchView({"a": PeerOutput(logits(6, 5))})

    def made(temperature):
        return view.once(
            ("a", temperature), lambda: log_probabilities(view.outputs["a"].logits, temperature)
        )

    assert made(1.0) is made(1.0)
    assert not torch.equal(made(2.0), made(1.0))


# ---- what a peer may return ----------------------------------------------------------------


class DictOutput(dict):
    """A mapping whose keys are attributes too, as model libraries return."""

    __getattr__ = dict.get


Z = logits(4, 3)


@pytest.mark.parametrize(
    "raw",
    [
        Z,
        PeerOutput(Z),
        {"logits": Z, "loss": None},
        DictOutput(logits=Z, hidden_states=()),
        types.SimpleNamespace(logits=Z, loss=None),
    ],
)
def test_common_outputs_are_read_as_logits(raw):
    assert as_peer_output(raw, "a").logits is Z


def test_a_peer_output_keeps_its_features():
    output = PeerOutput(Z, {"pooled": Z})
    assert as_peer_output(output, "a") is output


@pytest.mark.parametrize("raw", [(Z.sum(),), None, {"scores": Z}, {"logits": None}, 3.0])
def test_anything_else_is_refused_with_the_name_of_the_peer_and_the_type(raw):
    with pytest.raises(InputError) as caught:
        as_peer_output(raw, "net_a")
    assert "'net_a'" in str(caught.value)
    assert type(raw).__name__ in str(caught.value)
