"""What a trunk that stands still makes of fixed rows is computed once."""

import pytest
import torch
from torch import nn

from peerlearn.engine.feature_cache import FeatureCache


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_kept_is_what_was_made_and_made_once(layout) -> None:
    trunk = nn.Conv2d(1, 3, 2).to(memory_format=layout).requires_grad_(False)
    x = torch.randn(6, 1, 5, 4).to(memory_format=layout)
    made = []

    def of(kept, numbers):
        def make():
            made.append(numbers)
            return trunk(x[numbers])

        return kept.of(torch.tensor(numbers), make)

    kept = FeatureCache(6)
    for numbers in ([4, 1, 3], [0, 5, 2], [5, 1, 0], [3, 3, 4]):
        found = of(kept, numbers)
        torch.testing.assert_close(found, trunk(x[numbers]), rtol=0, atol=0)
        assert found.is_contiguous(memory_format=layout)
    assert made == [[4, 1, 3], [0, 5, 2]]


def test_a_batch_with_one_new_version_is_made_whole() -> None:
    kept, made = FeatureCache(4), []

    def of(*numbers):
        def make():
            made.append(numbers)
            return 10.0 * torch.tensor(numbers).view(-1, 1)

        return kept.of(torch.tensor(numbers), make).flatten().tolist()

    assert of(0, 1) == [0, 10]
    assert of(1, 2) == [10, 20]
    assert of(2, 0) == [20, 0]
    assert made == [(0, 1), (1, 2)]
