"""Confusion: cells by hand, and figures of classes as scikit-learn and torchmetrics give them."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from peerlearn.metrics.assessment import assess_classification
from peerlearn.metrics.confusion import added, by_class, confused, matrix, without_rows, worst_pairs
from peerlearn.results import merge, one_seed


def log_probs(predicted, classes):
    return torch.log_softmax(
        10.0 * torch.nn.functional.one_hot(torch.tensor(predicted), classes).float(), 1
    )


def test_cells_are_counted_without_the_empty_ones():
    cells = confused(log_probs([0, 0, 1, 2, 0], 3), torch.tensor([0, 0, 2, 2, 1]))
    assert cells == {"true": [0, 1, 2, 2], "predicted": [0, 0, 1, 2], "count": [2, 1, 1, 1]}
    assert matrix(cells, 3).tolist() == [[2, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert worst_pairs(cells, 5) == [(1, 0, 1), (2, 1, 1)]


def test_a_row_of_nan_is_taken_for_no_class():
    outputs = log_probs([0, 1], 2)
    outputs[0] = torch.nan
    cells = confused(outputs, torch.tensor([0, 1]))
    assert cells == {"true": [0, 1], "predicted": [-1, 1], "count": [1, 1]}
    first, second = by_class(cells, 2)
    assert (first.recall, first.support) == (0, 1)
    assert math.isnan(first.precision)
    assert second[:3] == (1, 1, 1)


@pytest.mark.parametrize("classes", [2, 7, 60])
def test_figures_are_those_of_scikit_learn(classes):
    drawn = np.random.default_rng(classes)
    y, predicted = drawn.integers(0, classes, (2, 400))
    cells = confused(log_probs(predicted.tolist(), classes), torch.from_numpy(y))
    labels = range(classes)
    assert (matrix(cells, classes) == confusion_matrix(y, predicted, labels=labels)).all()
    expected = precision_recall_fscore_support(y, predicted, labels=labels, zero_division=np.nan)
    found = np.array(by_class(cells, classes)).T
    np.testing.assert_allclose(found, np.array(expected), equal_nan=True)


def test_seeds_are_added_up():
    logits = {name: torch.randn(30, 4) for name in ("a", "b")}
    y = torch.arange(30) % 4
    block = assess_classification(logits, y, class_names=["n", "e", "s", "w"])
    assert block["confusion"]["classes"] == ["n", "e", "s", "w"]
    assert set(block["confusion"]["of"]) == {"a", "b", "ensemble"}
    other = assess_classification(logits, y.flip(0))
    both = merge([one_seed(block), one_seed(other)])["confusion"]
    assert both["classes"] == ["n", "e", "s", "w"]
    one, two = block["confusion"]["of"]["a"], other["confusion"]["of"]["a"]
    assert both["of"]["a"] == added([one, two])
    assert (matrix(both["of"]["a"], 4) == matrix(one, 4) + matrix(two, 4)).all()


def test_what_was_measured_by_an_older_version_is_left_out_of_a_merge():
    block = assess_classification({"a": torch.randn(9, 3)}, torch.arange(9) % 3)
    older = {name: part for name, part in block.items() if name != "confusion"}
    assert "confusion" not in merge([one_seed(block), one_seed(older)])


def test_several_labels_a_row_have_no_confusion():
    y = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert "confusion" not in assess_classification({"a": torch.randn(2, 2)}, y)


def test_classes_without_rows_are_told():
    cells = confused(log_probs([0, 1, 1], 4), torch.tensor([0, 0, 2]))
    assert without_rows(cells, list("abcd"), "test nodes") == (
        "2 of 4 classes have no test nodes, so the numbers say nothing of them: b, d"
    )
    assert without_rows(confused(log_probs([1, 0], 2), torch.tensor([0, 1])), list("ab")) == ""
