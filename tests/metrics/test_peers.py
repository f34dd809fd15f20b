import pytest
import torch
from torch.nn.functional import log_softmax, one_hot
from torchmetrics.functional.classification import binary_matthews_corrcoef

from peerlearn.errors import InputError
from peerlearn.metrics.peers import agreement, between_peers, error_correlation


def says(*classes, of=3):
    return log_softmax(8.0 * one_hot(torch.tensor(classes), of), 1)


def test_pairs_are_named_in_the_order_of_peers():
    peers = {"b": says(0, 1), "a": says(0, 2), "c": says(1, 1)}
    found = between_peers(peers, torch.tensor([0, 1]))
    assert found["agreement"] == {"b~a": 0.5, "b~c": 0.5, "a~c": 0.0}
    assert list(found["error_correlation"]) == ["b~a", "b~c", "a~c"]


def test_a_single_peer_has_no_pair():
    found = between_peers({"a": says(0)}, torch.tensor([0]))
    assert found == {"agreement": {}, "error_correlation": {}}


def test_peers_that_err_together_apart_or_in_half_of_the_cases():
    y = torch.tensor([0, 0, 0, 0])
    peers = {"a": says(0, 0, 1, 1), "same": says(0, 0, 2, 2), "other": says(1, 2, 0, 0)}
    assert error_correlation(peers, y) == pytest.approx(
        {"a~same": 1.0, "a~other": -1.0, "same~other": -1.0}
    )
    half = {"a": says(0, 0, 1, 1), "b": says(0, 1, 0, 1)}
    assert error_correlation(half, y) == pytest.approx({"a~b": 0.0})


def test_error_correlation_agrees_with_the_matthews_coefficient():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (300,), generator=generator)
    right = 2.0 * one_hot(y, 4)
    common = torch.randn(300, 4, generator=generator)
    peers = {
        peer: log_softmax(right + common + torch.randn(300, 4, generator=generator), 1)
        for peer in ("a", "b")
    }
    wrong_a, wrong_b = ((peers[peer].argmax(1) != y).int() for peer in ("a", "b"))
    expected = binary_matthews_corrcoef(wrong_a, wrong_b).item()
    assert 0.1 < expected < 0.9
    assert error_correlation(peers, y)["a~b"] == pytest.approx(expected, abs=1e-6)


def test_correlation_is_zero_where_it_is_undefined():
    y = torch.tensor([0, 1])
    peers = {"perfect": says(0, 1), "half": says(0, 0), "hopeless": says(2, 2)}
    assert set(error_correlation(peers, y).values()) == {0.0}


def test_unlabelled_rows_count_for_plain_agreement_only():
    y = torch.tensor([0, -1])
    peers = {"a": says(0, 1), "b": says(0, 2)}
    assert between_peers(peers, y)["agreement"] == {"a~b": 1.0}
    assert agreement(peers) == {"a~b": 0.5}


def test_every_label_of_a_multilabel_row_is_a_decision():
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [float("nan")] * 2])
    peers = {
        "a": torch.tensor([[3.0, -3.0], [2.0, -1.0], [5.0, 5.0]]),
        "b": torch.tensor([[1.0, -1.0], [9.0, 4.0], [-5.0, -5.0]]),
    }
    found = between_peers(peers, y)
    assert found["agreement"] == {"a~b": 0.75}
    # a errs on decisions 3 and 4, b on 3: phi = (1·2 − 1·0) / √(2·2·1·3).
    assert found["error_correlation"]["a~b"] == pytest.approx(2 / 12**0.5)


def test_no_peer_is_an_error():
    with pytest.raises(InputError, match="no peer"):
        between_peers({}, torch.tensor([0]))
